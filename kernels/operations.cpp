// SPDX-License-Identifier: Apache-2.0
#include "kernels/operations.h"

#include <algorithm>
#include <set>

#include "kernels/collective_cases.h"
#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim::gpu {

std::span<const Operation> operations() {
  static const std::vector<Operation> all = [] {
    std::vector<Operation> list = cases::memory_operations();
    for (auto* more :
         {&cases::layer_operations, &cases::matrix_operations, &cases::collective_operations}) {
      for (Operation& operation : (*more)()) {
        list.push_back(operation);
      }
    }
    return list;
  }();
  return all;
}

namespace cases {

Json make(std::initializer_list<Json::Member> members) { return Json(Json::Object(members)); }

int integer(const Json& params, std::string_view key, int low, int high) {
  const Json* value = params.find(key);
  if (value == nullptr || !value->is_integer() || value->as_integer() < low ||
      value->as_integer() > high) {
    throw InputError("params", "/" + std::string(key),
                     value == nullptr ? "is missing" : value->dump(-1) + " is out of range",
                     "allowed: " + std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<int>(value->as_integer());
}

std::string word(const Json& params, std::string_view key,
                 std::initializer_list<std::string_view> allowed) {
  const Json* value = params.find(key);
  if (value != nullptr && value->is_text() &&
      std::find(allowed.begin(), allowed.end(), value->as_text()) != allowed.end()) {
    return value->as_text();
  }
  std::string text = "allowed:";
  for (const std::string_view choice : allowed) {
    text += " " + std::string(choice);
  }
  throw InputError("params", "/" + std::string(key),
                   value == nullptr ? "is missing" : value->dump(-1) + " is none of the choices",
                   text);
}

void require(double error, double tolerance, std::string_view what) {
  if (!(error <= tolerance)) {
    throw DeviceError("verification failed: " + std::string(what) + " is off by " +
                      number_text(error) + ", allowed " + number_text(tolerance) +
                      "; no time was kept");
  }
}

template <class T>
Pattern<T>::Pattern(Device& device, std::size_t count, std::uint64_t seed)
    : block_(kPeriod), buffer_(device, count) {
  RandomStream random(seed, "kernel inputs");
  for (T& number : block_) {
    number = from_float<T>(static_cast<float>(random.normal()));
  }
  if (count == 0) {
    return;
  }
  const StreamHandle stream = device.default_stream();
  std::size_t filled = std::min(count, kPeriod);
  device.copy(buffer_.data(), block_.data(), filled * sizeof(T), stream);
  while (filled < count) {  // whole periods, so that the pattern goes on unbroken
    const std::size_t more = std::min(filled, count - filled);
    device.copy(buffer_.data() + filled, buffer_.data(), more * sizeof(T), stream);
    filled += more;
  }
  device.synchronize(stream);
}
template class Pattern<float>;
template class Pattern<Bfloat16>;
template class Pattern<Float8>;

std::vector<int> some_of(int count, int most, std::uint64_t seed) {
  std::set<int> chosen;
  if (count > 0) {
    chosen = {0, count - 1};
  }
  RandomStream random(seed, "verified elements");
  for (int i = 0; i < most - 2 && count > 0; ++i) {
    chosen.insert(static_cast<int>(random.below(static_cast<std::uint64_t>(count))));
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace cases
}  // namespace moesim::gpu

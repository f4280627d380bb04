// SPDX-License-Identifier: Apache-2.0
// What moesim-kernels can measure: one table row per operation, with its cases for a suite and the
// function that prepares, verifies and times one case.
//
// A case is an operation and its params (a JSON object, as a sample keeps it). Each run first
// checks the device's result against the reference on the same rounded inputs and throws
// DeviceError when it is off: no time without a verified result. Inputs repeat a block of 65,521 (a
// prime) random numbers, so that rows differ and a host needs no copy of a large operand.
#pragma once

#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device.h"
#include "kernels/device_buffer.h"
#include "kernels/numbers.h"
#include "kernels/stream_timer.h"
#include "sim/base/json.h"
#include "sim/base/units.h"

namespace moesim::gpu {

enum class SuiteSize { quick, full };

/// This device or build cannot run the case; what() says why.
class CaseSkipped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CaseContext {
  Device& device;
  TimingOptions timing;
  std::uint64_t seed = 1;
};

struct CaseOutcome {
  Timing timing;
  Bytes bytes;  ///< moved by one run
  Flops flops;
  double max_error = 0.0;
  double tolerance = 0.0;
};

struct Operation {
  std::string_view name;
  std::string_view doc;
  std::string_view shrinks;  ///< the integer param that is halved when memory is short
  bool has_cold = false;     ///< a cold cache means something for it
  std::vector<Json> (*cases)(const DeviceInfo& info, SuiteSize size);
  CaseOutcome (*run)(CaseContext& context, const Json& params);
};

/// All operations, in the order in which a suite runs them.
std::span<const Operation> operations();

// What the files of cases share.
namespace cases {

std::vector<Operation> layer_operations();
std::vector<Operation> matrix_operations();
std::vector<Operation> memory_operations();

/// Params from names and values: make({"m", 16}, {"dtype", "bf16"}).
Json make(std::initializer_list<Json::Member> members);
/// A param; throws InputError when it is absent, no integer, or outside [low, high].
int integer(const Json& params, std::string_view key, int low, int high);
std::string word(const Json& params, std::string_view key,
                 std::initializer_list<std::string_view> allowed);
/// Throws DeviceError when the error is above the tolerance (or not a number).
void require(double error, double tolerance, std::string_view what);

/// `count` numbers of type T on the device: a block of random numbers, repeated.
template <class T>
class Pattern {
 public:
  static constexpr std::size_t kPeriod = 65521;
  Pattern(Device& device, std::size_t count, std::uint64_t seed);
  const T* data() const { return buffer_.data(); }
  T* data() { return buffer_.data(); }
  float value(std::size_t index) const { return to_float(block_[index % kPeriod]); }
  T number(std::size_t index) const { return block_[index % kPeriod]; }

 private:
  std::vector<T> block_;
  DeviceBuffer<T> buffer_;
};

/// At most `most` different indices of [0, count), with the first and the last, in order.
std::vector<int> some_of(int count, int most, std::uint64_t seed);

}  // namespace cases
}  // namespace moesim::gpu

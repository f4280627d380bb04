// SPDX-License-Identifier: Apache-2.0
#include "kernels/samples.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"

namespace moesim::gpu {
namespace {

constexpr const char* kSchema = "moesim/sample/1";

Json state_json(const DeviceState& state) {
  Json json = Json::object();
  const auto add = [&](const char* key, double value) {
    if (value >= 0) {
      json.set(key, value);
    }
  };
  add("clocks_hz", state.clock_hz);
  add("memory_clocks_hz", state.memory_clock_hz);
  add("power_w", state.power_w);
  add("temperature_c", state.temperature_c);
  return json;
}

/// Takes typed members of one sample and collects what is wrong.
class MemberReader {
 public:
  MemberReader(const Json& json, Diagnostics& problems, const std::string& file,
               const std::string& place)
      : json_(json), problems_(problems), file_(file), place_(place) {}

  template <class Accept>
  const Json* take(const char* key, const char* wanted, Accept accept, bool is_required = true) {
    const Json* member = json_.find(key);
    if (member == nullptr) {
      if (is_required) {
        problems_.add(file_, place_, std::string("the key \"") + key + "\" is missing");
      }
      return nullptr;
    }
    if (!accept(*member)) {
      problems_.add(file_, place_, std::string("\"") + key + "\" is not " + wanted);
      return nullptr;
    }
    return member;
  }

 private:
  const Json& json_;
  Diagnostics& problems_;
  const std::string& file_;
  const std::string& place_;
};

bool is_list_of_seconds(const Json& json) {
  return json.is_array() && !json.items().empty() &&
         std::all_of(json.items().begin(), json.items().end(), [](const Json& item) {
           return item.is_number() && item.as_number() >= 0 && std::isfinite(item.as_number());
         });
}

bool is_error_bound(const Json& json) { return json.is_number() && json.as_number() >= 0; }

}  // namespace

Json device_json(const DeviceInfo& info, const DeviceState& before, const DeviceState& after) {
  Json json = Json::object();
  json.set("name", info.name);
  json.set("driver", info.driver);
  json.set("architecture", info.architecture);
  if (!info.pci_bus.empty()) {
    json.set("pci_bus", info.pci_bus);
  }
  if (after.clock_hz >= 0) {
    json.set("clocks_hz", after.clock_hz);
  }
  json.set("num_processors", info.num_processors);
  json.set("memory_bytes", info.memory_bytes);
  json.set("cache_bytes", info.cache_bytes);
  json.set("before", state_json(before));
  json.set("after", state_json(after));
  return json;
}

std::string sample_line(const Sample& sample) {
  Json json = Json::object();
  json.set("schema", kSchema);
  json.set("op", sample.op);
  json.set("params", sample.params);
  Json seconds = Json::array();
  for (const double s : sample.seconds) {
    seconds.push_back(s);
  }
  json.set("seconds", std::move(seconds));
  json.set("repeats", sample.repeats);
  Json work = Json::object();
  work.set("bytes", sample.bytes.value());
  work.set("flops", sample.flops.value());
  json.set("work", std::move(work));
  json.set("device", sample.device);
  json.set("backend", sample.backend);
  json.set("cold", sample.is_cold);
  json.set("command", sample.command);
  json.set("verified_max_error", sample.verified_max_error);
  json.set("verified_tolerance", sample.verified_tolerance);
  if (!sample.shrunk_from.is_null()) {
    json.set("shrunk_from", sample.shrunk_from);
  }
  return json.dump(-1);
}

Sample parse_sample(std::string_view text, const std::string& file, int line) {
  const std::string place = "line " + std::to_string(line);
  Json json;
  try {
    json = parse_json(text, file);
  } catch (const InputError& error) {
    throw InputError(file, place, "not a JSON object: " + error.diagnostics().front().problem);
  }
  Diagnostics problems;
  MemberReader reader(json, problems, file, place);
  Sample sample;
  const auto is_text = [](const Json& j) { return j.is_text(); };
  const auto is_object = [](const Json& j) { return j.is_object(); };
  const Json* schema = reader.take("schema", "text", is_text);
  if (schema != nullptr && schema->as_text() != kSchema) {
    problems.add(file, place, "unknown schema \"" + schema->as_text() + "\"",
                 std::string("allowed: ") + kSchema);
  }
  if (const Json* op = reader.take("op", "text", is_text)) {
    sample.op = op->as_text();
  }
  if (const Json* params = reader.take("params", "an object", is_object)) {
    sample.params = *params;
  }
  if (const Json* seconds = reader.take("seconds", "a list of times", is_list_of_seconds)) {
    for (const Json& item : seconds->items()) {
      sample.seconds.push_back(item.as_number());
    }
  }
  if (const Json* device = reader.take("device", "an object", is_object)) {
    sample.device = *device;
  }
  if (const Json* backend = reader.take("backend", "text", is_text)) {
    sample.backend = backend->as_text();
  }
  if (const Json* cold =
          reader.take("cold", "true or false", [](const Json& j) { return j.is_bool(); })) {
    sample.is_cold = cold->as_bool();
  }
  if (const Json* command = reader.take("command", "text", is_text)) {
    sample.command = command->as_text();
  }
  if (const Json* error =
          reader.take("verified_max_error", "a number that is not negative", is_error_bound)) {
    sample.verified_max_error = error->as_number();
  }
  if (const Json* bound = reader.take("verified_tolerance", "a number that is not negative",
                                      is_error_bound, false)) {
    sample.verified_tolerance = bound->as_number();
  }
  if (const Json* repeats = reader.take(
          "repeats", "a count", [](const Json& j) { return j.is_integer() && j.as_integer() > 0; },
          false)) {
    sample.repeats = static_cast<int>(repeats->as_integer());
  }
  if (const Json* work = reader.take("work", "an object", is_object, false)) {
    const auto number = [&](const char* key) {
      const Json* value = work->find(key);
      return value != nullptr && value->is_number() ? value->as_number() : 0.0;
    };
    sample.bytes = Bytes(number("bytes"));
    sample.flops = Flops(number("flops"));
  }
  if (const Json* asked = reader.take("shrunk_from", "an object", is_object, false)) {
    sample.shrunk_from = *asked;
  }
  problems.throw_if_any();
  return sample;
}

std::vector<Sample> read_samples(const std::string& path, bool is_cut_allowed) {
  const std::string text = read_text_file(path, std::size_t{1} << 30);
  std::vector<Sample> samples;
  Diagnostics problems;
  int line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    ++line;
    const std::size_t end = text.find('\n', begin);
    const bool is_cut = end == std::string::npos;
    const std::string_view content =
        std::string_view(text).substr(begin, is_cut ? std::string::npos : end - begin);
    begin = is_cut ? text.size() : end + 1;
    if (content.find_first_not_of(" \t\r") == std::string_view::npos ||
        (is_cut && is_cut_allowed)) {
      continue;
    }
    try {
      samples.push_back(parse_sample(content, path, line));
    } catch (const InputError& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        problems.add(diagnostic);
      }
    }
  }
  problems.throw_if_any();
  return samples;
}

std::string sample_key(const std::string& op, const Json& params, const std::string& backend,
                       bool is_cold) {
  return op + " " + params.dump(-1) + " " + backend + (is_cold ? " cold" : " warm");
}

std::string sample_key(const Sample& sample) {
  return sample_key(sample.op, sample.shrunk_from.is_null() ? sample.params : sample.shrunk_from,
                    sample.backend, sample.is_cold);
}

}  // namespace moesim::gpu

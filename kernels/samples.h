// SPDX-License-Identifier: Apache-2.0
// The sample format `moesim/sample/1`: one JSON object a line, raw times of one case on one device.
//
// Keys: schema, op, params (what the case is), seconds (raw samples), repeats (runs within a
// sample), work {bytes, flops} moved by one run, device {name, backend facts, sensors before and
// after}, backend, cold, command, verified_max_error with verified_tolerance (norm-wise or
// absolute, as the op says; never above the tolerance: a case that fails leaves no sample),
// shrunk_from (params as asked for, when the device's memory was too small). Readers accept and
// ignore further keys.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/device.h"
#include "sim/base/json.h"
#include "sim/base/units.h"

namespace moesim::gpu {

struct Sample {
  std::string op;
  Json params = Json::object();
  std::vector<double> seconds;
  int repeats = 1;
  Bytes bytes;
  Flops flops;
  Json device = Json::object();
  std::string backend;
  bool is_cold = false;
  std::string command;
  double verified_max_error = 0.0;
  double verified_tolerance = 0.0;
  Json shrunk_from;  ///< null: the case ran as asked for
};

/// The device object of a sample: what does not change, and sensors before and after the case.
Json device_json(const DeviceInfo& info, const DeviceState& before, const DeviceState& after);

/// One line without the line break.
std::string sample_line(const Sample& sample);
/// Reads one line; throws InputError naming `file` and `line` for what is missing or wrong.
Sample parse_sample(std::string_view text, const std::string& file, int line);
/// Reads a file of samples (empty lines are skipped); throws InputError with every bad line. With
/// `is_cut_allowed` a last line without its line break is dropped: a run was killed while writing.
std::vector<Sample> read_samples(const std::string& path, bool is_cut_allowed = false);
/// What identifies a case, for resuming: op, params as asked for, backend and cold.
std::string sample_key(const std::string& op, const Json& params, const std::string& backend,
                       bool is_cold);
std::string sample_key(const Sample& sample);

}  // namespace moesim::gpu

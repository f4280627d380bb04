// SPDX-License-Identifier: Apache-2.0
// Runs cases one after another: verifies, times, shrinks what does not fit in memory, skips what
// was done before, and hands over one sample line at a time, so that a killed run loses one case.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernels/operations.h"
#include "kernels/samples.h"

namespace moesim::gpu {

struct Case {
  const Operation* operation;
  Json params;
  bool is_cold;

  std::string key(const std::string& backend) const {
    return sample_key(std::string(operation->name), params, backend, is_cold);
  }
};

/// Cases of a suite whose "op params" text contains `filter`; cold ones only in the full suite.
std::vector<Case> suite_cases(const DeviceInfo& info, SuiteSize size, const std::string& filter);
/// One case from its operation's name and JSON params; throws InputError for an unknown name.
Case named_case(const std::string& op, const Json& params, bool is_cold);

struct RunSummary {
  int measured = 0;
  int resumed = 0;  ///< were in the file already
  int skipped = 0;  ///< cannot run here; the reason was reported
  int failed = 0;   ///< verification or device failures; reported
};

struct RunOptions {
  TimingOptions timing;
  std::string command;
  std::set<std::string> done;                        ///< keys of samples that exist
  std::function<void(const std::string&)> progress;  ///< one line for a person
  std::function<void(const Sample&)> keep;
};

/// Runs all; a case that fails does not stop the others.
RunSummary run_cases(Device& device, const std::vector<Case>& cases, const RunOptions& options);

}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
// What starts a planned deployment: launch lines of serving engines for every pool, the option
// files that they name, and where each expert lives.
//
// Limits of batches become the engine's own flags. The placement is the one under which the steps
// were predicted: contiguous unless the request's /services/N/placement says otherwise. With a
// synthetic law (/routing/kind gumbel ...) popular experts have made-up ids, so only a placement on
// recorded loads is worth loading into an engine; a note says so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/input/launch_line.h"
#include "sim/study/plan_pool.h"

namespace moesim {

struct PlanOption;

/// How one pool is started with one engine.
struct EngineLaunch {
  LaunchTool tool = LaunchTool::vllm;
  LaunchCommand command;
};

struct PoolLaunch {
  PoolRole role = PoolRole::decode;
  std::int64_t instances = 0;  ///< start the line so many times, once for each instance
  std::vector<EngineLaunch> engines;
  /// SGLang's --init-expert-location, null for a model without routed experts.
  Json placement;
  std::string placement_note;
};

/// [pools], for every engine that runs on the option's hardware. Throws InputError only for files
/// that the service names.
std::vector<PoolLaunch> launch_of(const PlanOption& option, const ServiceRequest& service,
                                  const CardLibrary& cards);

/// A file of the deployment's folder.
struct LaunchFile {
  std::string name;
  std::string text;
};

/// Scripts, option files, placements and scenarios of the pools, names starting with `prefix`.
std::vector<LaunchFile> launch_files(const PlanOption& option,
                                     const std::vector<PoolLaunch>& launch,
                                     const std::string& prefix);

}  // namespace moesim

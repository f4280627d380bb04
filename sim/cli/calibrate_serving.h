// SPDX-License-Identifier: Apache-2.0
// `moesim calibrate RESULTS --scenario SCENARIO --out FOLDER`: what benchmark results of a user's
// own deployment say about its efficiency, as a device and a cluster profile for his scenarios.
#pragma once

#include <string>
#include <vector>

#include "sim/cli/commands.h"

namespace moesim {

/// Fits four numbers to the measured rows, prints them with intervals and the loads whose
/// measurement would tell most, and writes FOLDER/DEVICE.json and FOLDER/CLUSTER.json. Returns the
/// exit code. Throws InputError.
int calibrate_serving(const std::vector<std::string>& results, const std::string& scenario,
                      const std::string& out, const CommandContext& context);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// `moesim calibrate COMM_FOLDER --cluster ID --out FILE.json`: a cluster profile with communication
// constants fitted to measured tables, or transferred from the nearest measured machine.
#pragma once

#include <string>
#include <vector>

#include "sim/cli/commands.h"

namespace moesim {

/// Writes `out` ("." : ID.json here); returns the exit code. Throws InputError.
int calibrate_cluster(const std::vector<std::string>& inputs, const std::string& cluster,
                      const std::string& out, const std::string& source,
                      const CommandContext& context);

}  // namespace moesim

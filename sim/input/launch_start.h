// SPDX-License-Identifier: Apache-2.0
// Which tool a command, or a map of options, starts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/base/json.h"
#include "sim/input/launch_line.h"

namespace moesim {

struct LaunchStart {
  LaunchTool tool;
  std::size_t first = 0;  ///< word of the command where its own flags begin
};

/// Nothing when the words start none of the tools.
std::optional<LaunchStart> launch_start(const std::vector<std::string>& words);
/// The tool whose options a YAML map holds.
std::optional<LaunchTool> yaml_tool(const Json& json);

}  // namespace moesim

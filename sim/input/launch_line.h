// SPDX-License-Identifier: Apache-2.0
// Launch lines of serving engines into scenarios, and back.
//
// Read: `vllm serve ...`, `python -m vllm.entrypoints.openai.api_server ...`, `python -m
// sglang.launch_server ...`, `trtllm-serve ...`, fairseq's --moe-* flags, the YAML files these
// options may stand in, and shell scripts around them (variables and here-documents of the same
// text). Every flag is in a table that says what becomes of it: it sets a key, it cannot change a
// prediction, or it could and this version does not simulate it. A flag of none of the tables is
// listed as unknown, never ignored.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/input/card_library.h"
#include "sim/input/scenario.h"

namespace moesim {

enum class LaunchTool { vllm, sglang, trtllm, fairseq };
std::string_view launch_tool_name(LaunchTool tool);

struct LaunchOptions {
  std::string cluster;  ///< of the scenario; a launch line names no machine. "": see notes
  /// Reads a file that the line names (YAML options); nothing: it is not there.
  std::function<std::optional<std::string>(const std::string& path)> read_file;
};

struct ImportedLaunch {
  LaunchTool tool = LaunchTool::vllm;
  Json scenario;                            ///< a scenario file of schema moesim/scenario/1
  std::vector<std::string> notes;           ///< what was assumed
  std::vector<std::string> unknown_flags;   ///< in none of the tables
  std::vector<std::string> not_simulated;   ///< could change the answer, and does not here
  std::vector<std::string> without_effect;  ///< cannot change the answer
};

/// True when the text holds a launch line, or is YAML of such options.
bool looks_like_launch(std::string_view text);

/// Throws InputError when the text launches nothing, names no model with a card, or gives a flag a
/// value it cannot have.
ImportedLaunch import_launch(std::string_view text, const std::string& file,
                             const CardLibrary& cards, const LaunchOptions& options = {});

struct LaunchCommand {
  std::string command;                                     ///< one line of shell
  std::vector<std::pair<std::string, std::string>> files;  ///< name and text of option files
  std::vector<std::string> notes;  ///< what of the scenario the engine has no flag for
};

/// What the started engine does: everything, or one half of a deployment in two pools.
enum class LaunchRole { whole, prefill, decode };

/// The line that starts one instance of the scenario's deployment with `tool`. Reading it back
/// gives the same layout, precision and engine keys.
LaunchCommand launch_command(const Scenario& scenario, LaunchTool tool,
                             LaunchRole role = LaunchRole::whole);

}  // namespace moesim

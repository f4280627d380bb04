// SPDX-License-Identifier: Apache-2.0
// A scenario from the command line: a file or an id, and --set edits on top.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/input/scenario.h"

namespace CLI {
class App;
}

namespace moesim {

struct ScenarioArguments {
  std::string scenario;
  std::vector<std::string> edits;  ///< "/json/pointer=value"
  std::string fidelity;
  std::optional<std::int64_t> seed;
};

void add_scenario_options(CLI::App& app, ScenarioArguments& arguments);

struct NamedSpec {
  ScenarioSpec spec;
  std::string file;  ///< where it came from, for messages
};

/// Loads the file (or shipped id) and applies the edits, without resolving. Throws InputError.
NamedSpec spec_from(const ScenarioArguments& arguments, const CardLibrary& cards);

/// Loads the file (or shipped id), applies the edits and resolves. Throws InputError.
Scenario scenario_from(const ScenarioArguments& arguments, const CardLibrary& cards);

}  // namespace moesim

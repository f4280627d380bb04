// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/scenario_arguments.h"

#include <CLI/CLI.hpp>

#include "sim/base/error.h"
#include "sim/study/sweep_space.h"

namespace moesim {
namespace {

bool is_path(const std::string& text) {
  return text == "-" || text.find('/') != std::string::npos || text.ends_with(".json");
}

}  // namespace

void add_scenario_options(CLI::App& app, ScenarioArguments& arguments) {
  app.add_option("scenario", arguments.scenario,
                 "scenario file, id of a shipped one, or - for standard input")
      ->required();
  app.add_option("--set", arguments.edits, "change a key: /json/pointer=value; may be repeated")
      ->type_name("POINTER=VALUE")
      ->allow_extra_args(false);  // one value each, so that the scenario may follow
  app.add_option("--fidelity", arguments.fidelity, "analytic or event, instead of the scenario's");
  app.add_option("--seed", arguments.seed,
                 "seed of every random stream, instead of the scenario's");
}

NamedSpec spec_from(const ScenarioArguments& arguments, const CardLibrary& cards) {
  const std::string path = is_path(arguments.scenario)
                               ? arguments.scenario
                               : cards.path(CardKind::scenario, arguments.scenario, "command line");
  ScenarioSpec spec = load_scenario_spec(path, &cards);
  const FieldTable& table = fields_of(static_cast<const ScenarioSpec*>(nullptr));
  Diagnostics diagnostics;
  std::vector<std::string> edits = arguments.edits;
  if (!arguments.fidelity.empty()) {
    edits.push_back("/fidelity=" + arguments.fidelity);
  }
  if (arguments.seed) {
    edits.push_back("/seed=" + std::to_string(*arguments.seed));
  }
  for (const std::string& edit : edits) {
    const std::size_t equals = edit.find('=');
    if (equals == std::string::npos) {
      diagnostics.add("--set", "", "\"" + edit + "\" has no \"=\"",
                      "write /json/pointer=value, as in /routing/sigma=1.1");
      continue;
    }
    try {
      const Setter setter = compile_setter(table, edit.substr(0, equals), "--set");
      setter.apply(&spec, field_value(edit.substr(equals + 1), setter.field()), "--set",
                   diagnostics);
    } catch (const InputError& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        diagnostics.add(diagnostic);
      }
    }
  }
  diagnostics.throw_if_any();
  return {std::move(spec), path == "-" ? "standard input" : path};
}

Scenario scenario_from(const ScenarioArguments& arguments, const CardLibrary& cards) {
  const NamedSpec named = spec_from(arguments, cards);
  return resolve(named.spec, cards, named.file);
}

}  // namespace moesim

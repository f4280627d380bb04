// SPDX-License-Identifier: Apache-2.0
// moesim explain: what an answer hangs on. A result is explained through the scenario inside it.
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "sim/cli/commands.h"
#include "sim/cli/scenario_arguments.h"
#include "sim/report/explain_text.h"

namespace moesim {

CommandBody define_explain(CLI::App& app, const CommandContext& context) {
  struct Arguments {
    ScenarioArguments scenario;
    std::string format = "text";
  };
  auto arguments = std::make_shared<Arguments>();
  add_scenario_options(app, arguments->scenario);
  app.get_option("scenario")
      ->description("result of moesim run --format json, scenario file, id of a shipped one, or -");
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  return [arguments, &out = context.out, root = context.root] {
    const Scenario scenario = scenario_from(arguments->scenario, CardLibrary::open(root));
    const Explanation explanation = explain(scenario);
    if (arguments->format == "json") {
      out << explanation_json(explanation).dump() << "\n";
    } else {
      write_explanation(out, explanation);
    }
    return 0;
  };
}

}  // namespace moesim

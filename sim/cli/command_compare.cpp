// SPDX-License-Identifier: Apache-2.0
// moesim compare: two scenarios or results side by side.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/cli/commands.h"
#include "sim/cli/scenario_arguments.h"
#include "sim/report/report.h"
#include "sim/run/simulate.h"
#include "sim/study/compare.h"

namespace moesim {
namespace {

struct CompareArguments {
  std::string a;
  std::string b;
  std::string format = "text";
  bool all = false;
};

/// The result at `name`: a result file as it is, a scenario simulated.
Json result_of(const std::string& name, const CardLibrary& cards) {
  if (name.ends_with(".json")) {
    Json json = load_json(name);
    if (json.find("metrics") != nullptr) {
      return json;
    }
  }
  ScenarioArguments arguments;
  arguments.scenario = name;
  return result_json(simulate(scenario_from(arguments, cards), {.what_ifs = false}));
}

std::string shown(const std::optional<double>& value) {
  char text[32] = "-";
  if (value) {
    std::snprintf(text, sizeof text, "%.5g", *value);
  }
  return text;
}

void print_text(std::ostream& out, const ResultComparison& comparison, bool all) {
  out << "A  " << comparison.title_a << "\nB  " << comparison.title_b << "\n\n";
  if (comparison.keys.empty()) {
    out << "Same scenario.\n";
  }
  for (const KeyDifference& key : comparison.keys) {
    if (key.pointer == "/name" || key.pointer == "/description") {
      continue;
    }
    out << "  " << key.pointer << ": " << (key.a.empty() ? "-" : key.a) << " -> "
        << (key.b.empty() ? "-" : key.b) << "\n";
  }
  std::size_t width = 6;
  for (const FigureDifference& figure : comparison.figures) {
    width = std::max(width, figure.name.size());
  }
  out << "\nmetric" << std::string(width - 6, ' ')
      << "           A           B    change  verdict\n";
  for (const FigureDifference& figure : comparison.figures) {
    if (figure.verdict == Verdict::same && !all) {
      continue;
    }
    char change[32] = "         ";
    if (figure.ratio) {
      std::snprintf(change, sizeof change, "%+8.1f%%", 100.0 * (*figure.ratio - 1.0));
    }
    char line[96];
    std::snprintf(line, sizeof line, "%12s%12s %s  ", shown(figure.a).c_str(),
                  shown(figure.b).c_str(), change);
    out << figure.name << std::string(width - figure.name.size(), ' ') << line
        << verdict_text(figure.verdict) << "\n";
  }
}

}  // namespace

CommandBody define_compare(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<CompareArguments>();
  app.add_option("a", arguments->a, "scenario (file or id) or result of `run --format json`")
      ->required();
  app.add_option("b", arguments->b, "what it is compared with")->required();
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_flag("--all", arguments->all, "also the figures that are equal");
  return [arguments, context] {
    const CardLibrary cards = CardLibrary::open(context.root);
    const ResultComparison comparison = compare_results(
        result_of(arguments->a, cards), arguments->a, result_of(arguments->b, cards), arguments->b);
    if (arguments->format == "json") {
      context.out << to_json(comparison).dump() << "\n";
    } else {
      print_text(context.out, comparison, arguments->all);
    }
    return 0;
  };
}

}  // namespace moesim

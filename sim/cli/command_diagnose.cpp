// SPDX-License-Identifier: Apache-2.0
// moesim diagnose: from predicted to measured, cause by cause.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/cli/commands.h"
#include "sim/cli/measured_rows.h"
#include "sim/cli/scenario_arguments.h"
#include "sim/study/diagnose.h"

namespace moesim {
namespace {

struct DiagnoseArguments {
  ScenarioArguments scenario;
  std::string measured;
  std::string experts;
  std::string row;
  std::string format = "text";
};

void print_text(std::ostream& out, const Diagnosis& diagnosis) {
  const auto line = [&out](const std::string& name, const std::string& value,
                           const std::string& change) {
    char text[200];
    std::snprintf(text, sizeof text, "  %-44.44s %12s %9s\n", name.c_str(), value.c_str(),
                  change.c_str());
    out << text;
  };
  const auto number = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g", value);
    return std::string(text);
  };
  const auto percent = [](double log_change) {
    char text[32];
    std::snprintf(text, sizeof text, "%+.1f%%", 100.0 * (std::exp(log_change) - 1.0));
    return std::string(text);
  };
  for (std::size_t i = 0; i < diagnosis.points.size(); ++i) {
    const MeasuredPoint& point = diagnosis.points[i];
    out << point.row << ", " << point.quantity << "\n";
    line("predicted", number(point.predicted), "");
    double value = point.predicted;
    for (const DiagnosedCause& cause : diagnosis.causes) {
      value *= std::exp(cause.log_effect[i]);
      line(cause.name + (cause.evidence ? " (recorded)" : ""), number(value),
           percent(cause.log_effect[i]));
    }
    line("unexplained", number(point.measured), percent(diagnosis.log_unexplained[i]));
    if (point.low && point.high) {
      const double half = std::log(*point.high / *point.low) / 2;
      const bool inside = std::fabs(diagnosis.log_unexplained[i]) <= half;
      line("  the prediction's own 80% band", "+-" + percent(half).substr(1),
           inside ? "holds it" : "exceeded");
    }
    line("measured", number(point.measured), percent(std::log(point.measured / point.predicted)));
    out << "\n";
  }
  for (const DiagnosedCause& cause : diagnosis.causes) {
    out << cause.name << ": " << number(cause.strength) << " of " << cause.change
        << (cause.evidence ? " (from the file given)" : "") << "\n";
  }
  if (!diagnosis.ruled_out.empty()) {
    out << "Explain nothing here:";
    for (const std::string& name : diagnosis.ruled_out) {
      out << " " << name << (name == diagnosis.ruled_out.back() ? ".\n" : ";");
    }
  }
  for (const std::string& note : diagnosis.notes) {
    out << "Note: " << note << "\n";
  }
}

}  // namespace

CommandBody define_diagnose(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<DiagnoseArguments>();
  add_scenario_options(app, arguments->scenario);
  app.add_option("--measured", arguments->measured,
                 "what was measured: rows of `moesim import`, or a benchmark's own result")
      ->required();
  app.add_option("--experts", arguments->experts, "recorded expert loads (counts CSV)");
  app.add_option("--row", arguments->row, "only the row of this id");
  app.add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  return [arguments, context] {
    const CardLibrary cards = CardLibrary::open(context.root);
    const Scenario scenario = scenario_from(arguments->scenario, cards);
    const double gpus = static_cast<double>(scenario.ways.gpus * scenario.spec.serving.instances);
    const std::vector<ServingMeasurement> rows =
        read_measured_rows(arguments->measured, arguments->row, gpus, context.err);
    const Diagnosis diagnosis = diagnose(
        scenario.spec, scenario.file, rows,
        arguments->experts.empty() ? "" : std::filesystem::absolute(arguments->experts).string(),
        cards);
    if (arguments->format == "json") {
      context.out << to_json(diagnosis).dump() << "\n";
    } else {
      print_text(context.out, diagnosis);
    }
    return 0;
  };
}

}  // namespace moesim

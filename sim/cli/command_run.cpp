// SPDX-License-Identifier: Apache-2.0
// moesim run: one scenario in, one report out.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/cli/scenario_arguments.h"
#include "sim/report/html_report.h"
#include "sim/report/report.h"
#include "sim/report/trace.h"
#include "sim/run/replications.h"

namespace moesim {
namespace {

struct RunArguments {
  ScenarioArguments scenario;
  std::string format = "text";
  std::string out_folder;
  std::string trace_file;
  std::string html_file;
  int replications = 1;
  bool quiet = false;
};

ReportFormat format_named(const std::string& name) {
  for (const Choice<ReportFormat>& choice : choices_of(ReportFormat{})) {
    if (choice.name == name) {
      return choice.value;
    }
  }
  throw InputError("--format", "", "\"" + name + "\" is none of the choices",
                   "allowed: text, json, csv, markdown");
}

/// Writes every format into the folder, so that a study keeps what people and scripts need.
void write_folder(const std::string& folder, const SimulationResult& result) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw InputError(folder, "", "cannot be made: " + error.message(),
                     "name a folder that may be written");
  }
  const std::filesystem::path base(folder);
  write_text_file((base / "result.json").string(), report_text(result, ReportFormat::json));
  write_text_file((base / "metrics.csv").string(), report_text(result, ReportFormat::csv));
  write_text_file((base / "report.md").string(), report_text(result, ReportFormat::markdown));
  write_text_file((base / "report.txt").string(), report_text(result, ReportFormat::text));
}

}  // namespace

CommandBody define_run(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<RunArguments>();
  add_scenario_options(app, arguments->scenario);
  app.add_option("--format", arguments->format, "text, json, csv or markdown");
  app.add_option("--out", arguments->out_folder,
                 "folder for result.json, metrics.csv, report.md and report.txt");
  app.add_option(
      "--trace", arguments->trace_file,
      "write the timeline of every GPU, and under flow fidelity of the busiest links, as a "
      "Chrome/Perfetto trace (event or flow fidelity)");
  app.add_option("--html", arguments->html_file,
                 "write a report with charts as one HTML file that needs nothing beside it");
  app.add_option("--replications", arguments->replications,
                 "so many seeds; figures become means with the 10% to 90% range")
      ->check(CLI::Range(1, 10000));
  app.add_flag("--quiet", arguments->quiet, "print nothing but errors");
  return [arguments, &out = context.out, &err = context.err, root = context.root] {
    const ReportFormat format = format_named(arguments->format);
    const Scenario scenario = scenario_from(arguments->scenario, CardLibrary::open(root));
    Timeline timeline;
    RunOptions options;
    if (!arguments->trace_file.empty()) {
      if (scenario.spec.fidelity == Fidelity::analytic) {
        throw InputError("--trace", "", "the closed form has no timeline", "add --fidelity event");
      }
      options.timeline = &timeline;
    }
    const SimulationResult result =
        simulate_replications(scenario, arguments->replications, options);
    if (!arguments->trace_file.empty()) {
      write_text_file(arguments->trace_file, chrome_trace(timeline));
    }
    if (!arguments->html_file.empty()) {
      DeploymentDetails details = deployment_details(scenario);
      if (result.feasibility.ok) {
        details.latencies = latency_curves(scenario);
      }
      write_text_file(arguments->html_file, html_report(result, details));
    }
    if (!arguments->out_folder.empty()) {
      write_folder(arguments->out_folder, result);
    }
    if (!arguments->quiet) {
      write_report(out, result, format);
    }
    if (!result.feasibility.ok) {
      for (const std::string& reason : result.feasibility.reasons) {
        err << scenario.file << ": " << reason << "\n";
      }
      return 2;
    }
    return 0;
  };
}

}  // namespace moesim

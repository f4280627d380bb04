// SPDX-License-Identifier: Apache-2.0
// moesim plan: a load, limits and prices in; the cheapest deployments out.
#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/cli/progress_bar.h"
#include "sim/report/plan_report.h"

namespace moesim {
namespace {

struct PlanArguments {
  std::string request;
  bool init = false;
  std::string format = "text";
  std::string html;
  std::string out_folder;
  bool no_confirm = false;
  bool quiet = false;
};

/// Whether services share hardware or the day matters.
bool is_fleet(const PlanRequest& request) {
  bool fleet = request.services.size() > 1;
  for (const ServiceRequest& service : request.services) {
    fleet = fleet || !service.load.by_hour.empty();
  }
  for (const HardwareChoice& hardware : request.hardware) {
    fleet = fleet || hardware.owned_gpus > 0 || hardware.usd_per_reserved_gpu_hour.has_value();
  }
  return fleet;
}

/// Launch scripts, option files, placements and scenarios of the cheapest deployments.
void write_folder(const std::string& folder, const PlanReport& report) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw InputError(folder, "", "cannot be made: " + error.message(),
                     "name a folder that may be written");
  }
  for (std::size_t s = 0; s < report.services.size(); ++s) {
    const ServicePlan& service = report.services[s];
    if (service.options.empty()) {
      continue;
    }
    const std::string prefix =
        report.services.size() > 1 ? "service" + std::to_string(s + 1) + "_" : "";
    for (const LaunchFile& file : launch_files(service.options.front(), service.launch, prefix)) {
      write_text_file((std::filesystem::path(folder) / file.name).string(), file.text);
    }
  }
  write_text_file((std::filesystem::path(folder) / "plan.json").string(),
                  plan_json(report).dump() + "\n");
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int plan(const PlanArguments& arguments, const CommandContext& context) {
  if (arguments.init) {
    context.out << plan_request_template();
    return 0;
  }
  if (arguments.request.empty()) {
    throw InputError("plan", "", "no request was given",
                     "name a request file, or start from one: moesim plan --init > request.json");
  }
  const SweepFormat format = sweep_format_named(arguments.format);
  const CardLibrary cards = CardLibrary::open(context.root);
  const std::string file = arguments.request == "-" ? "standard input" : arguments.request;
  PlanReport report;
  report.request = load_plan_request(arguments.request);
  report.prices = prices_of(report.request, cards, file);
  const std::size_t services = report.request.services.size();
  ProgressBar progress(arguments.quiet || !error_stream_is_terminal() ? nullptr : &context.err,
                       true, "steps", 100 * services);
  bool answered = true;
  const auto start = std::chrono::steady_clock::now();
  double to_front_s = 0;  // of all services together, as below
  for (std::size_t s = 0; s < services; ++s) {
    PlanOptions options;
    options.confirm = !arguments.no_confirm;
    const auto service_start = std::chrono::steady_clock::now();
    options.front_ready = [&] { to_front_s += seconds_since(service_start); };
    options.progress = [&](double fraction) {
      progress.advance_to(100 * s + static_cast<std::uint64_t>(100 * fraction));
    };
    report.services.push_back(
        plan_service(report.request.services[s], report.request, cards, file, options));
    answered = answered && !report.services.back().options.empty();
  }
  progress.finish();
  if (!arguments.quiet) {
    context.err << "front after " << quantity_text(Seconds(to_front_s)) << ", "
                << (arguments.no_confirm ? "sensitivities" : "confirmed finalists") << " after "
                << quantity_text(Seconds(seconds_since(start))) << "\n";
  }
  if (is_fleet(report.request)) {
    std::vector<double> prices;
    for (const GpuPrice& price : report.prices) {
      prices.push_back(price.usd_per_hour);
    }
    report.fleet = plan_fleet(report.request, report.services, prices);
    answered = answered && report.fleet->problems.empty();
  }
  if (!arguments.html.empty()) {
    write_text_file(arguments.html, html_plan(report));
  }
  if (!arguments.out_folder.empty()) {
    write_folder(arguments.out_folder, report);
  }
  if (!arguments.quiet) {
    write_plan(context.out, report, format);
  }
  return answered ? 0 : 2;
}

}  // namespace

CommandBody define_plan(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<PlanArguments>();
  app.add_option("request", arguments->request, "plan request, or - for standard input");
  app.add_flag("--init", arguments->init, "print a commented request to start from");
  app.add_option("--format", arguments->format, "text, json, csv or markdown");
  app.add_option("--html", arguments->html, "the answer with charts as one HTML file");
  app.add_option("--out", arguments->out_folder,
                 "folder for launch scripts of vLLM, SGLang and TensorRT-LLM, their option files, "
                 "placements, scenarios and plan.json");
  app.add_flag("--no-confirm", arguments->no_confirm,
               "size by single steps alone: no growth until requests are served over time, no "
               "confirmation of the finalists with events");
  app.add_flag("--quiet", arguments->quiet, "print nothing but errors");
  return [arguments, context] { return plan(*arguments, context); };
}

}  // namespace moesim

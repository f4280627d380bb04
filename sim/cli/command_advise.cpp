// SPDX-License-Identifier: Apache-2.0
// moesim advise: MoE or dense for the services of a plan request, with the numbers behind it.
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "sim/base/error.h"
#include "sim/cli/commands.h"
#include "sim/report/advice_report.h"

namespace moesim {
namespace {

struct AdviseArguments {
  std::string request;
  std::string format = "text";
  bool quiet = false;
};

}  // namespace

CommandBody define_advise(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<AdviseArguments>();
  app.add_option("request", arguments->request,
                 "plan request (moesim plan --init), or - for standard input")
      ->required();
  app.add_option("--format", arguments->format, "text, json, csv or markdown");
  app.add_flag("--quiet", arguments->quiet, "print nothing but errors");
  return [arguments, context] {
    const SweepFormat format = sweep_format_named(arguments->format);
    const CardLibrary cards = CardLibrary::open(context.root);
    const std::string file = arguments->request == "-" ? "standard input" : arguments->request;
    const PlanRequest request = load_plan_request(arguments->request);
    std::vector<Advice> advices;
    for (const ServiceRequest& service : request.services) {
      advices.push_back(advise(service, request, cards, file));
    }
    if (!arguments->quiet) {
      write_advice(context.out, advices, format);
    }
    return 0;
  };
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// moesim place: expert loads in, a placement out (or the worth of a placement file under those
// loads).
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <ostream>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cli/commands.h"
#include "sim/moe/placement.h"
#include "sim/moe/placement_format.h"
#include "sim/moe/placement_plan.h"

namespace moesim {
namespace {

struct PlaceArguments {
  std::string loads;
  std::string policy = std::string(kDefaultPlacementPolicy);
  std::string format = "text";
  std::string evaluated;
  std::vector<std::string> program;
  int leading_dense_layers = 0;
};

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void print_text(std::ostream& out, const PlacementRequest& request, const Placement& placement,
                const std::string& title) {
  const Placement contiguous = place_experts(request, "contiguous");
  const auto worst = std::min_element(placement.balancedness.begin(), placement.balancedness.end());
  const auto worst_layer = static_cast<std::size_t>(worst - placement.balancedness.begin());
  int most_replicas = 1;
  for (const std::vector<int>& replicas : placement.replicas) {
    most_replicas = std::max(most_replicas, *std::max_element(replicas.begin(), replicas.end()));
  }
  out << title << ": " << request.layers() << " layers of " << request.experts() << " experts on "
      << request.slots << " slots of " << request.gpus << " GPUs\n"
      << "balancedness (mean/max GPU load): mean "
      << plain_number_text(mean(placement.balancedness), 4) << ", worst "
      << plain_number_text(*worst, 4) << " in layer " << worst_layer << "; contiguous "
      << plain_number_text(mean(contiguous.balancedness), 4) << "\n"
      << "replicas of one expert: at most " << most_replicas << "\n"
      << "--format json|sglang|vllm writes the slots\n";
}

/// The slots of a placement file, checked against the request.
SlotTable slots_from_file(const PlacementRequest& request, const PlaceArguments& arguments) {
  const std::string& file = arguments.evaluated;
  PlacementFile read = read_placement(load_json(file), file, arguments.leading_dense_layers);
  if (read.gpus != 0 && read.gpus != request.gpus) {
    throw InputError(file, "", std::to_string(read.gpus) + " GPUs",
                     std::to_string(request.gpus) + ", as the loads say");
  }
  Diagnostics diagnostics;
  check_slots(request, read.slot_to_expert, file, diagnostics);
  diagnostics.throw_if_any();
  return std::move(read.slot_to_expert);
}

}  // namespace

CommandBody define_place(CLI::App& app, const CommandContext& context) {
  auto arguments = std::make_shared<PlaceArguments>();
  app.add_option("loads", arguments->loads,
                 "JSON file: {weights [layers][experts], slots, gpus, nodes, groups}; - reads "
                 "standard input")
      ->required();
  std::string policies;
  for (const PlacementPolicyRow& row : placement_policies()) {
    policies += (policies.empty() ? "" : ", ") + std::string(row.name);
  }
  app.add_option("--policy", arguments->policy, policies)->capture_default_str();
  std::vector<std::string> formats = {"text"};
  for (const Choice<PlacementFormat>& choice : choices_of(PlacementFormat{})) {
    formats.emplace_back(choice.name);
  }
  app.add_option("--format", arguments->format, "text, json, sglang or vllm")
      ->check(CLI::IsMember(formats));
  app.add_option("--evaluate", arguments->evaluated,
                 "judge this placement file (any of the formats) under the loads instead");
  app.add_option("--program", arguments->program,
                 "executable and arguments of a placement program of yours: loads as one line of "
                 "JSON in, {\"slot_to_expert\"} out");
  app.add_option(
         "--dense-layers", arguments->leading_dense_layers,
         "layers without experts before the first MoE layer, as SGLang's table has rows for them")
      ->check(CLI::Range(0, 1000));
  return [arguments, &out = context.out] {
    const PlacementRequest request = load_placement_request(arguments->loads);
    const bool is_given = !arguments->evaluated.empty();
    const bool is_asked = !arguments->program.empty();
    const Placement placement =
        is_given   ? evaluate_placement(request, slots_from_file(request, *arguments))
        : is_asked ? evaluate_placement(request, program_slots(request, arguments->program))
                   : place_experts(request, arguments->policy);
    for (const Choice<PlacementFormat>& choice : choices_of(PlacementFormat{})) {
      if (choice.name == arguments->format) {
        out << placement_json(request, placement, choice.value, arguments->leading_dense_layers)
                   .dump()
            << "\n";
        return 0;
      }
    }
    print_text(out, request, placement,
               is_given   ? arguments->evaluated
               : is_asked ? arguments->program.front()
                          : arguments->policy);
    return 0;
  };
}

}  // namespace moesim

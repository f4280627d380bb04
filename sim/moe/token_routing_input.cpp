// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_input.h"

#include <filesystem>

#include "sim/base/error.h"

namespace moesim {
namespace {

std::string beside(const std::string& scenario_file, const std::string& path) {
  const std::filesystem::path given(path);
  if (given.is_absolute() || path == "-") {
    return path;
  }
  return (std::filesystem::path(scenario_file).parent_path() / given).string();
}

std::vector<std::vector<double>> read_layer_loads(const std::string& path) {
  std::vector<std::vector<double>> loads;
  const ExpertCounts* first = nullptr;
  const std::vector<ExpertCounts> all = read_expert_counts(path);
  for (const ExpertCounts& counts : all) {
    if (!counts.kind.empty() && counts.kind != "topk") {
      continue;
    }
    if (first != nullptr && (counts.dataset != first->dataset || counts.model != first->model ||
                             counts.task != first->task)) {
      throw InputError(path, "",
                       "holds counts of several recordings: " + first->model + " " + first->task +
                           ", " + counts.model + " " + counts.task,
                       "allowed: a file with one of them");
    }
    first = first == nullptr ? &counts : first;
    loads.emplace_back(counts.counts.begin(), counts.counts.end());
  }
  if (loads.empty()) {
    throw InputError(path, "", "holds no counts of kind topk");
  }
  return loads;
}

}  // namespace

GateShape gate_shape(const FfnSpec& layer, bool group_limited) {
  GateShape gate = {.experts = static_cast<std::int32_t>(layer.experts),
                    .top_k = static_cast<std::int32_t>(layer.top_k)};
  if (group_limited) {
    gate.groups = static_cast<std::int32_t>(layer.router.groups);
    gate.groups_chosen = static_cast<std::int32_t>(layer.router.groups_chosen);
    const bool sigmoid = layer.router.kind == RouterKind::sigmoid_bias ||
                         layer.router.kind == RouterKind::sigmoid_top_k;
    gate.group_score_terms = sigmoid ? 2 : 1;
  }
  return gate;
}

RoutingSpec routing_spec(const RoutingConfig& routing, const FfnSpec& layer, std::uint64_t seed,
                         const std::string& scenario_file) {
  RoutingSpec spec;
  spec.gate = gate_shape(layer, routing.group_limited);
  spec.sigma = routing.sigma;
  spec.alpha = routing.alpha;
  spec.seed = seed;
  switch (routing.kind) {
    case RoutingModel::uniform:
      spec.kind = RoutingKind::uniform;
      break;
    case RoutingModel::gumbel:
      spec.kind = RoutingKind::gumbel;
      break;
    case RoutingModel::zipf:
      spec.kind = RoutingKind::zipf;
      break;
    case RoutingModel::counts:
      spec.kind = RoutingKind::counts;
      spec.gate = gate_shape(layer, false);
      spec.layer_loads = read_layer_loads(beside(scenario_file, routing.trace));
      break;
    case RoutingModel::trace:
      spec.kind = RoutingKind::trace;
      spec.gate = gate_shape(layer, false);
      spec.trace = std::make_shared<const TokenTrace>(
          read_token_trace(beside(scenario_file, routing.trace)));
      break;
  }
  check_routing(spec, scenario_file, "/routing");
  return spec;
}

}  // namespace moesim

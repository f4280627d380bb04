// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_input.h"

#include <filesystem>

#include "sim/base/error.h"
#include "sim/input/routed_experts.h"

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
  const std::vector<ExpertCounts> all = read_count_recording(path);
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

const Fields<RoutingOptions>& fields_of(const RoutingOptions*) {
  static const Fields<RoutingOptions> table =
      Fields<RoutingOptions>("routing", "which experts the tokens choose")
          .add("kind", &RoutingOptions::kind, {.doc = "the law of the choices", .required = true})
          .add("sigma", &RoutingOptions::sigma,
               {.doc = "gumbel, lognormal: spread of popularity", .min = 0, .max = 20})
          .add("layer_sigma", &RoutingOptions::layer_sigma,
               {.doc = "gumbel: a spread for each layer", .min = 0, .max = 20})
          .add("alpha", &RoutingOptions::alpha,
               {.doc = "zipf, power_law: exponent; dirichlet: concentration", .min = 0})
          .add("power_law_tokens", &RoutingOptions::power_law_tokens,
               {.doc = "power_law: batch that loads are drawn for", .min = 1, .max = 1e9})
          .add("trace", &RoutingOptions::trace, {.doc = "trace, counts: recorded file"})
          .add("group_limited", &RoutingOptions::group_limited,
               {.doc = "respect the model's expert groups"});
  return table;
}

RoutingSpec routing_spec(const RoutingOptions& options, const FfnSpec& layer, std::uint64_t seed,
                         const std::string& file) {
  RoutingSpec spec;
  spec.kind = options.kind;
  spec.sigma = options.sigma;
  spec.layer_sigma = options.layer_sigma;
  spec.alpha = options.alpha;
  spec.power_law_tokens = options.power_law_tokens;
  spec.seed = seed;
  const bool recorded = options.kind == RoutingKind::counts || options.kind == RoutingKind::trace;
  spec.gate = gate_shape(layer, options.group_limited && !recorded);
  if (options.kind == RoutingKind::counts) {
    spec.layer_loads = read_layer_loads(beside(file, options.trace));
  } else if (options.kind == RoutingKind::trace) {
    spec.trace = std::make_shared<const TokenTrace>(read_recording(beside(file, options.trace)));
  }
  check_routing(spec, file, "/routing");
  return spec;
}

RoutingSpec routing_spec(const RoutingConfig& routing, const FfnSpec& layer, std::uint64_t seed,
                         const std::string& scenario_file) {
  RoutingOptions options;
  options.sigma = routing.sigma;
  options.alpha = routing.alpha;
  options.trace = routing.trace;
  options.group_limited = routing.group_limited;
  switch (routing.kind) {
    case RoutingModel::uniform:
      options.kind = RoutingKind::uniform;
      break;
    case RoutingModel::gumbel:
      options.kind = RoutingKind::gumbel;
      break;
    case RoutingModel::zipf:
      options.kind = RoutingKind::zipf;
      break;
    case RoutingModel::counts:
      options.kind = RoutingKind::counts;
      break;
    case RoutingModel::trace:
      options.kind = RoutingKind::trace;
      break;
  }
  return routing_spec(options, layer, seed, scenario_file);
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_input.h"

#include <filesystem>

#include "sim/base/error.h"
#include "sim/input/routed_experts.h"
#include "sim/moe/token_routing_domains.h"

namespace moesim {
namespace {

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

RoutingKind kind_of(RoutingModel model) {
  switch (model) {
    case RoutingModel::uniform:
      return RoutingKind::uniform;
    case RoutingModel::typical:  // of a resolved scenario no longer
    case RoutingModel::gumbel:
      return RoutingKind::gumbel;
    case RoutingModel::zipf:
      return RoutingKind::zipf;
    case RoutingModel::dirichlet:
      return RoutingKind::dirichlet;
    case RoutingModel::lognormal:
      return RoutingKind::lognormal;
    case RoutingModel::power_law:
      return RoutingKind::power_law;
    case RoutingModel::counts:
      return RoutingKind::counts;
    case RoutingModel::trace:
      return RoutingKind::trace;
    case RoutingModel::domains:
      return RoutingKind::domains;
  }
  return RoutingKind::uniform;
}

/// The spec of any kind but domains, not yet checked.
RoutingSpec law_spec(const RoutingConfig& routing, const FfnSpec& layer, std::uint64_t seed,
                     const std::string& file) {
  RoutingSpec spec;
  spec.kind = kind_of(routing.kind);
  spec.sigma = routing.sigma;
  spec.layer_sigma = routing.layer_sigma;
  spec.alpha = routing.alpha;
  spec.power_law_tokens = routing.power_law_tokens;
  spec.replay = routing.replay;
  spec.seed = seed;
  const bool recorded = spec.kind == RoutingKind::counts || spec.kind == RoutingKind::trace;
  spec.gate = gate_shape(layer, routing.group_limited && !recorded);
  if (spec.kind == RoutingKind::counts) {
    spec.layer_loads = read_layer_loads(beside(file, routing.trace));
  } else if (spec.kind == RoutingKind::trace) {
    spec.trace = std::make_shared<const TokenTrace>(read_recording(beside(file, routing.trace)));
  }
  return spec;
}

RoutingSpec mixture_spec(const RoutingConfig& routing, const FfnSpec& layer, std::int32_t layers,
                         std::uint64_t seed, const std::string& file) {
  std::vector<RoutingDomain> domains;
  // A recording shows the effect of the group limit already: with one in the mixture, none binds.
  bool has_recording = false;
  for (const DomainConfig& domain : routing.domains) {
    has_recording = has_recording || !domain.trace.empty();
  }
  for (std::size_t d = 0; d < routing.domains.size(); ++d) {
    const DomainConfig& domain = routing.domains[d];
    RoutingConfig law;
    law.kind = domain.kind;
    law.sigma = domain.sigma;
    law.alpha = domain.alpha;
    law.trace = domain.trace;
    law.group_limited = routing.group_limited && !has_recording;
    RandomStream stream(seed, "routing/domain/seed", d);  // loads of domains hardly correlate
    domains.push_back({domain.name, law_spec(law, layer, stream.next(), file)});
  }
  std::vector<DomainPhase> phases;
  for (const DomainPhaseConfig& phase : routing.phases) {
    phases.push_back({Seconds(phase.start_s), phase.shares, Seconds(phase.drift_s)});
  }
  if (phases.empty()) {
    phases.push_back({Seconds(0), std::vector<double>(domains.size(), 1.0), Seconds(0)});
  }
  std::vector<DomainBurst> bursts;
  for (const DomainBurstConfig& burst : routing.bursts) {
    std::size_t domain = 0;
    while (domain < domains.size() && domains[domain].name != burst.domain) {
      ++domain;
    }
    bursts.push_back({domain, burst.share, Seconds(burst.first_s), Seconds(burst.period_s),
                      Seconds(burst.length_s)});
  }
  RoutingSpec spec;
  spec.kind = RoutingKind::domains;
  spec.seed = seed;
  spec.time = Seconds(routing.time_s);
  spec.mixture = std::make_shared<const DomainRouting>(std::move(domains), std::move(phases),
                                                       std::move(bursts), layers, file, "/routing");
  spec.gate = spec.mixture->gate();
  return spec;
}

}  // namespace

std::string beside(const std::string& scenario_file, const std::string& path) {
  const std::filesystem::path given(path);
  if (given.is_absolute() || path == "-") {
    return path;
  }
  return (std::filesystem::path(scenario_file).parent_path() / given).string();
}

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

RoutingSpec routing_spec(const RoutingConfig& routing, const FfnSpec& layer, std::int32_t layers,
                         std::uint64_t seed, const std::string& scenario_file) {
  RoutingSpec spec;
  if (routing.kind == RoutingModel::domains) {
    spec = mixture_spec(routing, layer, layers, seed, scenario_file);
  } else {
    spec = law_spec(routing, layer, seed, scenario_file);
    check_routing(spec, scenario_file, "/routing");
  }
  if (routing.distinct_layers && *routing.distinct_layers < layers) {
    const auto distinct = static_cast<std::int32_t>(*routing.distinct_layers);
    spec.layer_stride = (layers + distinct - 1) / distinct;
  }
  return spec;
}

std::vector<std::vector<double>> recorded_loads(const std::string& path,
                                                const std::string& scenario_file) {
  const std::string file = beside(scenario_file, path);
  try {
    return read_layer_loads(file);
  } catch (const InputError& no_counts) {
    try {
      const TokenTrace trace = read_recording(file);
      std::vector<std::vector<double>> loads;
      for (std::size_t l = 0; l < trace.layers.size(); ++l) {
        const std::vector<std::int64_t> totals = layer_totals(trace, l);
        loads.emplace_back(totals.begin(), totals.end());
      }
      return loads;
    } catch (const InputError&) {
      throw no_counts;  // neither reader takes it: counts are the usual case
    }
  }
}

}  // namespace moesim

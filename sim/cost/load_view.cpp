// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/load_view.h"

#include <algorithm>
#include <cmath>

#include "sim/moe/token_routing_input.h"

namespace moesim {

LoadView::LoadView(const RoutingSpec& routing, const StepTemplate& step, std::int64_t domain_gpus,
                   double capacity_factor)
    : top_k_(static_cast<double>(step.top_k)),
      ranks_(step.ways.expert),
      capacity_factor_(capacity_factor) {
  if (step.num_moe_layers == 0) {
    return;
  }
  const std::int64_t ranks_per_domain =
      std::max<std::int64_t>(1, domain_gpus / step.ways.expert_tensor);
  const ExpertMap map = ExpertMap::contiguous(
      static_cast<std::int32_t>(step.experts), static_cast<std::int32_t>(ranks_),
      static_cast<std::int32_t>(std::min(ranks_per_domain, ranks_)));
  profiles_ = std::make_shared<const RoutingProfiles>(
      routing, static_cast<std::int32_t>(step.num_moe_layers), map);
  alike_ =
      profiles_->layer(0).routing().is_balanced() || profiles_->layer(0).routing().is_uniform();
  const std::int64_t layers = alike_ ? 1 : step.num_moe_layers;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::span<const double> share =
        profiles_->layer(static_cast<std::int32_t>(layer)).rank_share();
    std::vector<double> nodes(static_cast<std::size_t>(map.nodes()), 0.0);
    for (std::size_t rank = 0; rank < share.size(); ++rank) {
      nodes[rank / static_cast<std::size_t>(map.ranks_per_node)] += share[rank];
    }
    node_imbalance_.push_back(max_over_mean(nodes));
  }
}

/// Expected overflow of each expert, as a count of independent tokens; what is kept sets the
/// busiest rank.
void LoadView::drop_overflow(LayerLoad& load, const LoadProfile& profile,
                             std::int64_t layer) const {
  const std::span<const double> inclusion =
      profiles_->layer(static_cast<std::int32_t>(layer)).routing().inclusion();
  const double experts = static_cast<double>(inclusion.size());
  const auto places =
      static_cast<std::int64_t>(std::ceil(capacity_factor_ * top_k_ * profile.tokens / experts));
  const std::size_t experts_per_rank = inclusion.size() / static_cast<std::size_t>(ranks_);
  const bool balanced = profiles_->layer(static_cast<std::int32_t>(layer)).routing().is_balanced();
  double dropped = 0;
  double busiest = 0;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks_); ++rank) {
    double kept = 0;
    for (std::size_t e = rank * experts_per_rank; e < (rank + 1) * experts_per_rank; ++e) {
      const double mean = profile.tokens * inclusion[e];
      const double excess = balanced
                                ? std::max(0.0, mean - static_cast<double>(places))
                                : expected_excess_count(mean, mean * (1.0 - inclusion[e]), places);
      dropped += excess;
      kept += mean - excess;
    }
    busiest = std::max(busiest, kept);
  }
  load.dropped_fraction = profile.tokens > 0 ? dropped / (profile.tokens * top_k_) : 0;
  load.experts.assignments = std::min(load.experts.assignments, busiest);
  load.experts.hottest = std::min(load.experts.hottest, static_cast<double>(places));
}

LayerLoad LoadView::at(std::int64_t moe_layer, double tokens_per_rank) const {
  const std::int64_t layer = alike_ ? 0 : moe_layer;
  const double tokens = tokens_per_rank * static_cast<double>(ranks_);
  const LoadProfile profile = profiles_->at(static_cast<std::int32_t>(layer), tokens);
  LayerLoad load;
  load.experts.assignments = profile.hottest_rank_load;
  load.experts.active_experts = profile.active_slots_hottest;
  load.experts.hottest = profile.hottest_expert_load;
  load.experts.padded = profile.hottest_rank_load +
                        32.0 * profile.active_slots_hottest;  // half a 64-row tile an expert
  if (capacity_factor_ > 0) {
    drop_overflow(load, profile, layer);
  }
  // The busiest rank receives more copies than anyone sends; a node's network cards share what
  // arrives at the node.
  const double receive =
      profile.mean_rank_load > 0 ? load.experts.assignments / profile.mean_rank_load : 1.0;
  const double node_receive = node_imbalance_[static_cast<std::size_t>(layer)];
  const FanOut& fan_out = profile.fan_out;
  load.exchange.ranks = ranks_;
  load.exchange.remote_selections = tokens_per_rank * fan_out.remote_selections * receive;
  load.exchange.local_selections = tokens_per_rank * (top_k_ - fan_out.remote_selections) * receive;
  load.exchange.node_copies = tokens_per_rank * fan_out.remote_nodes * node_receive;
  load.exchange.rank_copies = tokens_per_rank * fan_out.ranks * receive;
  return load;
}

RoutingSpec routing_of(const Scenario& scenario) {
  for (const LayerClass& layer : scenario.model->layers) {
    if (layer.ffn.kind == FfnKind::moe) {
      return routing_spec(scenario.spec.routing, layer.ffn,
                          static_cast<std::uint64_t>(scenario.spec.seed), scenario.file);
    }
  }
  return {};
}

}  // namespace moesim

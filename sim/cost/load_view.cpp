// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/load_view.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>

#include "sim/base/random.h"
#include "sim/moe/token_routing_input.h"

namespace moesim {
namespace {

/// Profiles of the deployments seen last, a process long: the layouts of a plan and the points of a
/// sweep mostly route alike, and profiles are the dear part of a skewed LoadView. They depend on
/// their arguments alone, so sharing them cannot be seen in a result.
std::shared_ptr<const RoutingProfiles> shared_profiles(const RoutingSpec& routing,
                                                       std::int32_t layers, const ExpertMap& map) {
  constexpr std::size_t kKept = 64;
  struct Entry {
    RoutingSpec routing;
    std::int32_t layers;
    ExpertMap map;
    std::shared_ptr<const RoutingProfiles> profiles;
  };
  static std::mutex mutex;
  static std::deque<Entry> entries;  // newest first
  const std::lock_guard lock(mutex);
  for (const Entry& entry : entries) {
    if (entry.layers == layers && entry.map == map && entry.routing == routing) {
      return entry.profiles;
    }
  }
  entries.push_front(
      {routing, layers, map, std::make_shared<const RoutingProfiles>(routing, layers, map)});
  if (entries.size() > kKept) {
    entries.pop_back();
  }
  return entries.front().profiles;
}

}  // namespace

LoadView::LoadView(const RoutingSpec& routing, const StepTemplate& step, std::int64_t domain_gpus,
                   double capacity_factor)
    : top_k_(static_cast<double>(step.top_k)),
      experts_(static_cast<double>(step.experts)),
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
  profiles_ = shared_profiles(routing, static_cast<std::int32_t>(step.num_moe_layers), map);
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

namespace {

/// Expected tokens of the hottest expert on the hottest rank. The profile has the hottest of all
/// experts; maxima of n alike counts stand out from their mean by about sqrt(2 ln n), so the
/// hottest of a rank's own few stands out less.
double hottest_on_rank(const LoadProfile& profile, std::int64_t ranks) {
  const double active = std::max(profile.active_slots_hottest, 1e-9);
  const double mean = profile.hottest_rank_load / active;
  const double all =
      profile.mean_expert_load > 0
          ? profile.mean_rank_load * static_cast<double>(ranks) / profile.mean_expert_load
          : 1.0;
  const double own = all / static_cast<double>(ranks);
  const double share =
      all > 1.0 ? std::sqrt(portable_log(std::max(own, 1.0)) / portable_log(all)) : 0.0;
  const double stands_out = std::max(0.0, profile.hottest_expert_load - profile.mean_expert_load);
  return std::min({mean + stands_out * share, profile.hottest_rank_load,
                   std::max(profile.hottest_expert_load, mean)});
}

/// Expected rows when each active expert's count is rounded up to tiles of 64, as
/// `ExpertLoad::of` does with real counts. Counts are taken as uniform around their mean, as wide
/// as the hottest expert says; E[ceil] then has a closed form.
double expected_padded(const ExpertLoad& load) {
  constexpr double kTile = 64.0;
  if (load.active_experts <= 0 || load.assignments <= 0) {
    return 0;
  }
  const double mean = load.assignments / load.active_experts / kTile;
  const double experts = std::max(load.active_experts, 2.0);
  const double deviation =
      std::max(0.0, load.hottest / kTile - mean) / std::sqrt(2.0 * portable_log(experts));
  // Ends just below whole tiles: counts of exactly 64 fill one tile.
  const double reach = std::max(std::sqrt(3.0) * deviation, 1e-9);
  const double low = std::max(0.0, mean - reach - 1e-6);
  const double high = std::max(low + 1e-9, mean + reach - 1e-6);
  const auto integral = [](double x) {  // of ceil from 0 to x
    const double whole = std::floor(x);
    return whole * (whole + 1.0) / 2.0 + (whole + 1.0) * (x - whole);
  };
  const double tiles = std::max(1.0, (integral(high) - integral(low)) / (high - low));
  return std::max(load.assignments, tiles * kTile * load.active_experts);
}

}  // namespace

LayerLoad LoadView::at(std::int64_t moe_layer, double tokens_per_rank) const {
  const std::int64_t layer = alike_ ? 0 : moe_layer;
  const double tokens = tokens_per_rank * static_cast<double>(ranks_);
  const LoadProfile profile = profiles_->at(static_cast<std::int32_t>(layer), tokens);
  LayerLoad load;
  load.experts.assignments = profile.hottest_rank_load;
  load.experts.active_experts = profile.active_slots_hottest;
  load.experts.hottest = hottest_on_rank(profile, ranks_);
  if (capacity_factor_ > 0) {
    drop_overflow(load, profile, layer);
  }
  load.experts.padded = expected_padded(load.experts);
  // The busiest rank receives more copies than anyone sends; a node's network cards share what
  // arrives at the node.
  const double receive =
      profile.mean_rank_load > 0 ? load.experts.assignments / profile.mean_rank_load : 1.0;
  const double node_receive = node_imbalance_[static_cast<std::size_t>(layer)];
  const FanOut& fan_out = profile.fan_out;
  load.exchange.ranks = ranks_;
  load.exchange.tokens = tokens_per_rank;
  load.exchange.experts = experts_;
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

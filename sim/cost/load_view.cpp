// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/load_view.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <numeric>

#include "sim/base/random.h"
#include "sim/base/stop.h"
#include "sim/moe/expert_edits.h"
#include "sim/moe/token_routing_domains.h"
#include "sim/moe/token_routing_input.h"
#include "sim/workload/layer_ops.h"

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

/// Layers before the first with experts: SGLang's placement files have rows for them.
std::int32_t leading_dense_layers(const ModelCard& model) {
  std::int64_t count = 0;
  for (const LayerClass& layer : model.layers) {
    if (layer.ffn.kind == FfnKind::moe) {
      break;
    }
    count += layer.count;
  }
  return static_cast<std::int32_t>(count);
}

/// Bytes of one expert of one MoE layer as stored.
Bytes expert_bytes(const Scenario& scenario, const StepTemplate& step) {
  for (const LayerTemplate& layer : step.layers) {
    if (layer.experts) {
      const MoeOp& op = layer.experts->prototype;
      return Bytes((op.gated ? 3.0 : 2.0) * op.hidden * op.width *
                   expert_bytes_per_element(scenario));
    }
  }
  return Bytes(0);
}

/// Which experts are cold [experts]: the share of them that is least often chosen.
std::vector<bool> least_popular(std::span<const double> inclusion, double fraction) {
  std::vector<std::size_t> order(inclusion.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return inclusion[a] < inclusion[b]; });
  std::vector<bool> cold(inclusion.size(), false);
  const auto count =
      static_cast<std::size_t>(std::floor(fraction * static_cast<double>(inclusion.size()) + 0.5));
  for (std::size_t i = 0; i < count; ++i) {
    cold[order[i]] = true;
  }
  return cold;
}

/// The next layer's routing: its own, or that of the layer whose choices it shares.
void append_layer(std::vector<std::shared_ptr<const LayerRouting>>& routings,
                  const RoutingSpec& routing) {
  const auto layer = static_cast<std::int32_t>(routings.size());
  routings.push_back(routing.source_layer(layer) == layer
                         ? std::make_shared<const LayerRouting>(routing, layer)
                         : routings.back());
}

bool is_planned(const PlacementConfig& placement, std::int64_t experts) {
  return placement.policy != PlacementKind::contiguous ||
         placement.slots.value_or(experts) != experts ||
         placement.rebalance.trigger != RebalanceRule::never;
}

}  // namespace

LoadView::LoadView(const Scenario& scenario, const RoutingSpec& routing, const StepTemplate& step,
                   std::int64_t domain_gpus)
    : capacity_(scenario.spec.capacity),
      num_layers_(step.num_moe_layers),
      top_k_(static_cast<double>(step.top_k)),
      experts_(step.experts),
      ranks_(step.ways.expert),
      cold_fraction_(scenario.spec.precision.cold_fraction) {
  if (num_layers_ == 0) {
    return;
  }
  ranks_per_node_ =
      std::min(ranks_, std::max<std::int64_t>(1, domain_gpus / step.ways.expert_tensor));
  const ExpertMap contiguous =
      ExpertMap::contiguous(static_cast<std::int32_t>(experts_), static_cast<std::int32_t>(ranks_),
                            static_cast<std::int32_t>(ranks_per_node_));
  std::vector<std::shared_ptr<const LayerRouting>> routings;
  if (is_planned(scenario.spec.placement, experts_)) {
    for (std::int64_t layer = 0; layer < num_layers_; ++layer) {
      check_stopped();
      append_layer(routings, routing);
      // What holds for one layer of even loads holds for all.
      const bool is_even = routings[0]->is_balanced() || routings[0]->is_uniform();
      if (is_even && scenario.spec.placement.policy != PlacementKind::file &&
          scenario.spec.placement.policy != PlacementKind::program) {
        break;
      }
    }
    const PlacementContext context = placement_context(scenario, routing, step);
    plan_ = std::make_shared<const PlacementPlan>(
        plan_placement(scenario.spec.placement, routing, routings, context));
  }
  make_profiles(routing, contiguous, std::move(routings));
}

PlacementContext LoadView::placement_context(const Scenario& scenario, const RoutingSpec& routing,
                                             const StepTemplate& step) const {
  PlacementContext context;
  context.ranks = static_cast<std::int32_t>(ranks_);
  context.ranks_per_node = static_cast<std::int32_t>(ranks_per_node_);
  context.groups = routing.gate.is_group_limited() ? routing.gate.groups : 1;
  context.leading_dense_layers = leading_dense_layers(*scenario.model);
  context.tokens_per_step = batch_of(scenario).tokens() * static_cast<double>(step.ways.data);
  if (scenario.spec.runtime.straggler_factor > 1) {
    context.rank_speed.assign(static_cast<std::size_t>(ranks_), 1.0);
    context.rank_speed[0] = 1.0 / scenario.spec.runtime.straggler_factor;
  }
  context.expert_bytes = expert_bytes(scenario, step);
  const NodeGroup& node = scenario.cluster->node_groups.front();
  const bool crosses_nodes = ranks_ > ranks_per_node_ && node.nics.per_node > 0;
  context.link_rate =
      crosses_nodes
          ? node.nics.achieved.value_or(node.nics.rate).value *
                (static_cast<double>(node.nics.per_node) / static_cast<double>(node.gpus_per_node))
          : node.scale_up.achieved.value_or(node.scale_up.rate).value;
  context.file = scenario.file;
  return context;
}

LoadView LoadView::under(const RoutingSpec& routing) const { return under(routing, plan_, {}); }

LoadView LoadView::under(const RoutingSpec& routing, std::shared_ptr<const PlacementPlan> plan,
                         std::vector<std::shared_ptr<const LayerRouting>> routings) const {
  LoadView view;
  view.plan_ = std::move(plan);
  view.capacity_ = capacity_;
  view.num_layers_ = num_layers_;
  view.top_k_ = top_k_;
  view.experts_ = experts_;
  view.ranks_ = ranks_;
  view.ranks_per_node_ = ranks_per_node_;
  view.cold_fraction_ = cold_fraction_;
  view.make_profiles(
      routing,
      ExpertMap::contiguous(static_cast<std::int32_t>(experts_), static_cast<std::int32_t>(ranks_),
                            static_cast<std::int32_t>(ranks_per_node_)),
      std::move(routings));
  return view;
}

void LoadView::make_profiles(const RoutingSpec& routing, const ExpertMap& contiguous,
                             std::vector<std::shared_ptr<const LayerRouting>> routings) {
  const auto layers = static_cast<std::int32_t>(num_layers_);
  layer_stride_ = routing.layer_stride;
  if (plan_ == nullptr || plan_->maps.size() == 1) {
    profiles_ =
        shared_profiles(routing, layers, plan_ == nullptr ? contiguous : plan_->maps.front());
    alike_ =
        profiles_->layer(0).routing().is_balanced() || profiles_->layer(0).routing().is_uniform();
  } else {
    for (auto layer = static_cast<std::int32_t>(routings.size()); layer < layers; ++layer) {
      append_layer(routings, routing);
    }
    profiles_ = std::make_shared<const RoutingProfiles>(std::move(routings), plan_->maps);
  }
  if (!alike_) {
    // Layers are the dear part and independent of each other.
    const StopScope* const caller = StopScope::current();
    const auto stride = static_cast<std::int32_t>(profiles_->is_shared() ? layer_stride_ : 1);
    tbb::parallel_for(std::int32_t{0}, (layers + stride - 1) / stride, [&](std::int32_t i) {
      const StopScope scope(caller);
      profiles_->layer(i * stride);
    });
  }
  node_imbalance_.clear();
  cold_.clear();
  for (std::int64_t layer = 0; layer < (alike_ ? 1 : num_layers_) && cold_fraction_ > 0; ++layer) {
    cold_.push_back(least_popular(
        profiles_->layer(static_cast<std::int32_t>(layer)).routing().inclusion(), cold_fraction_));
  }
  for (std::int64_t layer = 0; layer < (alike_ ? 1 : num_layers_); ++layer) {
    if (layer % layer_stride_ > 0 && profiles_->is_shared()) {
      node_imbalance_.push_back(node_imbalance_.back());
      continue;
    }
    const std::span<const double> share =
        profiles_->layer(static_cast<std::int32_t>(layer)).rank_share();
    std::vector<double> nodes(static_cast<std::size_t>(contiguous.nodes()), 0.0);
    for (std::size_t rank = 0; rank < share.size(); ++rank) {
      nodes[rank / static_cast<std::size_t>(ranks_per_node_)] += share[rank];
    }
    node_imbalance_.push_back(max_over_mean(nodes));
  }
}

std::int64_t LoadView::places(double tokens) const {
  const double experts = static_cast<double>(experts_);
  const bool is_limited = capacity_.overflow != Overflow::dropless || capacity_.padding;
  if (!is_limited || tokens <= 0) {
    return 0;
  }
  const double wanted = capacity_.evaluating
                            ? capacity_.eval_token_fraction * tokens
                            : capacity_.factor.value_or(0) * top_k_ * tokens / experts;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(wanted)));
}

double pour_overflow(std::vector<double>& kept, std::span<const double> popularity, double excess,
                     double places) {
  // Each round shares the excess by popularity among experts with room; who fills up leaves.
  for (int round = 0; round < 64 && excess > 1e-9; ++round) {
    double open = 0;
    for (std::size_t e = 0; e < kept.size(); ++e) {
      open += kept[e] < places ? popularity[e] : 0.0;
    }
    if (open <= 0) {
      break;
    }
    double poured = 0;
    for (std::size_t e = 0; e < kept.size(); ++e) {
      if (kept[e] < places) {
        const double part = std::min(places - kept[e], excess * popularity[e] / open);
        kept[e] += part;
        poured += part;
      }
    }
    excess -= poured;
  }
  return excess;
}

/// Expected overflow of each expert, as a count of independent tokens; what is kept sets the
/// busiest rank.
void LoadView::limit(LayerLoad& load, const LoadProfile& profile, std::int64_t layer,
                     std::int64_t places) const {
  const LayerLoads& loads = profiles_->layer(static_cast<std::int32_t>(layer));
  const std::span<const double> inclusion = loads.routing().inclusion();
  const bool balanced = loads.routing().is_balanced();
  const double room = static_cast<double>(places);
  const double selections = profile.tokens * top_k_;
  std::vector<double> kept(inclusion.size());
  double excess = 0;
  if (capacity_.overflow != Overflow::dropless) {
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      const double mean = profile.tokens * inclusion[e];
      const double over = balanced
                              ? std::max(0.0, mean - room)
                              : expected_excess_count(mean, mean * (1.0 - inclusion[e]), places);
      excess += over;
      kept[e] = mean - over;
    }
    const double lost = capacity_.overflow == Overflow::next_best
                            ? pour_overflow(kept, inclusion, excess, room)
                            : excess;
    load.dropped_fraction = selections > 0 ? lost / selections : 0;
    load.rerouted_fraction = selections > 0 ? (excess - lost) / selections : 0;
  } else {
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      kept[e] = profile.tokens * inclusion[e];
    }
  }
  const ExpertMap& map = loads.map();
  std::vector<double> before(static_cast<std::size_t>(ranks_), 0.0);
  std::vector<double> after(before);
  std::vector<double> filled(before);
  for (std::size_t s = 0; s < map.slot_expert.size(); ++s) {
    const auto e = static_cast<std::size_t>(map.slot_expert[s]);
    const auto rank = static_cast<std::size_t>(map.slot_rank[s]);
    const double part = inclusion[e] > 0 ? loads.slot_share()[s] / inclusion[e] : 0.0;
    before[rank] += profile.tokens * loads.slot_share()[s];
    after[rank] += kept[e] * part;
    filled[rank] += std::max(kept[e], room) * part;
  }
  const double busiest = *std::max_element(after.begin(), after.end());
  const double unlimited = *std::max_element(before.begin(), before.end());
  load.experts.assignments *= unlimited > 0 ? busiest / unlimited : 1.0;
  if (capacity_.overflow != Overflow::dropless) {
    load.experts.hottest = std::min(load.experts.hottest, room);
  }
  if (capacity_.padding) {
    // Every place is a row, sent and computed (the batched products and equal all-to-all of
    // GShard).
    double rows = 0;
    double used = 0;
    for (const double count : kept) {
      rows += std::max(count, room);
      used += count;
    }
    load.padding_fraction = rows > 0 ? 1.0 - used / rows : 0;
    load.experts.assignments = *std::max_element(filled.begin(), filled.end());
    load.experts.hottest = std::max(load.experts.hottest, room);
    load.experts.active_experts = static_cast<double>(map.slots()) / static_cast<double>(ranks_);
  }
}

namespace {

/// Expected tokens of the hottest slot on the hottest rank. The profile has the hottest of all
/// slots; maxima of n alike counts stand out from their mean by about sqrt(2 ln n), so the hottest
/// of a rank's own few stands out less.
double hottest_on_rank(const LoadProfile& profile, double ranks, double slots) {
  const double active = std::max(profile.active_slots_hottest, 1e-9);
  const double mean = profile.hottest_rank_load / active;
  const double mean_of_all = profile.mean_rank_load * ranks / slots;
  const double own = slots / ranks;
  const double share =
      slots > 1.0 ? std::sqrt(portable_log(std::max(own, 1.0)) / portable_log(slots)) : 0.0;
  const double stands_out = std::max(0.0, profile.hottest_slot_load - mean_of_all);
  return std::min({mean + stands_out * share, profile.hottest_rank_load,
                   std::max(profile.hottest_slot_load, mean)});
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
  load.experts.hottest = hottest_on_rank(
      profile, static_cast<double>(ranks_),
      static_cast<double>(profiles_->layer(static_cast<std::int32_t>(layer)).map().slots()));
  if (const std::int64_t limit_of_expert = places(tokens); limit_of_expert > 0) {
    limit(load, profile, layer, limit_of_expert);
  }
  if (!cold_.empty()) {
    // Of the rank that the others wait for: a cold expert on another one saves nothing.
    const LayerLoads& loads = profiles_->layer(static_cast<std::int32_t>(layer));
    const std::span<const double> share = loads.rank_share();
    const auto busiest = std::max_element(share.begin(), share.end()) - share.begin();
    double active = 0;
    double cold = 0;
    for (std::size_t s = 0; s < loads.slot_share().size(); ++s) {
      if (loads.map().slot_rank[s] == busiest) {
        const double chance =
            1.0 -
            portable_exp(tokens * portable_log(std::max(1e-300, 1.0 - loads.slot_share()[s])));
        active += chance;
        cold += is_cold(layer, static_cast<std::size_t>(loads.map().slot_expert[s])) ? chance : 0.0;
      }
    }
    load.experts.cold_experts = active > 0 ? load.experts.active_experts * cold / active : 0;
  }
  load.experts.padded = expected_padded(load.experts);
  // The busiest rank receives more copies than anyone sends; a node's network cards share what
  // arrives at the node. Dropped selections are not sent.
  const double receive =
      profile.mean_rank_load > 0 ? load.experts.assignments / profile.mean_rank_load : 1.0;
  const double node_receive = node_imbalance_[static_cast<std::size_t>(layer)];
  const FanOut& fan_out = profile.fan_out;
  load.exchange.ranks = ranks_;
  load.exchange.tokens = tokens_per_rank;
  load.exchange.experts = static_cast<double>(experts_);
  load.exchange.remote_selections = tokens_per_rank * fan_out.remote_selections * receive;
  load.exchange.local_selections = tokens_per_rank * (top_k_ - fan_out.remote_selections) * receive;
  load.exchange.node_copies = tokens_per_rank * fan_out.remote_nodes * node_receive;
  load.exchange.rank_copies = tokens_per_rank * fan_out.ranks * receive;
  return load;
}

RoutingSpec routing_of(const Scenario& scenario) {
  std::int64_t layers = 0;
  const FfnSpec* ffn = nullptr;
  for (const LayerClass& layer : scenario.model->layers) {
    if (layer.ffn.kind == FfnKind::moe) {
      layers += layer.count;
      ffn = ffn == nullptr ? &layer.ffn : ffn;
    }
  }
  if (ffn == nullptr) {
    return {};
  }
  const ModelEdits& edits = scenario.spec.model_edits;
  FfnSpec routed = *ffn;  // the router as it was before experts were pruned, merged or added
  routed.experts += edits.pruned_experts + edits.merged_experts - edits.added_experts;
  const RoutingSpec spec =
      routing_spec(scenario.spec.routing, routed, static_cast<std::int32_t>(layers),
                   static_cast<std::uint64_t>(scenario.spec.seed), scenario.file);
  return edits.pruned_experts + edits.merged_experts + edits.added_experts > 0
             ? edited_routing(spec, static_cast<std::int32_t>(layers), edits)
             : spec;
}

}  // namespace moesim

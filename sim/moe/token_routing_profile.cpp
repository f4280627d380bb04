// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_profile.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/stop.h"
#include "sim/moe/layer_traffic.h"

namespace moesim {

ExpertMap ExpertMap::contiguous(std::int32_t experts, std::int32_t ranks,
                                std::int32_t ranks_per_node) {
  MOESIM_CHECK(experts >= 1 && ranks >= 1 && ranks_per_node >= 1, "a map has experts and ranks");
  ExpertMap map{.experts = experts, .ranks = ranks, .ranks_per_node = ranks_per_node};
  for (std::int32_t e = 0; e < experts; ++e) {
    map.slot_expert.push_back(e);
    map.slot_rank.push_back(
        static_cast<std::int32_t>(static_cast<std::int64_t>(e) * ranks / experts));
  }
  return map;
}

ExpertMap ExpertMap::from_slots(std::span<const std::int32_t> slot_to_expert, std::int32_t experts,
                                std::int32_t ranks, std::int32_t ranks_per_node) {
  const std::int32_t slots = static_cast<std::int32_t>(slot_to_expert.size());
  MOESIM_CHECK(ranks >= 1 && slots % ranks == 0, "every rank holds the same number of slots");
  ExpertMap map{.experts = experts, .ranks = ranks, .ranks_per_node = ranks_per_node};
  map.slot_expert.assign(slot_to_expert.begin(), slot_to_expert.end());
  for (std::int32_t s = 0; s < slots; ++s) {
    map.slot_rank.push_back(s / (slots / ranks));
  }
  return map;
}

/// Slots of each expert, as offsets into a list of slots sorted by expert.
struct LayerLoads::Replicas {
  std::vector<std::size_t> first;  // [experts + 1]
  std::vector<std::int32_t> slot;  // [slots]
};

LayerLoads::LayerLoads(std::shared_ptr<const LayerRouting> routing, const ExpertMap& map)
    : routing_(std::move(routing)), map_(map), ranks_(map.ranks) {
  const GateShape& gate = routing_->gate();
  const std::span<const double> inclusion = routing_->inclusion();
  MOESIM_CHECK(map.experts == gate.experts, "the map is of this gate's experts");
  const std::size_t ranks = static_cast<std::size_t>(ranks_);
  const std::size_t slots = map.slot_expert.size();
  MOESIM_CHECK(map.split.empty() || map.split.size() == ranks * slots, "a split of every source");

  Replicas replicas;
  replicas.first.assign(static_cast<std::size_t>(gate.experts) + 1, 0);
  for (const std::int32_t e : map.slot_expert) {
    MOESIM_CHECK(e >= 0 && e < gate.experts, "a slot holds an expert of this layer");
    ++replicas.first[static_cast<std::size_t>(e) + 1];
  }
  for (std::size_t e = 0; e + 1 < replicas.first.size(); ++e) {
    MOESIM_CHECK(replicas.first[e + 1] > 0, "every expert has a slot");
    replicas.first[e + 1] += replicas.first[e];
  }
  replicas.slot.resize(slots);
  std::vector<std::size_t> next(replicas.first.begin(), replicas.first.end() - 1);
  std::vector<std::int32_t> slots_of(ranks, 0);
  rank_share_.assign(ranks, 0.0);
  rank_variance_.assign(ranks, 0.0);
  for (std::size_t s = 0; s < slots; ++s) {
    const std::size_t e = static_cast<std::size_t>(map.slot_expert[s]);
    const std::size_t rank = static_cast<std::size_t>(map.slot_rank[s]);
    replicas.slot[next[e]++] = static_cast<std::int32_t>(s);
    most_slots_ = std::max(most_slots_, ++slots_of[rank]);
    double fraction = 1.0 / static_cast<double>(replicas.first[e + 1] - replicas.first[e]);
    if (!map.split.empty()) {
      fraction = 0.0;  // mean over the sources, which have equally many tokens
      for (std::size_t source = 0; source < ranks; ++source) {
        fraction += map.split[source * slots + s] / static_cast<double>(ranks);
      }
    }
    const double share = inclusion[e] * fraction;
    slot_share_.push_back(share);
    rank_share_[rank] += share;
    rank_variance_[rank] += share * (1.0 - share);
  }
  sample_fan_out(replicas);
}

void LayerLoads::sample_fan_out(const Replicas& replicas) {
  const GateShape& gate = routing_->gate();
  const ExpertMap& map = map_;
  const std::size_t ranks = static_cast<std::size_t>(ranks_);
  const std::size_t slots = map.slot_expert.size();
  const std::size_t k = static_cast<std::size_t>(gate.top_k);
  const bool is_split = !map.split.empty();
  const std::vector<std::int16_t>& sets = routing_->sample();
  RandomStream choice(1, "routing/replica");
  const std::size_t nodes = static_cast<std::size_t>(map.nodes());
  const auto node_of = [&](std::size_t rank) {
    return rank / static_cast<std::size_t>(map.ranks_per_node);
  };
  std::vector<std::int64_t> rank_seen(ranks, -1);
  std::vector<std::int64_t> node_seen(nodes, -1);
  std::vector<std::int64_t> node_hits(nodes, 0);
  std::vector<std::int32_t> in_rank(ranks, 0);
  std::vector<double> squares(ranks, 0.0);
  std::int64_t distinct_ranks = 0;
  std::int64_t distinct_remote_ranks = 0;
  std::int64_t distinct_remote_nodes = 0;
  for (std::int64_t t = 0; t < LayerRouting::kSampleTokens; ++t) {
    const std::int16_t* set = &sets[static_cast<std::size_t>(t) * k];
    const std::size_t source = static_cast<std::size_t>(t) % ranks;
    for (std::size_t j = 0; j < k; ++j) {
      const std::size_t e = static_cast<std::size_t>(set[j]);
      const std::size_t copies = replicas.first[e + 1] - replicas.first[e];
      std::size_t picked = 0;
      if (copies > 1 && !is_split) {
        picked = choice.below(copies);
      } else if (copies > 1) {
        double point = choice.uniform();
        while (picked + 1 < copies) {
          const auto slot = static_cast<std::size_t>(replicas.slot[replicas.first[e] + picked]);
          point -= map.split[source * slots + slot];
          if (point < 0.0) {
            break;
          }
          ++picked;
        }
      }
      const auto slot = static_cast<std::size_t>(replicas.slot[replicas.first[e] + picked]);
      const std::size_t rank = static_cast<std::size_t>(map.slot_rank[slot]);
      const std::size_t node = node_of(rank);
      if (rank_seen[rank] != t) {
        rank_seen[rank] = t;
        in_rank[rank] = 0;
        ++distinct_ranks;
        distinct_remote_ranks += rank != source ? 1 : 0;
      }
      if (node_seen[node] != t) {
        node_seen[node] = t;
        ++node_hits[node];
        distinct_remote_nodes += node != node_of(source) ? 1 : 0;
      }
      squares[rank] += 2 * in_rank[rank]++ + 1;  // the square grows by 2 n + 1
    }
  }
  const double per_token = 1.0 / static_cast<double>(LayerRouting::kSampleTokens);
  fan_out_.ranks = static_cast<double>(distinct_ranks) * per_token;
  if (!is_split) {
    // Where a token goes does not depend on where it comes from: exact means over sources.
    fan_out_.remote_ranks = fan_out_.ranks * (1.0 - 1.0 / ranks_);
    fan_out_.local_selections = static_cast<double>(gate.top_k) / ranks_;
    std::vector<double> node_share(nodes, 0.0);
    for (std::size_t r = 0; r < ranks; ++r) {
      node_share[node_of(r)] += rank_share_[r];
    }
    for (std::size_t n = 0; n < nodes; ++n) {
      const std::int32_t before = static_cast<std::int32_t>(n) * map.ranks_per_node;
      const double sources = std::min(map.ranks_per_node, ranks_ - before) /
                             static_cast<double>(ranks_);  // of the tokens, that start in this node
      const double hit = static_cast<double>(node_hits[n]) * per_token;
      fan_out_.nodes += hit;
      fan_out_.remote_nodes += hit * (1.0 - sources);
      fan_out_.remote_selections += node_share[n] * (1.0 - sources);
    }
  } else {
    fan_out_.remote_ranks = static_cast<double>(distinct_remote_ranks) * per_token;
    fan_out_.remote_nodes = static_cast<double>(distinct_remote_nodes) * per_token;
    for (const std::int64_t hits : node_hits) {
      fan_out_.nodes += static_cast<double>(hits) * per_token;
    }
    for (std::size_t source = 0; source < ranks; ++source) {
      for (std::size_t s = 0; s < slots; ++s) {
        const auto rank = static_cast<std::size_t>(map.slot_rank[s]);
        const double sent = routing_->inclusion()[static_cast<std::size_t>(map.slot_expert[s])] *
                            map.split[source * slots + s] / static_cast<double>(ranks);
        fan_out_.local_selections += rank == source ? sent : 0.0;
        fan_out_.remote_selections += node_of(rank) != node_of(source) ? sent : 0.0;
      }
    }
  }

  if (gate.is_group_limited()) {
    // Groups make selections cluster on ranks: take the measured variance per token, and undo what
    // the fixed total of top_k takes away, v = s (1 - s / sum s).
    double sum = 0.0;
    std::vector<double> measured(ranks);
    for (std::size_t r = 0; r < ranks; ++r) {
      measured[r] = std::max(0.0, squares[r] * per_token - rank_share_[r] * rank_share_[r]);
      rank_variance_[r] = measured[r];
      sum += measured[r];
    }
    for (int round = 0; round < 20 && ranks > 1; ++round) {
      double next_sum = 0.0;
      for (std::size_t r = 0; r < ranks; ++r) {
        const double part = sum > 0.0 ? std::min(0.5, rank_variance_[r] / sum) : 0.0;
        rank_variance_[r] = measured[r] / (1.0 - part);
        next_sum += rank_variance_[r];
      }
      sum = next_sum;
    }
  }
}

namespace {

/// Of values >= 0, in four chains: a single one would wait for each comparison.
double largest_of(std::span<const double> values) {
  double lanes[4] = {0.0, 0.0, 0.0, 0.0};
  std::size_t i = 0;
  for (; i + 4 <= values.size(); i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      lanes[lane] = std::max(lanes[lane], values[i + lane]);
    }
  }
  for (; i < values.size(); ++i) {
    lanes[0] = std::max(lanes[0], values[i]);
  }
  return std::max(std::max(lanes[0], lanes[1]), std::max(lanes[2], lanes[3]));
}

}  // namespace

LoadProfile LayerLoads::at(double tokens) const {
  MOESIM_CHECK(tokens >= 0.0, "a number of tokens");
  const GateShape& gate = routing_->gate();
  const std::span<const double> inclusion = routing_->inclusion();
  const double selections = tokens * gate.top_k;
  LoadProfile profile;
  profile.tokens = tokens;
  profile.fan_out = fan_out_;
  profile.mean_rank_load = selections / ranks_;
  profile.mean_expert_load = selections / gate.experts;
  std::vector<double> active(static_cast<std::size_t>(ranks_), 0.0);
  const double highest = largest_of(rank_share_);
  const auto hottest = static_cast<std::size_t>(
      std::find(rank_share_.begin(), rank_share_.end(), highest) - rank_share_.begin());
  if (routing_->is_balanced()) {
    // Even counts: max and active follow from the total alone.
    const double replicas = static_cast<double>(slot_share_.size()) / gate.experts;
    profile.active_experts = std::min<double>(gate.experts, selections);
    profile.hottest_expert_load = std::ceil(profile.mean_expert_load - 1e-9);
    const double largest = largest_of(slot_share_);
    profile.hottest_slot_load = std::ceil(tokens * largest - 1e-9);
    const double hottest_share = rank_share_[hottest] / gate.top_k;
    profile.hottest_rank_load = hottest_share * ranks_ > 1.0 + 1e-9
                                    ? selections * hottest_share
                                    : std::ceil(profile.mean_rank_load - 1e-9);
    const double fraction =
        std::min(1.0, selections / (static_cast<double>(gate.experts) * replicas));
    if (slot_share_.size() == active.size() * static_cast<std::size_t>(most_slots_)) {
      // Every rank has equally many slots: one sum stands for all.
      for (std::int32_t s = 0; s < most_slots_; ++s) {
        active[0] += fraction;
      }
      std::fill(active.begin() + 1, active.end(), active[0]);
    } else {
      for (std::size_t s = 0; s < slot_share_.size(); ++s) {
        active[static_cast<std::size_t>(map_.slot_rank[s])] += fraction;
      }
    }
  } else {
    const std::shared_ptr<const LayerTraffic> shared = LayerTraffic::of(*routing_);
    const std::shared_ptr<const ExpertUse> experts =
        shared != nullptr ? shared->use(tokens)
                          : std::make_shared<const ExpertUse>(*routing_, tokens);
    profile.active_experts = experts->active;
    for (std::size_t s = 0; s < slot_share_.size(); ++s) {
      const auto e = static_cast<std::size_t>(map_.slot_expert[s]);
      active[static_cast<std::size_t>(map_.slot_rank[s])] +=
          slot_share_[s] == inclusion[e] ? experts->used[e] : used_once(slot_share_[s], tokens);
    }
    std::vector<double> means;
    std::vector<double> variances;
    profile.hottest_expert_load = experts->hottest;
    profile.hottest_slot_load = profile.hottest_expert_load;
    if (slot_share_.size() > inclusion.size()) {
      means.resize(slot_share_.size());
      variances.resize(slot_share_.size());
      for (std::size_t s = 0; s < slot_share_.size(); ++s) {
        means[s] = tokens * slot_share_[s];
        variances[s] = means[s] * (1.0 - slot_share_[s]);
      }
      profile.hottest_slot_load = std::min(tokens, expected_max_count(means, variances));
    }
    if (ranks_ == 1) {
      profile.hottest_rank_load = selections;
    } else {
      means.resize(rank_share_.size());
      variances.resize(rank_share_.size());
      for (std::size_t r = 0; r < rank_share_.size(); ++r) {
        means[r] = tokens * rank_share_[r];
        variances[r] = tokens * rank_variance_[r];
      }
      profile.hottest_rank_load =
          std::min({selections, tokens * most_slots_, expected_max_count(means, variances)});
    }
  }
  double sum = 0.0;
  for (const double a : active) {
    sum += a;
    profile.active_slots_max = std::max(profile.active_slots_max, a);
  }
  profile.active_slots_mean = sum / ranks_;
  profile.active_slots_hottest = active[hottest];
  return profile;
}

RoutingProfiles::RoutingProfiles(const RoutingSpec& spec, std::int32_t layers, const ExpertMap& map)
    : spec_(spec), maps_{map} {
  check_routing(spec, "routing", "");
  for (std::int32_t l = 0; l < layers; ++l) {
    layers_.push_back(std::make_unique<Layer>());
  }
}

RoutingProfiles::RoutingProfiles(std::vector<std::shared_ptr<const LayerRouting>> routings,
                                 std::vector<ExpertMap> maps)
    : routings_(std::move(routings)), maps_(std::move(maps)) {
  MOESIM_CHECK(maps_.size() == 1 || maps_.size() == routings_.size(), "one map, or one a layer");
  for (std::size_t l = 0; l < routings_.size(); ++l) {
    layers_.push_back(std::make_unique<Layer>());
  }
}

RoutingProfiles::~RoutingProfiles() {
  for (const std::unique_ptr<Layer>& layer : layers_) {
    for (const std::atomic<const LoadProfile*>& node : layer->nodes) {
      delete node.load();
    }
  }
}

const LayerLoads& RoutingProfiles::layer(std::int32_t asked_layer) const {
  MOESIM_CHECK(asked_layer >= 0 && asked_layer < layers(), "a layer of this model");
  const std::int32_t layer = source_layer(asked_layer);
  Layer& entry = *layers_[static_cast<std::size_t>(layer)];
  std::call_once(entry.once, [&] {
    check_stopped();
    const auto index = static_cast<std::size_t>(layer);
    entry.loads = std::make_unique<const LayerLoads>(
        routings_.empty() ? LayerTraffic::shared(spec_, layer) : routings_[index],
        maps_[maps_.size() == 1 ? 0 : index]);
  });
  return *entry.loads;
}

const LoadProfile& RoutingProfiles::node(std::int32_t asked_layer, int index) const {
  const std::int32_t layer_index = source_layer(asked_layer);
  std::atomic<const LoadProfile*>& cell =
      layers_[static_cast<std::size_t>(layer_index)]->nodes[index];
  const LoadProfile* found = cell.load(std::memory_order_acquire);
  if (found == nullptr) {
    // Two threads may compute the same node; the values are equal and the second is dropped.
    const double tokens = std::round(portable_exp(0.5 * 0.6931471805599453 * index));
    auto made = std::make_unique<const LoadProfile>(layer(layer_index).at(tokens));
    if (cell.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel)) {
      found = made.release();
    }
  }
  return *found;
}

LoadProfile RoutingProfiles::at(std::int32_t layer_index, double tokens) const {
  const LayerLoads& loads = layer(layer_index);
  if (loads.routing().is_balanced() || tokens < 1.0 || tokens > 5e8) {
    return loads.at(tokens);
  }
  // Nodes lie at round(2^(i/2)): 1 1 2 3 4 6 8 11 16 ...
  int index = static_cast<int>(std::floor(2.0 * portable_log(tokens) / 0.6931471805599453));
  index = std::clamp(index, 0, kNodes - 2);
  const LoadProfile* low = &node(layer_index, index);
  while (index > 0 && low->tokens > tokens) {
    low = &node(layer_index, --index);
  }
  if (low->tokens == tokens) {
    return *low;
  }
  const LoadProfile* high = &node(layer_index, index + 1);
  while (index + 2 < kNodes && high->tokens <= tokens) {
    low = high;
    ++index;
    high = &node(layer_index, index + 1);
  }
  if (low->tokens == tokens || high->tokens <= low->tokens) {
    return *low;
  }
  const double x = portable_log(tokens / low->tokens) / portable_log(high->tokens / low->tokens);
  const auto blend = [&](double a, double b) { return a + x * (b - a); };
  // Ratios to the mean are smooth in log T; loads themselves grow with T.
  LoadProfile profile = *low;
  profile.tokens = tokens;
  const double scale = tokens / low->tokens;
  profile.mean_rank_load = low->mean_rank_load * scale;
  profile.mean_expert_load = low->mean_expert_load * scale;
  profile.hottest_rank_load =
      profile.mean_rank_load * blend(low->rank_max_over_mean(), high->rank_max_over_mean());
  profile.hottest_expert_load =
      profile.mean_expert_load * blend(low->expert_max_over_mean(), high->expert_max_over_mean());
  // Hottest slots follow the hottest expert between the nodes as ratios do.
  profile.hottest_slot_load =
      profile.mean_expert_load * blend(low->hottest_slot_load / low->mean_expert_load,
                                       high->hottest_slot_load / high->mean_expert_load);
  profile.active_experts = blend(low->active_experts, high->active_experts);
  profile.active_slots_mean = blend(low->active_slots_mean, high->active_slots_mean);
  profile.active_slots_hottest = blend(low->active_slots_hottest, high->active_slots_hottest);
  profile.active_slots_max = blend(low->active_slots_max, high->active_slots_max);
  return profile;
}

}  // namespace moesim

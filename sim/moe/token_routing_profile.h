// SPDX-License-Identifier: Apache-2.0
// What a step cost needs to know of the routing, as a few numbers per (layer, tokens, expert map):
// expected hottest loads, active experts and fan-out; looked up, not sampled, while a step is
// evaluated.
//
// Rank loads of a batch are sums over independent tokens; their expected maximum over ranks comes
// from `expected_max_count` of the unconditioned variances (the fixed total then costs nothing: it
// shifts all ranks alike). Active experts are sum_e 1 - (1 - p_e)^T. Fan-out is sampled once from a
// fixed stream. PHYSICS of the cost side: PHYSICS.md sections 2 and 6.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "sim/moe/token_routing.h"

namespace moesim {

/// Where the experts of a layer live: slots of ranks, ranks of nodes. An expert in several slots
/// (replicas) gets each of its selections at one of them, evenly at random or as `split` says.
struct ExpertMap {
  std::int32_t experts = 0;
  std::int32_t ranks = 1;
  std::int32_t ranks_per_node = 8;
  std::vector<std::int32_t> slot_expert;  ///< [slots]
  std::vector<std::int32_t> slot_rank;    ///< [slots], rising
  /// [ranks, slots] share of a source rank's selections of the slot's expert that go to this slot
  /// (sums to 1 over an expert's slots); empty: even.
  std::vector<float> split;

  std::int32_t nodes() const { return (ranks + ranks_per_node - 1) / ranks_per_node; }
  std::int32_t slots() const { return static_cast<std::int32_t>(slot_expert.size()); }

  /// Experts in index order, spread over ranks as evenly as consecutive runs allow.
  static ExpertMap contiguous(std::int32_t experts, std::int32_t ranks,
                              std::int32_t ranks_per_node);
  /// `slot_to_expert` [slots], each rank holding slots/ranks consecutive ones (as placements are
  /// written); every expert must have a slot.
  static ExpertMap from_slots(std::span<const std::int32_t> slot_to_expert, std::int32_t experts,
                              std::int32_t ranks, std::int32_t ranks_per_node);

  friend bool operator==(const ExpertMap&, const ExpertMap&) = default;
};

/// Where the copies of one token go, expected over tokens and over source ranks (each source rank
/// equally likely, independent of the routing).
struct FanOut {
  double ranks = 0.0;              ///< distinct destination ranks, the source's own counted
  double remote_ranks = 0.0;       ///< distinct destination ranks other than the source
  double nodes = 0.0;              ///< distinct destination nodes, the source's own counted
  double remote_nodes = 0.0;       ///< distinct destination nodes other than the source's
  double local_selections = 0.0;   ///< selections (of top_k) that stay on the source rank
  double remote_selections = 0.0;  ///< selections that leave the source node
};

/// Expected loads of one layer for one batch; all counts are expectations over routing noise.
struct LoadProfile {
  double tokens = 0.0;                ///< tokens entering the EP group, all ranks together
  double mean_rank_load = 0.0;        ///< selections per rank
  double hottest_rank_load = 0.0;     ///< E[max over ranks] of selections
  double mean_expert_load = 0.0;      ///< selections per expert
  double hottest_expert_load = 0.0;   ///< E[max over experts] of selections
  double hottest_slot_load = 0.0;     ///< the same of slots: replicas share their expert's
  double active_experts = 0.0;        ///< distinct experts with a token, whole layer
  double active_slots_mean = 0.0;     ///< active expert slots of a rank, mean over ranks
  double active_slots_hottest = 0.0;  ///< same on the rank with the highest expected load
  double active_slots_max = 0.0;      ///< same on the rank with most of them
  FanOut fan_out;

  double rank_max_over_mean() const {
    return mean_rank_load > 0.0 ? hottest_rank_load / mean_rank_load : 1.0;
  }
  double expert_max_over_mean() const {
    return mean_expert_load > 0.0 ? hottest_expert_load / mean_expert_load : 1.0;
  }
};

/// One layer's routing on one expert map: everything that does not depend on the batch size.
class LayerLoads {
 public:
  /// Costs the sampling of 4,096 tokens, about 1 ms.
  LayerLoads(std::shared_ptr<const LayerRouting> routing, const ExpertMap& map);

  /// Expected loads of `tokens` >= 0 tokens; about 0.1-1 ms.
  LoadProfile at(double tokens) const;
  const FanOut& fan_out() const { return fan_out_; }
  const LayerRouting& routing() const { return *routing_; }
  const ExpertMap& map() const { return map_; }
  /// Expected selections of each rank per token [ranks]; sums to top_k.
  std::span<const double> rank_share() const { return rank_share_; }
  /// The same of each slot [slots].
  std::span<const double> slot_share() const { return slot_share_; }

 private:
  struct Replicas;
  void sample_fan_out(const Replicas& replicas);

  std::shared_ptr<const LayerRouting> routing_;
  ExpertMap map_;
  std::int32_t ranks_ = 1;
  std::int32_t most_slots_ = 0;        ///< of any rank
  std::vector<double> slot_share_;     ///< [slots] P(a token uses the slot)
  std::vector<double> rank_share_;     ///< [ranks]
  std::vector<double> rank_variance_;  ///< [ranks] per token, without the fixed total
  FanOut fan_out_;
};

/// The profiles of a whole model, cached: layers are built when first asked for, batch sizes at
/// half octaves, and `at` interpolates between those (error below 1% of hottest loads).
class RoutingProfiles {
 public:
  RoutingProfiles(const RoutingSpec& spec, std::int32_t layers, const ExpertMap& map);
  /// The same for routings that exist already, one a layer, with one map for all or one a layer.
  RoutingProfiles(std::vector<std::shared_ptr<const LayerRouting>> routings,
                  std::vector<ExpertMap> maps);
  ~RoutingProfiles();

  std::int32_t layers() const { return static_cast<std::int32_t>(layers_.size()); }
  /// Layers of one popularity share their loads; otherwise each has a map of its own.
  bool is_shared() const { return maps_.size() == 1; }
  /// Thread-safe; about 50 ns once the nodes around `tokens` are cached.
  LoadProfile at(std::int32_t layer, double tokens) const;
  const LayerLoads& layer(std::int32_t layer) const;

 private:
  static constexpr int kNodes = 60;  ///< 2^0 .. 2^29.5
  struct Layer {
    std::once_flag once;
    std::unique_ptr<const LayerLoads> loads;
    std::atomic<const LoadProfile*> nodes[kNodes] = {};
  };
  const LoadProfile& node(std::int32_t layer, int index) const;
  std::int32_t source_layer(std::int32_t layer) const {
    return is_shared() ? spec_.source_layer(layer) : layer;
  }

  RoutingSpec spec_;
  std::vector<std::shared_ptr<const LayerRouting>> routings_;  ///< empty: made from spec_
  std::vector<ExpertMap> maps_;                                ///< one, or one a layer
  std::vector<std::unique_ptr<Layer>> layers_;
};

}  // namespace moesim

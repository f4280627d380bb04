// SPDX-License-Identifier: Apache-2.0
// Where the experts of each layer live: which expert each slot of each GPU holds.
//
// A *slot* is room for one expert's weights; every GPU has slots/gpus of them, numbered GPU by GPU.
// An expert may fill several slots (replicas), among which its tokens are split evenly here
// (placement_dispatch.h knows other splits), so
//
//     load(gpu) = sum over its slots of weight(expert) / replicas(expert),
//     balancedness = (total load / total speed) / max over gpus of load / speed      (mean/max at
//     equal speed)
//
// Policies are rows of `placement_policies()`. All but `eplb` keep the replicas of an expert on
// different GPUs. Scope: experts of one size; one layer does not know of another.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/error.h"

namespace moesim {

/// How often two experts of a layer serve the same token.
struct ExpertPair {
  int first = 0;
  int second = 0;
  double count = 0.0;
};

/// What is to be placed, and on what.
struct PlacementRequest {
  std::vector<std::vector<double>> weights;  ///< [layers][experts] load per expert, finite, >= 0
  int slots = 0;                             ///< per layer, over all GPUs; a multiple of `gpus`
  int gpus = 1;
  int nodes = 1;   ///< GPUs g*nodes/gpus belong to one node; divides `gpus`
  int groups = 1;  ///< expert groups of group-limited routing; divides the experts

  std::vector<double> gpu_speed;  ///< [gpus] relative, > 0; empty: all equal
  /// [layers] pairs with a count > 0, for `coactivation`; empty: unknown.
  std::vector<std::vector<ExpertPair>> coactivation;
  double tokens_per_step = 64;  ///< decode tokens over all GPUs, for `activated`; > 0
  int top_k = 8;                ///< experts a token takes, for `activated`
  bool allow_same_gpu_replicas = false;

  int layers() const { return static_cast<int>(weights.size()); }
  int experts() const { return weights.empty() ? 0 : static_cast<int>(weights.front().size()); }
  int slots_per_gpu() const { return slots / gpus; }
  /// True when whole groups can be dealt to nodes, so that a token limited to few groups stays on
  /// few nodes: more than one node and groups a multiple of nodes.
  bool is_hierarchical() const { return nodes > 1 && groups % nodes == 0; }

  /// Adds a diagnostic for everything that no policy could place.
  void check(const std::string& file, Diagnostics& diagnostics) const;
};

/// slot_to_expert of one layer set: [layers][slots].
using SlotTable = std::vector<std::vector<int>>;

struct Placement {
  SlotTable slot_to_expert;                   ///< [layers][slots], slots in GPU order
  std::vector<std::vector<int>> replicas;     ///< [layers][experts], each >= 1
  std::vector<std::vector<double>> gpu_load;  ///< [layers][gpus]
  std::vector<double> balancedness;           ///< [layers], in (0, 1]; 1 for a layer without load
};

class PlacementPolicy {
 public:
  virtual ~PlacementPolicy() = default;
  /// Every expert of every layer gets at least one slot; a pure function of `request`, which has
  /// passed `check`.
  virtual SlotTable slots(const PlacementRequest& request) const = 0;
};

struct PlacementPolicyRow {
  std::string_view name;
  std::string_view doc;
  std::unique_ptr<PlacementPolicy> (*make)();
};

/// contiguous, round_robin, lpt, eplb, best, activated, speed_aware, coactivation.
std::span<const PlacementPolicyRow> placement_policies();
constexpr std::string_view kDefaultPlacementPolicy = "best";

/// Checks the request, runs the policy of that name and evaluates its slots. Throws InputError for
/// a bad request or an unknown name (listing those allowed).
Placement place_experts(const PlacementRequest& request,
                        std::string_view policy = kDefaultPlacementPolicy);

/// Replicas, loads and balancedness of given slots under the loads of `request` (which may be
/// others than those the slots were planned for: that is staleness). Aborts when an expert has no
/// slot.
Placement evaluate_placement(const PlacementRequest& request, SlotTable slot_to_expert);

/// No placement with even splitting can have a hottest GPU (load/speed, equal speeds) below this:
/// the mean load, or the smallest possible largest replica when `slots` are dealt best.
double placement_lower_bound(std::span<const double> weights, int slots, int gpus);

/// Pairs (slot, later slot) of one GPU that hold the same expert.
int same_gpu_replicas(std::span<const int> slot_to_expert, int gpus);

}  // namespace moesim

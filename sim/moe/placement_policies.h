// SPDX-License-Identifier: Apache-2.0
// What the rows of the placement table share: splitting a layer into parts that are placed alone.
//
// A hierarchical request (groups dealt to nodes) falls into one part per node, any other is one
// part. A part is placed by balance_slots() under a cost per replica: token load, or the chance to
// be activated.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/moe/placement.h"

namespace moesim {

/// Costs of one layer's experts, [experts][max_replicas + 1]; see BalanceProblem.
struct ReplicaCosts {
  int max_replicas = 1;
  std::vector<double> cost;
};

/// weight / r.
ReplicaCosts token_costs(const PlacementRequest& request, int layer);
/// Expected activations of a replica in a step: 1 - (1 - q/r)^tokens, q = min(1, top_k * share of
/// load). A step in which weights are read from memory (small decode batches) lasts as long as
/// these sum to.
ReplicaCosts activation_costs(const PlacementRequest& request, int layer);

/// Slots of one layer with the smallest busiest GPU found within `max_evaluations`; replicas on
/// different GPUs unless the request allows otherwise.
std::vector<int> balanced_layer(const PlacementRequest& request, int layer,
                                const ReplicaCosts& costs, const std::vector<double>& gpu_speed,
                                std::int64_t max_evaluations);

/// Improves `slots` of a hierarchical request with moves across nodes too, but returns the result
/// only where it makes the busiest GPU at least `worth` (fraction) less busy: else tokens limited
/// to few groups would visit more nodes for nothing.
std::vector<int> spread_over_nodes(const PlacementRequest& request, int layer,
                                   const std::vector<double>& gpu_speed, std::vector<int> slots,
                                   double worth, std::int64_t max_evaluations);

/// The `coactivation` row: experts that serve the same tokens share a GPU, then a node, so that a
/// token visits fewer of them, while no GPU gets more than `max_overload` times the load that
/// `best` needs.
SlotTable coactivation_slots(const PlacementRequest& request, double max_overload);

}  // namespace moesim

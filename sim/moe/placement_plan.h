// SPDX-License-Identifier: Apache-2.0
// From the words of a scenario to where experts live: plans slots on the loads that the planner
// knows, moves them over time if asked to, and says how the replicas share the selections.
//
// The plan may know other loads than those served (a recording, an earlier time of a mixture):
// that is staleness. Replicas share as `/placement/dispatch` says; rules that look at the source
// become a split per (source rank, slot), others stay implicit and even.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/input/expert_config.h"
#include "sim/moe/placement.h"
#include "sim/moe/rebalance.h"
#include "sim/moe/token_routing_profile.h"

namespace moesim {

/// What a plan must know beside the routing.
struct PlacementContext {
  std::int32_t ranks = 1;           ///< that share out the experts
  std::int32_t ranks_per_node = 1;  ///< that reach each other without the network
  std::int32_t groups = 1;          ///< expert groups of the gate
  std::int32_t leading_dense_layers = 0;
  double tokens_per_step = 64;     ///< over all ranks
  std::vector<double> rank_speed;  ///< [ranks] relative; empty: all equal
  Bytes expert_bytes;              ///< of one expert of one layer
  BytesPerSecond link_rate;        ///< per rank and direction, for moving weights
  std::string file;                ///< of the scenario, for messages and relative paths
};

struct PlacementPlan {
  std::vector<ExpertMap> maps;       ///< one for all layers, or one a layer
  std::vector<double> balancedness;  ///< as `maps`: mean / max rank load under the loads served
  std::optional<RebalanceTimeline> rebalancing;  ///< windows from 0 to the time of the step
};

/// `spec` is the routing served and `routings` its layers. Throws InputError for files and programs
/// that do not answer as they should.
PlacementPlan plan_placement(const PlacementConfig& config, const RoutingSpec& spec,
                             std::span<const std::shared_ptr<const LayerRouting>> routings,
                             const PlacementContext& context);

// The parts of that, for callers who serve while the routing changes (moe/expert_timeline.h).

/// What is placed and on what; weights are not set.
PlacementRequest placement_request(const PlacementConfig& config, const RoutingSpec& spec,
                                   const PlacementContext& context);
/// The rule of `config.rebalance` in the words of moe/rebalance.h; first slots are not set.
RebalanceSpec rebalance_spec(const PlacementConfig& config, const PlacementContext& context);
/// The one plan made before the first step. Throws InputError as plan_placement does.
SlotTable planned_slots(const PlacementConfig& config, const RoutingSpec& spec,
                        std::span<const std::shared_ptr<const LayerRouting>> routings,
                        const PlacementContext& context);
/// Experts in these slots under the routing served.
PlacementPlan plan_of_slots(const PlacementConfig& config, const RoutingSpec& spec,
                            std::span<const std::shared_ptr<const LayerRouting>> routings,
                            const PlacementContext& context, const SlotTable& slots);

/// Slots that a program of the user's answers to the request: one line of JSON {"schema":
/// "moesim/placement/1", weights, slots, gpus, nodes, groups} in, {"slot_to_expert":
/// [layers][slots]} out. Throws InputError.
SlotTable program_slots(const PlacementRequest& request, const std::vector<std::string>& command);

/// Adds a diagnostic for every layer of `slots` that does not fit the request: other numbers of
/// layers or slots, unknown experts, experts without a slot.
void check_slots(const PlacementRequest& request, const SlotTable& slots, const std::string& file,
                 Diagnostics& diagnostics);

}  // namespace moesim

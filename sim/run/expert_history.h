// SPDX-License-Identifier: Apache-2.0
// What happened to the experts during a serving run: plans, moved weights, balance over time.
#pragma once

#include "sim/run/result.h"
#include "sim/serving/serving_loop.h"

namespace moesim {

/// Adds metrics `placement_balancedness` and `rebalance_*`, the series `placement_balancedness` and
/// `rank_load_max_over_mean`, and sentences; nothing where routing and placement stay.
void add_expert_history(SimulationResult& result, const ServingPlan& plan,
                        const ServingRecord& record);

}  // namespace moesim

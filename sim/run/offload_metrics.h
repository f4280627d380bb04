// SPDX-License-Identifier: Apache-2.0
// What reports say of experts in host memory: the metrics of a step and of a serving run, and
// whether the host holds them.
#pragma once

#include "sim/engine/offload_step.h"
#include "sim/run/result.h"
#include "sim/serving/serving_loop.h"
#include "sim/serving/steady_state.h"

namespace moesim {

/// Adds the metrics of a step's caches.
void add_offload_metrics(SimulationResult& result, const OffloadOutcome& offload);
/// Adds metrics, series and a finding of the caches of a serving run; nothing without /offload.
void add_expert_swaps(SimulationResult& result, const ServingPlan& plan,
                      const ServingRecord& record);
/// The same metrics in closed form: of decode steps at the mean batch.
void add_expert_swaps(SimulationResult& result, const ServingPlan& plan, const SteadyState& state);
/// Experts that do not fit the host's memory: a reason in `result`; false then.
bool check_host_memory(SimulationResult& result, const MemoryBudget& memory);

}  // namespace moesim

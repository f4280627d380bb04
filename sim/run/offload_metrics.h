// SPDX-License-Identifier: Apache-2.0
// What reports say of experts in host memory: the metrics of a step, and whether the host holds
// them.
#pragma once

#include "sim/engine/offload_step.h"
#include "sim/run/result.h"

namespace moesim {

/// Adds the metrics of a step's caches.
void add_offload_metrics(SimulationResult& result, const OffloadOutcome& offload);
/// Experts that do not fit the host's memory: a reason in `result`; false then.
bool check_host_memory(SimulationResult& result, const MemoryBudget& memory);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What faults of a scenario cost: how much longer the step takes, or that it cannot run at all, and
// how long until all is well again.
//
// A dead or slow link that leaves another way is a slower step until it is repaired; a fault that
// cuts GPUs off is an outage of the whole deployment, because every rank takes part in every
// exchange. Recovery = detection + repair (none with a spare node) + restart + loading the weights
// of a GPU. How often parts fail: Llama 3 training, 16,384 H100 for 54 days (arXiv:2407.21783,
// table 5): GPU and its memory 148 + 72, NIC 7, switches and cables 35.
#pragma once

#include <string>

#include "sim/input/scenario.h"
#include "sim/run/result.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

/// Why the step cannot run with the scenario's faults; "" when it can. Throws InputError when a
/// fault names nothing of the cluster.
std::string outage_of(const Scenario& scenario);

/// The scenario without its faults.
Scenario healthy(const Scenario& scenario);

/// Seconds until the deployment runs as before.
Seconds recovery_time(const Scenario& scenario, const MemoryBudget& memory);

/// Adds metrics `fault_slowdown` (step with faults over step without; absent in an outage),
/// `recovery_s`, `interruptions_per_day` and `availability_fraction`, and sentences.
void add_fault_cost(SimulationResult& result, const Scenario& scenario, Seconds with_faults,
                    Seconds without_faults, const std::string& outage, const MemoryBudget& memory);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The serving half of `simulate`: scenarios whose /workload/kind is serving.
#pragma once

#include "sim/run/simulate.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

/// Fills `result` beyond its head. `scenario` is `asked` on what faults and traffic that are there
/// all the time leave of its links. Throws InputError for files that the scenario names, Stopped.
void simulate_serving(SimulationResult& result, const Scenario& scenario, const Scenario& asked,
                      const RunOptions& options);

/// Mean step of the deployment's steady state, and what a GPU holds.
struct ServingStep {
  Seconds seconds;
  MemoryBudget memory;
};
ServingStep serving_step(const Scenario& scenario);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The serving half of `simulate`: scenarios whose /workload/kind is serving.
#pragma once

#include "sim/run/simulate.h"

namespace moesim {

/// Fills `result` beyond its head. Throws InputError for files that the scenario names, Stopped.
void simulate_serving(SimulationResult& result, const Scenario& scenario,
                      const RunOptions& options);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The same question with several seeds: what of the answer is luck of the routing and of jitter.
#pragma once

#include "sim/input/scenario.h"
#include "sim/run/simulate.h"

namespace moesim {

/// Runs seeds seed, seed + 1, ... and returns the first result with every plain metric and
/// distribution replaced by its mean over them; `low` and `high` are the 10% and 90% quantiles
/// (linear between order statistics). `count` >= 1; 1 is `simulate`.
SimulationResult simulate_replications(const Scenario& scenario, int count,
                                       const RunOptions& options = {});

}  // namespace moesim

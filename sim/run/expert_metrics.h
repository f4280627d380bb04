// SPDX-License-Identifier: Apache-2.0
// Reported numbers of a step that are about experts: capacity beside goodput, placement and its
// moves, domains of a mixture.
#pragma once

#include "sim/run/step_metrics.h"

namespace moesim {

/// Adds what applies to the scenario. `routing` is what `model` was made with.
void add_expert_metrics(SimulationResult& result, const Scenario& scenario,
                        const RoutingSpec& routing, const StepCostModel& model,
                        const StepBatch& batch, const StepOutcome& outcome);

}  // namespace moesim

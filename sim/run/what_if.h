// SPDX-License-Identifier: Apache-2.0
// The alternatives that a report shows beside its answer: the same question with one key changed,
// in analytic fidelity.
#pragma once

#include "sim/input/scenario.h"
#include "sim/run/result.h"

namespace moesim {

class StepCostModel;
struct RoutingSpec;

/// Evaluates skews, overlap rules, batch sizes and cache formats around the scenario and adds them
/// to `result`, with sentences about what dominates the step and what would help most. Costs some
/// milliseconds; more where experts are placed or swapped. `routing` and `model` are the scenario's
/// own: alternatives that leave experts alone share them.
void add_what_ifs(SimulationResult& result, const Scenario& scenario, const RoutingSpec& routing,
                  const StepCostModel& model);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The alternatives that a report shows beside its answer: the same question with one key changed,
// in analytic fidelity.
#pragma once

#include "sim/input/scenario.h"
#include "sim/run/result.h"

namespace moesim {

/// Evaluates skews, overlap rules, batch sizes and cache formats around the scenario and adds them
/// to `result`, with sentences about what dominates the step and what would help most. Costs some
/// milliseconds.
void add_what_ifs(SimulationResult& result, const Scenario& scenario);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What a monitor would have called out during a serving run: the rules of /alerts, each with when
// it was first broken, the worst value and what to do. docs/serving.md lists the rules.
//
// Rules over time judge windows of /alerts/window_s (absent: a twentieth of the run); rules about
// experts and links judge a step of the run's mean decode batch in every state of routing and
// placement that it passed.
#pragma once

#include "sim/run/result.h"
#include "sim/serving/serving_loop.h"

namespace moesim {

/// Whether a finished request kept every limit that is stated.
bool keeps_promise(const SloConfig& slo, const RequestState& request);

/// Rules about requests, queue and cache.
void add_serving_alerts(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                        const ServingRecord& record);

/// Rules about experts and links, for `decode_batch` sequences a replica with `context` cached
/// tokens each; nothing for 0 sequences. `end_s`: of the run; 0: its beginning alone.
void add_expert_alerts(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                       double decode_batch, double context, double end_s);

}  // namespace moesim

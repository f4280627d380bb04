// SPDX-License-Identifier: Apache-2.0
// Each reported number of a serving run, defined once (docs/serving.md lists them).
#pragma once

#include "sim/run/result.h"
#include "sim/serving/serving_loop.h"
#include "sim/serving/steady_state.h"

namespace moesim {

/// Fills metrics, breakdown, series, feasibility and alerts of `result`.
void add_serving_metrics(SimulationResult& result, const Scenario& scenario,
                         const ServingPlan& plan, const ServingRecord& record);

/// Weights that do not fit, or no room for one request: reasons in `result`; false then.
bool check_serving_memory(SimulationResult& result, const ServingPlan& plan);

/// The same figures in closed form: means.
void add_steady_metrics(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                        const RequestStream& stream, const SteadyState& state);
/// 80% bands from that of the steps, `log_half_width` (0: none is known). Solves the closed form
/// again with all steps slower and faster.
void add_serving_bands(SimulationResult& result, const Scenario& scenario, ServingPlan& plan,
                       const RequestStream& stream, const SteadyState& middle,
                       double log_half_width);
/// The same question with one key of load or engine changed, in closed form.
void add_serving_what_ifs(SimulationResult& result, const Scenario& scenario,
                          const ServingPlan& plan);
/// Sentences: what the time goes into, what limits the batch, how near the limit is.
void add_serving_findings(SimulationResult& result, const SteadyState& state);
/// A sentence that compares the run with the closed form.
void add_fidelity_gap(SimulationResult& result, const RequestStream& stream,
                      const ServingPlan& plan, const SteadyState& state);
/// Open loops whose rate is above `tolerated` times what can be served: reasons in `result`; false
/// then.
bool check_serving_rate(SimulationResult& result, const Scenario& scenario,
                        const SteadyState& state, double tolerated);
/// A backlog that still grew when arrivals ended: reasons in `result`.
void check_backlog(SimulationResult& result, const Scenario& scenario, const SteadyState& state,
                   const ServingRecord& record);

// Parts that both fidelities write.
void add_serving_memory(SimulationResult& result, const ServingPlan& plan, Basis basis);
/// Price and energy of `output_tokens` that took the whole system `seconds`.
void add_serving_money(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                       Basis basis, double seconds, double busy_share, double output_tokens);

/// Basis of a figure that mixes several: the weakest that carries at least a tenth of the time.
Basis weakest_basis(const std::array<double, 4>& by_basis);

}  // namespace moesim

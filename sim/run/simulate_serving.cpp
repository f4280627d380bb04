// SPDX-License-Identifier: Apache-2.0
// A serving scenario: the run over time, or its steady state, and what it says.
#include "sim/run/simulate_serving.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/run/expert_history.h"
#include "sim/run/offload_metrics.h"
#include "sim/run/serving_alerts.h"
#include "sim/run/serving_faults.h"
#include "sim/run/serving_metrics.h"

namespace moesim {
namespace {

// Rates so far above what can be served in closed form are not simulated: the closed form is good
// to about a twentieth, so anything nearer is left to the run.
constexpr double kHopelessLoad = 1.1;

// What no kernel table knows of a server: which kernels its version chose, its scheduler, its host.
// Half-width (log space) that, added to the steps' own bands, makes them hold 72% of the TPOTs of
// 969 public runs simulated with nothing of theirs (docs/serving_validation.md); without it they
// held 35%.
constexpr double kServerError = 0.16;

/// Band of the run's steps: that of its decode and of its prompt steps by their share of the time.
double steps_band(const ServingPlan& plan, const RequestStream& stream, const SteadyState& state) {
  StepShape decode;
  decode.decoding = std::max(1.0, state.decode_batch);
  decode.context = state.context;
  StepShape prompt = decode;
  prompt.prompts = 1;
  prompt.prompt_tokens = std::min(stream.mean_prompt(), plan.serving.rules->token_budget);
  const double share = std::clamp(state.prompt_step_share, 0.0, 1.0);
  double band = 0;
  if (share < 1) {
    band += (1 - share) * plan.serving.times->log_half_width(decode);
  }
  if (share > 0) {
    band += share * plan.serving.times->log_half_width(prompt);
  }
  return band > 0 ? std::hypot(band, kServerError) : 0;
}

}  // namespace

void simulate_serving(SimulationResult& result, const Scenario& scenario, const Scenario& asked,
                      const RunOptions& options) {
  if (options.timeline != nullptr) {
    throw InputError(scenario.file, "/workload/kind", "a serving run records no timeline",
                     "leave the trace out, or ask for one step (kind step)");
  }
  RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  if (!check_serving_memory(result, plan)) {
    return;
  }
  SteadyState state = steady_state(scenario, plan, stream);
  if (scenario.spec.fidelity == Fidelity::flow && plan.prefill) {
    plan = serving_plan_beside_caches(scenario, stream, plan, state.requests_per_s);
    const double alone = state.step_s;
    state = steady_state(scenario, plan, stream);
    result.findings.push_back(
        "caches on their way between the pools share cards and switches "
        "with exchanges: steps of the deployment are " +
        plain_number_text(100.0 * (state.step_s / alone - 1.0), 2) + "% longer than without them");
  }
  if (scenario.spec.fidelity == Fidelity::analytic) {
    check_serving_rate(result, scenario, state, 1.0);
    add_steady_metrics(result, scenario, plan, stream, state);
    add_expert_swaps(result, plan, state);
    add_serving_bands(result, scenario, plan, stream, state, steps_band(plan, stream, state));
    add_serving_findings(result, state);
    add_expert_alerts(result, scenario, plan, state.decode_batch, state.context, 0);
    if (!plan.outages.empty() ||
        without_timed_faults(asked).spec.faults.size() < asked.spec.faults.size()) {
      result.findings.push_back(
          "the closed form knows no failure that comes and goes: ask with fidelity event");
    }
    if (options.what_ifs) {
      add_serving_what_ifs(result, scenario, plan);
    }
    return;
  }
  plan_timed_faults(plan, asked);
  // The closed form knows the beginning alone: a placement that is mended later may serve more.
  if (!plan.serving.timeline->experts_change() &&
      !check_serving_rate(result, scenario, state, kHopelessLoad)) {
    add_steady_metrics(result, scenario, plan, stream, state);
    add_expert_swaps(result, plan, state);
    return;
  }
  const ServingRecord record = run_serving(scenario, plan, stream);
  if (options.recorded) {
    options.recorded(record);
  }
  add_serving_metrics(result, scenario, plan, record);
  add_expert_history(result, plan, record);
  add_expert_swaps(result, plan, record);
  add_fault_history(result, plan, record);
  add_serving_alerts(result, scenario, plan, record);
  const PoolTotals& totals = record.serving;
  if (totals.decoding_integral > 0) {
    add_expert_alerts(result, scenario, plan,
                      totals.decoding_integral / totals.busy_s /
                          static_cast<double>(plan.serving.replicas_per_instance),
                      totals.context_integral / totals.decoding_integral, record.end_s);
  }
  add_serving_bands(result, scenario, plan, stream, state, steps_band(plan, stream, state));
  check_backlog(result, scenario, state, record);
  add_serving_findings(result, state);
  add_fidelity_gap(result, stream, plan, state);
  if (options.what_ifs) {
    add_serving_what_ifs(result, scenario, plan);
  }
}

ServingStep serving_step(const Scenario& scenario) {
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  const SteadyState state = steady_state(scenario, plan, stream);
  return {Seconds(state.step_s),
          memory_budget(scenario, plan.serving.times->decode_model().step_template(),
                        batch_of(scenario))};
}

}  // namespace moesim

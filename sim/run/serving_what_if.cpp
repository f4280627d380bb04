// SPDX-License-Identifier: Apache-2.0
// The alternatives that a serving report shows: one engine or load key changed, in closed form.
// Only keys that leave layout, formats and routing alone, so that all share one step model.
#include <cmath>
#include <functional>

#include "sim/base/quantity_text.h"
#include "sim/run/serving_metrics.h"

namespace moesim {
namespace {

using Edit = std::function<void(ScenarioSpec&)>;

WhatIf evaluate(const Scenario& scenario, const ServingPlan& like, std::string change,
                std::string doc, const Edit& edit) {
  Scenario changed = scenario;
  edit(changed.spec);
  const RequestStream stream(changed);
  ServingPlan plan = serving_plan(changed, stream, &like);
  WhatIf what_if;
  what_if.change = std::move(change);
  what_if.doc = std::move(doc);
  SimulationResult verdict;
  what_if.feasible = check_serving_memory(verdict, plan);
  if (!what_if.feasible) {
    return what_if;
  }
  const SteadyState state = steady_state(changed, plan, stream);
  what_if.feasible = check_serving_rate(verdict, changed, state, 1.0);
  what_if.step_s = state.tpot_s;
  what_if.tokens_per_s_per_gpu =
      state.requests_per_s * stream.mean_output() / static_cast<double>(plan.gpus);
  return what_if;
}

}  // namespace

void add_serving_what_ifs(SimulationResult& result, const Scenario& scenario,
                          const ServingPlan& plan) {
  const auto add = [&](const std::string& change, const std::string& doc, const Edit& edit) {
    result.what_ifs.push_back(evaluate(scenario, plan, change, doc, edit));
  };
  const WorkloadSpec& workload = scenario.spec.workload;
  if (workload.concurrency && workload.arrival_process() == ArrivalProcess::closed) {
    for (const double factor : {0.5, 2.0}) {
      const double load = std::max(1.0, std::floor(*workload.concurrency * factor));
      add("/workload/concurrency = " + number_text(load), "requests in flight",
          [load](ScenarioSpec& spec) {
            spec.workload.concurrency = load;
            spec.workload.requests.reset();
          });
    }
  } else if (workload.requests_per_s) {
    for (const double factor : {0.5, 2.0}) {
      const double rate = *workload.requests_per_s * factor;
      add("/workload/requests_per_s = " + number_text(rate), "arrivals",
          [rate](ScenarioSpec& spec) { spec.workload.requests_per_s = rate; });
    }
  }
  for (const Choice<EnginePreset>& engine : choices_of(EnginePreset{})) {
    if (engine.value != scenario.spec.serving.engine) {
      add("/serving/engine = " + std::string(engine.name), std::string(engine.doc),
          [value = engine.value](ScenarioSpec& spec) { spec.serving.engine = value; });
    }
  }
  if (workload.draft_tokens == 0) {
    add("/workload/draft_tokens = 1", "one predicted token verified with each real one",
        [](ScenarioSpec& spec) { spec.workload.draft_tokens = 1; });
  }
  if (plan.serving.rules->graphs) {
    add("/serving/cuda_graphs = false", "kernels launched one by one",
        [](ScenarioSpec& spec) { spec.serving.cuda_graphs = false; });
  }
  add("/serving/host_overhead_s = 0", "a scheduler that costs nothing, a bound",
      [](ScenarioSpec& spec) {
        spec.serving.host_overhead_s = 0;
        spec.serving.host_overhead_per_sequence_s = 0;
      });
  result.what_if_base = evaluate(scenario, plan, "", "", [](ScenarioSpec&) {}).tokens_per_s_per_gpu;
}

}  // namespace moesim

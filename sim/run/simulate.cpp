// SPDX-License-Identifier: Apache-2.0
#include "sim/run/simulate.h"

#include "sim/run/step_metrics.h"
#include "sim/run/version.h"
#include "sim/run/what_if.h"

namespace moesim {
namespace {

constexpr double kRankAlert =
    1.5;  // busiest GPU over the mean above which the report raises an alert

void add_alerts(SimulationResult& result) {
  if (const NamedMetric* rank = result.find("rank_load_max_over_mean")) {
    const double value = std::get<Metric>(rank->value).value;
    if (value > kRankAlert) {
      result.alerts.push_back(
          {"expert_imbalance", "busiest GPU, mean over layers", value, kRankAlert});
    }
  }
}

StepOutcome run_analytic(const StepCostModel& model, const StepBatch& batch) {
  const StepCost cost = model.evaluate(batch);
  StepOutcome outcome;
  outcome.seconds = cost.seconds;
  outcome.by_kind = cost.by_kind;
  outcome.by_basis = cost.by_basis;
  outcome.flops_per_gpu = cost.flops;
  add_expected_loads(outcome, model, batch);
  return outcome;
}

}  // namespace

SimulationResult simulate(const Scenario& scenario, const RunOptions& options) {
  SimulationResult result;
  result.version = version_text();
  result.seed = scenario.spec.seed;
  result.scenario = write_object(scenario.spec);
  result.title = scenario.spec.name.empty() ? scenario.model->name + " on " + scenario.cluster->name
                                            : scenario.spec.name;
  result.card_hashes = scenario.card_hashes;

  const StepCostModel model(scenario, routing_of(scenario));
  const StepBatch batch = batch_of(scenario);
  const MemoryBudget memory = memory_budget(scenario, model.step_template(), batch);
  add_step_metrics(result, scenario, model, batch, run_analytic(model, batch), memory);
  add_alerts(result);
  if (options.what_ifs) {
    add_what_ifs(result, scenario);
  }
  return result;
}

}  // namespace moesim

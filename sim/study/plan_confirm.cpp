// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_confirm.h"

#include "sim/run/simulate.h"

namespace moesim {
namespace {

void confirm_by_events(const PlanOption& option, const CardLibrary& cards,
                       std::vector<Confirmation>& list) {
  for (const PlannedPool& pool : option.pools) {
    ScenarioSpec spec = pool.spec;
    spec.fidelity = Fidelity::event;
    RunOptions options;
    options.what_ifs = false;
    options.echo_scenario = false;
    const SimulationResult result = simulate(resolve(spec, cards, "plan"), options);
    list.push_back({choice_name(pool.point.role) + " step as events", "s", pool.point.step_s,
                    result.metric("step_s").value});
  }
}

void confirm_by_serving(const PlanOption& option, const ServiceRequest& service,
                        const CardLibrary& cards, std::vector<Confirmation>& list) {
  try {
    RunOptions options;
    options.what_ifs = false;
    options.echo_scenario = false;
    const SimulationResult result =
        simulate(resolve(serving_scenario(option, service, cards), cards, "plan"), options);
    for (const std::string& reason : result.feasibility.reasons) {
      list.push_back({"requests over time: " + reason, "", 0, 0});
    }
    if (!result.feasibility.ok) {
      return;
    }
    if (const NamedMetric* good = result.find("slo_fraction")) {
      list.push_back({"requests within both limits", "fraction", service.slo.quantile,
                      std::get<Metric>(good->value).value});
    }
    if (const NamedMetric* ttft = result.find("ttft_s")) {
      const Distribution& distribution = std::get<Distribution>(ttft->value);
      const bool tail = service.slo.quantile > 0.945;  // nearer to 99% than to 90%
      list.push_back({std::string("first token, ") + (tail ? "99%" : "90%") + " of the requests",
                      "s", option.ttft_s, (tail ? distribution.p99 : distribution.p90).value});
    }
    if (const NamedMetric* tpot = result.find("tpot_s")) {
      list.push_back({"time per token, mean (planned at the batch limit)", "s", option.tpot_s,
                      std::get<Distribution>(tpot->value).mean.value});
    }
  } catch (const InputError& error) {
    list.push_back({"requests over time: " + error.diagnostics().front().text(), "", 0, 0});
  }
}

}  // namespace

std::vector<Confirmation> confirmed(const PlanOption& option, const ServiceRequest& service,
                                    const CardLibrary& cards, bool with_requests) {
  std::vector<Confirmation> list;
  confirm_by_events(option, cards, list);
  if (with_requests) {
    confirm_by_serving(option, service, cards, list);
  }
  return list;
}

}  // namespace moesim

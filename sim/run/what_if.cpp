// SPDX-License-Identifier: Apache-2.0
#include "sim/run/what_if.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "sim/base/quantity_text.h"
#include "sim/run/step_metrics.h"

namespace moesim {
namespace {

WhatIf evaluate(const Scenario& scenario, std::string change, std::string doc) {
  const StepCostModel model(scenario, routing_of(scenario));
  const StepBatch batch = batch_of(scenario);
  const StepCost cost = model.evaluate(batch);
  WhatIf what_if;
  what_if.change = std::move(change);
  what_if.doc = std::move(doc);
  what_if.step_s = cost.seconds.value();
  what_if.tokens_per_s_per_gpu = (output_tokens(scenario, batch) + input_tokens(scenario, batch)) /
                                 cost.seconds.value() / static_cast<double>(scenario.ways.gpus);
  what_if.feasible = memory_budget(scenario, model.step_template(), batch).fits();
  return what_if;
}

std::string percent_change(double from, double to) {
  const double change = (to / from - 1.0) * 100.0;
  return (change >= 0 ? "+" : "") + count_text(std::round(change)) + "%";
}

void add_findings(SimulationResult& result, const Scenario& scenario, double base_rate) {
  double total = 0;
  const BreakdownRow* largest = nullptr;
  double exchange = 0;
  for (const BreakdownRow& row : result.breakdown) {
    total += row.seconds;
    if (largest == nullptr || row.seconds > largest->seconds) {
      largest = &row;
    }
    exchange += row.kind == "dispatch" || row.kind == "combine" ? row.seconds : 0;
  }
  if (largest != nullptr) {
    result.findings.push_back("most time goes into " + largest->kind + ": " +
                              plain_number_text(largest->seconds / total * 100, 2) +
                              "% of the step (" + largest->doc + ")");
  }
  if (scenario.ways.data > 1 && scenario.ways.expert > 1 &&
      result.find("rank_load_max_over_mean") != nullptr) {
    result.findings.push_back(
        exchange < 0.01 * total
            ? "dispatch and combine are hidden behind compute by the overlap rule " +
                  choice_name(scenario.spec.communication.overlap)
            : "dispatch and combine that nothing hides take " +
                  plain_number_text(exchange / total * 100, 2) + "% of the step");
  }
  const WhatIf* best = nullptr;
  for (const WhatIf& what_if : result.what_ifs) {
    // A perfect overlap is a bound, and a more even routing is not the operator's to choose.
    const bool is_choice = what_if.change.find("perfect") == std::string::npos &&
                           what_if.change.find("/routing") == std::string::npos;
    if (is_choice && what_if.feasible &&
        (best == nullptr || what_if.tokens_per_s_per_gpu > best->tokens_per_s_per_gpu)) {
      best = &what_if;
    }
  }
  if (best != nullptr && best->tokens_per_s_per_gpu > 1.02 * base_rate) {
    result.findings.push_back("try " + best->change + ": " +
                              percent_change(base_rate, best->tokens_per_s_per_gpu) +
                              " tokens/s/GPU at a step of " + quantity_text(Seconds(best->step_s)));
  }
}

}  // namespace

void add_what_ifs(SimulationResult& result, const Scenario& scenario) {
  const StepBatch batch = batch_of(scenario);
  struct Planned {
    Scenario scenario;
    std::string change;
    std::string doc;
  };
  std::vector<Planned> planned;
  const auto add = [&](const std::string& change, const std::string& doc,
                       const std::function<void(ScenarioSpec&)>& edit) {
    Scenario changed = scenario;
    edit(changed.spec);
    planned.push_back({std::move(changed), change, doc});
  };
  const bool has_experts = result.find("rank_load_max_over_mean") != nullptr;
  if (has_experts && scenario.ways.expert > 1) {
    for (const auto& [sigma, doc] : {std::pair<double, const char*>{0.0, "exactly balanced"},
                                     {0.7, "one domain of requests"},
                                     {1.1, "DeepSeek-R1 in decode"}}) {
      if (scenario.spec.routing.kind == RoutingModel::gumbel &&
          scenario.spec.routing.sigma == sigma) {
        continue;
      }
      add("/routing/sigma = " + number_text(sigma), doc, [sigma = sigma](ScenarioSpec& spec) {
        spec.routing.kind = RoutingModel::gumbel;
        spec.routing.sigma = sigma;
      });
    }
  }
  if (has_experts && scenario.ways.data > 1 && scenario.ways.expert > 1) {
    for (const Choice<OverlapRule>& rule : choices_of(OverlapRule{})) {
      if (rule.value != scenario.spec.communication.overlap) {
        add("/communication/overlap = " + std::string(rule.name), std::string(rule.doc),
            [value = rule.value](ScenarioSpec& spec) { spec.communication.overlap = value; });
      }
    }
  }
  for (const double factor : {0.5, 2.0}) {
    const double size = scenario.spec.workload.batch_per_gpu * factor;
    add("/workload/batch_per_gpu = " + number_text(size),
        factor < 1 ? "half the batch" : "twice the batch",
        [size](ScenarioSpec& spec) { spec.workload.batch_per_gpu = size; });
  }
  if (batch.decode_sequences > 0 && bytes_per_element(scenario.spec.precision.kv_cache) > 1) {
    add("/precision/kv_cache = fp8", "half the cache bytes",
        [](ScenarioSpec& spec) { spec.precision.kv_cache = NumberFormat::fp8; });
  }
  // Each alternative is independent of the others, so the order of evaluation cannot be seen in the
  // answer.
  result.what_ifs.resize(planned.size());
  tbb::parallel_for(std::size_t{0}, planned.size(), [&](std::size_t i) {
    result.what_ifs[i] = evaluate(planned[i].scenario, planned[i].change, planned[i].doc);
  });
  result.what_if_base = evaluate(scenario, "", "").tokens_per_s_per_gpu;
  add_findings(result, scenario, result.what_if_base);
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/run/what_if.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "sim/base/quantity_text.h"
#include "sim/base/stop.h"
#include "sim/engine/offload_step.h"
#include "sim/run/step_metrics.h"

namespace moesim {
namespace {

/// `routing` and `loads` of the scenario, or null when the change gives it others.
WhatIf evaluate(const Scenario& scenario, std::string change, std::string doc,
                const RoutingSpec* routing, const LoadView* loads) {
  const RoutingSpec own = routing != nullptr ? *routing : routing_of(scenario);
  const StepCostModel model(scenario, own, loads);
  const StepBatch batch = batch_of(scenario);
  const MemoryBudget memory = memory_budget(scenario, model.step_template(), batch);
  StepCost cost = model.evaluate(batch);
  if (const std::optional<OffloadOutcome> offload =
          offload_outcome(scenario, own, model, batch, memory, cost.seconds)) {
    cost.seconds += offload->stall;
  }
  WhatIf what_if;
  what_if.change = std::move(change);
  what_if.doc = std::move(doc);
  what_if.step_s = cost.seconds.value();
  what_if.tokens_per_s_per_gpu = (output_tokens(scenario, batch) + input_tokens(scenario, batch)) /
                                 cost.seconds.value() / static_cast<double>(scenario.ways.gpus);
  what_if.feasible = memory.fits();
  return what_if;
}

/// The busiest GPU has so much more than the mean that placement could matter.
bool is_skewed(const SimulationResult& result) {
  const NamedMetric* rank = result.find("rank_load_max_over_mean");
  return rank != nullptr &&
         (std::get<Metric>(rank->value).value > 1.1 || result.find("placement_balancedness"));
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
    // A perfect overlap and a clairvoyant cache are bounds, and a more even routing is not the
    // operator's to choose.
    const bool is_choice = what_if.change.find("perfect") == std::string::npos &&
                           what_if.change.find("belady") == std::string::npos &&
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

void add_what_ifs(SimulationResult& result, const Scenario& scenario, const RoutingSpec& routing,
                  const StepCostModel& model) {
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
        const bool group_limited = spec.routing.group_limited;
        spec.routing = RoutingConfig();
        spec.routing.group_limited = group_limited;
        spec.routing.kind = RoutingModel::gumbel;
        spec.routing.sigma = sigma;
        spec.placement.planned_at_s.reset();
        spec.placement.rebalance = RebalanceConfig();
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
  if (has_experts && scenario.ways.expert > 1 && scenario.spec.offload.experts == ExpertHome::gpu) {
    const PlacementConfig& placement = scenario.spec.placement;
    for (const auto& [policy, doc] : {std::pair<PlacementKind, const char*>{
                                          PlacementKind::contiguous, "experts in index order"},
                                      {PlacementKind::eplb, "the published load balancer"},
                                      {PlacementKind::best, "local search on the busiest GPU"}}) {
      const bool can_plan =
          placement.policy != PlacementKind::file && placement.policy != PlacementKind::program;
      if (is_skewed(result) && can_plan && policy != placement.policy) {
        add("/placement/policy = " + choice_name(policy), doc,
            [policy = policy](ScenarioSpec& spec) { spec.placement.policy = policy; });
      }
    }
  }
  if (scenario.spec.offload.experts != ExpertHome::gpu) {
    for (const Choice<CachePolicy>& policy : choices_of(CachePolicy{})) {
      if (policy.value != scenario.spec.offload.policy) {
        add("/offload/policy = " + std::string(policy.name), std::string(policy.doc),
            [value = policy.value](ScenarioSpec& spec) { spec.offload.policy = value; });
      }
    }
    const CacheScope other = scenario.spec.offload.scope == CacheScope::global
                                 ? CacheScope::per_layer
                                 : CacheScope::global;
    add("/offload/scope = " + choice_name(other), "the same slots shared the other way",
        [other](ScenarioSpec& spec) { spec.offload.scope = other; });
    if (scenario.spec.offload.prefetch_layers == 0) {
      add("/offload/prefetch_layers = 1", "the next layer's experts guessed ahead",
          [](ScenarioSpec& spec) { spec.offload.prefetch_layers = 1; });
    }
    const Host& host = scenario.cluster->node_groups.front().host;
    const bool can_compute =
        scenario.spec.offload.cpu_bytes_per_s.has_value() || host.memory_bandwidth.has_value();
    if (scenario.spec.offload.on_miss == MissHandling::transfer && can_compute) {
      add("/offload/on_miss = cpu", "the CPU computes missed experts",
          [](ScenarioSpec& spec) { spec.offload.on_miss = MissHandling::cpu; });
    }
  }
  // Each alternative is independent of the others, so the order of evaluation cannot be seen in the
  // answer.
  result.what_ifs.resize(planned.size());
  const StopScope* const caller = StopScope::current();
  tbb::parallel_for(std::size_t{0}, planned.size(), [&](std::size_t i) {
    const StopScope scope(caller);
    check_stopped();
    const std::string& change = planned[i].change;
    const bool is_other_routing = change.starts_with("/routing");
    // Plans for activated experts look at the batch.
    const bool is_other_placement = change.starts_with("/placement") ||
                                    (change.starts_with("/workload") &&
                                     scenario.spec.placement.policy == PlacementKind::activated);
    result.what_ifs[i] =
        evaluate(planned[i].scenario, change, planned[i].doc, is_other_routing ? nullptr : &routing,
                 is_other_routing || is_other_placement ? nullptr : &model.loads());
  });
  result.what_if_base = evaluate(scenario, "", "", &routing, &model.loads()).tokens_per_s_per_gpu;
  add_findings(result, scenario, result.what_if_base);
}

}  // namespace moesim

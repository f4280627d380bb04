// SPDX-License-Identifier: Apache-2.0
#include "sim/run/expert_metrics.h"

#include <algorithm>
#include <numeric>

#include "sim/moe/token_routing_domains.h"

namespace moesim {
namespace {

Metric estimate(double value) {
  Metric metric;
  metric.value = value;
  metric.basis = Basis::estimate;
  return metric;
}

void add(SimulationResult& result, std::string name, std::string unit, std::string doc,
         double value) {
  result.metrics.push_back({std::move(name), std::move(unit), std::move(doc), estimate(value)});
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void add_capacity(SimulationResult& result, const Scenario& scenario, const StepBatch& batch,
                  const StepOutcome& outcome) {
  const CapacityConfig& capacity = scenario.spec.capacity;
  if (capacity.padding) {
    add(result, "padding_fraction", "fraction", "of the rows that experts compute, for nobody",
        outcome.padding_fraction);
  }
  if (capacity.overflow == Overflow::next_best) {
    add(result, "rerouted_token_fraction", "fraction",
        "selections at a worse expert than the gate chose", outcome.rerouted_fraction);
  }
  if (capacity.overflow == Overflow::dropless) {
    return;
  }
  // A dropped selection is work not done: dropping must not look like speed.
  const double tokens = output_tokens(scenario, batch) + input_tokens(scenario, batch);
  add(result, "goodput_tokens_per_s_per_gpu", "",
      "tokens a second, each counted by the share of its selections that an expert computed",
      tokens * (1.0 - outcome.dropped_fraction) / outcome.seconds.value() /
          static_cast<double>(scenario.ways.gpus));
}

void add_placement(SimulationResult& result, const PlacementPlan& plan) {
  add(result, "placement_balancedness", "fraction",
      "mean over busiest GPU's expected load, mean over layers", mean(plan.balancedness));
  if (!plan.rebalancing) {
    return;
  }
  const RebalanceTimeline& timeline = *plan.rebalancing;
  const auto plans = std::count_if(timeline.steps.begin(), timeline.steps.end(),
                                   [](const RebalanceStep& step) { return step.has_new_plan; });
  add(result, "rebalance_plans", "", "new placements up to the time of the step",
      static_cast<double>(plans));
  add(result, "rebalance_moved_bytes", "bytes", "expert weights moved for them, all GPUs",
      timeline.moved.value());
  add(result, "rebalance_lost_s", "s", "time that serving waited for weights",
      timeline.lost.value());
  add(result, "rebalance_mean_balancedness", "fraction",
      "mean over busiest GPU's load, mean over windows up to the step", timeline.mean_balancedness);
}

/// Each domain alone under the placement in force: what its users would see in batches of their
/// own, and what of their selections full experts drop.
void add_domains(SimulationResult& result, const Scenario& scenario, const RoutingSpec& routing,
                 const StepCostModel& model, const StepBatch& batch) {
  const DomainRouting& mixture = *routing.mixture;
  const std::vector<double> shares = mixture.shares_at(routing.time);
  MetricGroup share;
  MetricGroup step;
  MetricGroup dropped;
  for (std::size_t d = 0; d < shares.size(); ++d) {
    const RoutingDomain& domain = mixture.domains()[d];
    const StepCostModel alone = model.under(domain.spec);
    StepOutcome outcome;
    add_expected_loads(outcome, alone, batch);
    share.emplace_back(domain.name, estimate(shares[d]));
    step.emplace_back(domain.name, estimate(alone.evaluate(batch).seconds.value()));
    dropped.emplace_back(domain.name, estimate(outcome.dropped_fraction));
  }
  result.metrics.push_back({"domain_share", "fraction", "of the tokens at /routing/time_s", share});
  result.metrics.push_back({"domain_step_s", "s",
                            "of a batch of one domain alone, experts where they are, closed form",
                            step});
  if (scenario.spec.capacity.overflow != Overflow::dropless) {
    result.metrics.push_back({"domain_dropped_token_fraction", "fraction",
                              "selections dropped in a batch of one domain alone", dropped});
  }
}

}  // namespace

void add_expert_metrics(SimulationResult& result, const Scenario& scenario,
                        const RoutingSpec& routing, const StepCostModel& model,
                        const StepBatch& batch, const StepOutcome& outcome) {
  if (model.step_template().num_moe_layers == 0) {
    return;
  }
  add_capacity(result, scenario, batch, outcome);
  if (const PlacementPlan* plan = model.loads().plan()) {
    add_placement(result, *plan);
  }
  if (routing.mixture != nullptr) {
    add_domains(result, scenario, routing, model, batch);
  }
}

}  // namespace moesim

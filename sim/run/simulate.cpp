// SPDX-License-Identifier: Apache-2.0
#include "sim/run/simulate.h"

#include <tbb/task_arena.h>
#include <algorithm>
#include <optional>

#include "sim/base/quantity_text.h"
#include "sim/base/text_hash.h"
#include "sim/engine/link_share.h"
#include "sim/engine/step_graph.h"
#include "sim/run/expert_metrics.h"
#include "sim/run/fault_cost.h"
#include "sim/run/offload_metrics.h"
#include "sim/run/serving_faults.h"
#include "sim/run/simulate_serving.h"
#include "sim/run/step_metrics.h"
#include "sim/run/version.h"
#include "sim/run/what_if.h"

namespace moesim {
namespace {

void add_alerts(SimulationResult& result, const AlertConfig& rules) {
  if (const NamedMetric* rank = result.find("rank_load_max_over_mean")) {
    const double value = std::get<Metric>(rank->value).value;
    if (value > rules.rank_load_max_over_mean) {
      result.alerts.push_back({"expert_imbalance", "busiest GPU, mean over layers", value,
                               rules.rank_load_max_over_mean, std::nullopt,
                               "place on the loads served (/placement/policy eplb, redundant "
                               "/placement/slots)"});
    }
  }
}

StepOutcome run_analytic(const StepCostModel& model, const StepBatch& batch) {
  StepOutcome outcome;
  const StepCost cost = model.evaluate(batch, outcome.band);
  outcome.seconds = cost.seconds;
  outcome.by_kind = cost.by_kind;
  outcome.by_basis = cost.by_basis;
  outcome.flops_per_gpu = cost.flops;
  add_expected_loads(outcome, model, batch);
  return outcome;
}

StepOutcome run_events(const Scenario& scenario, const StepCostModel& model, const StepBatch& batch,
                       const RunOptions& options) {
  std::optional<RecordedWindow> recording;
  if (options.timeline != nullptr) {
    recording = RecordedWindow{options.record_from, options.record_to};
  }
  StepExecution execution = execute_step(scenario, model, batch, 0, recording);
  StepOutcome outcome;
  outcome.seconds = execution.seconds;
  outcome.by_kind = execution.by_kind;
  const StepCost closed_form = model.evaluate(batch, outcome.band);
  outcome.by_basis = closed_form.by_basis;
  outcome.flops_per_gpu = closed_form.flops;
  outcome.rank_max_over_mean = execution.loads.rank_max_over_mean;
  outcome.expert_max_over_mean = execution.loads.expert_max_over_mean;
  outcome.active_experts = execution.loads.active_experts;
  outcome.dropped_fraction = execution.loads.dropped_fraction;
  outcome.padding_fraction = execution.loads.padding_fraction;
  outcome.nic_bytes = execution.loads.nic_bytes;
  outcome.closed_form = closed_form.seconds;
  outcome.flows = std::move(execution.flows);
  if (options.timeline != nullptr) {
    *options.timeline = std::move(execution.timeline);
  }
  return outcome;
}

/// The step of `asked` as if it had no faults; `model` has links of its own under flow fidelity.
Seconds seconds_without_faults(const Scenario& asked, const StepCostModel& model,
                               const StepBatch& batch, bool has_links) {
  if (has_links) {
    return execute_step(healthy(asked), model, batch, 0).seconds;
  }
  const Scenario scenario = with_links_shared(healthy(asked));
  const StepCostModel whole(scenario, routing_of(scenario));
  if (scenario.spec.fidelity == Fidelity::analytic) {
    StepBand band;
    return whole.evaluate(batch, band).seconds;
  }
  return execute_step(scenario, whole, batch, 0).seconds;
}

void add_share_finding(SimulationResult& result, const Scenario& stated) {
  const LinkShare share = link_share(stated);
  result.findings.push_back(
      std::string(stated.spec.faults.empty()       ? "other traffic leaves"
                  : stated.spec.background.empty() ? "the faults leave"
                                                   : "the faults and other traffic leave") +
      " exchanges " + plain_number_text(100.0 * share.scale_up, 3) + "% of the scale-up rate and " +
      plain_number_text(100.0 * share.network, 3) +
      "% of the network rate (a uniform exchange as flows)");
}

SimulationResult simulate_here(const Scenario& given, const RunOptions& options) {
  const StopScope stop(options.stop);
  check_stopped();
  // Faults with a beginning are the serving run's own matter (serving_faults.h).
  const bool has_timed = std::any_of(given.spec.faults.begin(), given.spec.faults.end(),
                                     [](const FaultSpec& fault) { return fault.at_s.has_value(); });
  const std::optional<Scenario> lasting =
      has_timed ? std::optional(without_timed_faults(given)) : std::nullopt;
  const Scenario& asked = lasting ? *lasting : given;
  // A deployment with GPUs cut off does not run: figures are then those without the faults.
  const std::string outage = outage_of(asked);
  const std::optional<Scenario> without_faults =
      outage.empty() ? std::nullopt : std::optional(healthy(asked));
  const Scenario& stated = without_faults ? *without_faults : asked;
  // Only flows of a step see links; all else gets the share of their rates that is left.
  const bool has_links =
      stated.spec.fidelity == Fidelity::flow && stated.spec.workload.kind == WorkloadKind::step;
  const bool is_shared = !has_links && shares_links(stated);
  const std::optional<Scenario> on_shared =
      is_shared ? std::optional(with_links_shared(stated)) : std::nullopt;
  const Scenario& scenario = on_shared ? *on_shared : stated;
  SimulationResult result;
  result.version = version_text();
  result.seed = scenario.spec.seed;
  if (options.echo_scenario) {
    result.scenario = write_object(given.spec);
  }
  result.title = scenario.spec.name.empty() ? scenario.model->name + " on " + scenario.cluster->name
                                            : scenario.spec.name;
  if (options.echo_scenario) {
    result.card_hashes = scenario.card_hashes;
  }
  if (scenario.spec.workload.kind == WorkloadKind::serving) {
    simulate_serving(result, scenario, given, options);
    if (is_shared) {
      add_share_finding(result, stated);
    }
    if (!asked.spec.faults.empty() && result.feasibility.ok) {
      const ServingStep with = serving_step(scenario);
      const Seconds without =
          outage.empty() ? serving_step(with_links_shared(healthy(asked))).seconds : with.seconds;
      add_fault_cost(result, asked, with.seconds, without, outage, with.memory);
    }
    return result;
  }

  const RoutingSpec routing = routing_of(scenario);
  const std::shared_ptr<const StepCostModel> compiled =
      options.step_model != nullptr && !is_shared
          ? options.step_model
          : std::make_shared<const StepCostModel>(scenario, routing);
  const StepCostModel& model = *compiled;
  if (options.echo_scenario) {
    for (const CurveSource* source : model.curve_sources()) {
      result.card_hashes.emplace_back(source->id(), hash_text(source->hash));
    }
  }
  const StepBatch batch = batch_of(scenario);
  const MemoryBudget memory = memory_budget(scenario, model.step_template(), batch);
  check_stopped();
  const bool with_events = scenario.spec.fidelity != Fidelity::analytic;
  StepOutcome outcome =
      with_events ? run_events(scenario, model, batch, options) : run_analytic(model, batch);
  const std::optional<OffloadOutcome> offload =
      offload_outcome(scenario, routing, model, batch, memory, outcome.seconds);
  if (offload) {
    outcome.seconds += offload->stall;
    outcome.by_kind[static_cast<std::size_t>(OpKind::expert_swap)] += offload->stall.value();
    outcome.by_basis[static_cast<std::size_t>(Basis::estimate)] += offload->stall.value();
  }
  add_step_metrics(result, scenario, model, batch, outcome, memory);
  add_expert_metrics(result, scenario, routing, model, batch, outcome);
  if (offload) {
    add_offload_metrics(result, *offload);
    check_host_memory(result, memory);
  }
  add_alerts(result, scenario.spec.alerts);
  check_stopped();
  if (options.what_ifs) {
    add_what_ifs(result, scenario, routing, model);
  }
  if (outcome.closed_form) {
    const double gap = outcome.seconds / *outcome.closed_form - 1.0;
    result.findings.push_back("the closed form gives " + quantity_text(*outcome.closed_form) +
                              " a step: " + choice_name(scenario.spec.fidelity) + "s differ by " +
                              (gap >= 0 ? "+" : "") + plain_number_text(gap * 100.0, 2) + "%");
  }
  if (outcome.flows && outcome.flows->uncontended_s > 0) {
    const FlowTotals& flows = *outcome.flows;
    result.findings.push_back(
        "contention in the network makes the exchanges of a step " +
        plain_number_text(100.0 * (flows.exchange_s / flows.uncontended_s - 1.0), 2) +
        "% longer: " + quantity_text(Seconds(flows.uncontended_s)) + " if only the busiest GPU " +
        "counted, " + quantity_text(Seconds(flows.exchange_s)) + " as flows");
    for (const auto& [kind, busiest] : flows.busiest) {
      result.findings.push_back("busiest " + kind + " link: " + busiest.first + ", " +
                                plain_number_text(100.0 * busiest.second, 2) +
                                "% of its rate over the step");
    }
    for (std::size_t i = 0; i < flows.background.size(); ++i) {
      const BackgroundSpec& traffic = scenario.spec.background[i];
      result.findings.push_back(
          "background " + std::string(choice_name(traffic.kind)) + " gets " +
          quantity_text(BytesPerSecond(flows.background[i])) + " a GPU while an exchange begins" +
          (traffic.bytes_per_s
               ? " and offers " + quantity_text(BytesPerSecond(*traffic.bytes_per_s))
               : ", as much as the links let through"));
    }
  }
  if (is_shared) {
    add_share_finding(result, stated);
  }
  if (!asked.spec.faults.empty()) {
    const Seconds without =
        outage.empty() ? seconds_without_faults(asked, model, batch, has_links) : outcome.seconds;
    add_fault_cost(result, asked, outcome.seconds, without, outage, memory);
  }
  return result;
}

}  // namespace

SimulationResult simulate(const Scenario& scenario, const RunOptions& options) {
  if (options.threads <= 0) {
    return simulate_here(scenario, options);
  }
  tbb::task_arena arena(options.threads);
  return arena.execute([&] { return simulate_here(scenario, options); });
}

}  // namespace moesim

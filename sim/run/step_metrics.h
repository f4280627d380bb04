// SPDX-License-Identifier: Apache-2.0
// Each reported number of a step, defined once, from what a fidelity found out about the step.
#pragma once

#include <optional>

#include "sim/cost/step_cost.h"
#include "sim/engine/step_graph.h"
#include "sim/run/result.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

/// What every fidelity must deliver; loads are means over the MoE layers.
struct StepOutcome {
  Seconds seconds;
  std::array<double, kNumOpKinds> by_kind{};
  std::array<double, 4> by_basis{};
  StepBand band;  ///< of the closed form, in whatever fidelity
  double flops_per_gpu = 0;
  double rank_max_over_mean = 1;
  double expert_max_over_mean = 1;
  double active_experts = 0;  ///< of a layer, all ranks together
  double dropped_fraction = 0;
  double rerouted_fraction = 0;
  double padding_fraction = 0;
  std::optional<Seconds> closed_form;  ///< event fidelity: what the analytic one says
  std::optional<FlowTotals> flows;     ///< flow fidelity
  double nic_bytes = 0;  ///< that the busiest GPU puts on the network, or takes from it
};

/// Means of the expected loads over the layers, for the tokens that one pass through a layer sees.
void add_expected_loads(StepOutcome& outcome, const StepCostModel& model, const StepBatch& batch);

/// "at 2 USD an hour (Provider 2026-01-31)".
std::string price_text(const GpuHourPrice& price);

/// Where the time of a step goes and on what it rests, for steps by themselves and within a run.
void add_breakdown(SimulationResult& result, const std::array<double, kNumOpKinds>& by_kind,
                   const std::array<double, 4>& by_basis);

/// Fills metrics, breakdown, feasibility and provenance of `result`.
void add_step_metrics(SimulationResult& result, const Scenario& scenario,
                      const StepCostModel& model, const StepBatch& batch,
                      const StepOutcome& outcome, const MemoryBudget& memory);

/// Tokens that a step gives its users, all GPUs together: generated ones, or prompt tokens read.
double output_tokens(const Scenario& scenario, const StepBatch& batch);
double input_tokens(const Scenario& scenario, const StepBatch& batch);

}  // namespace moesim

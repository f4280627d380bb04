// SPDX-License-Identifier: Apache-2.0
// Event fidelity: a step as the work graph of every rank and op, with routing drawn token by token,
// and its execution.
//
// From the same template as the closed form, for each layer l and micro-batch m (two under the
// two_batch rule):
//
//     compute         A0 A1 | X0 S0 | X1 S1 | A0' ...      A attention and router, S shared, X
//     routed experts communication      D0   D1   C0   C1                 D dispatch, C combine:
//     groups of all ranks
//
// D waits for A, X for D, C for X, the next layer's A for C. A group starts when every rank is
// ready, so the slowest rank is waited for at each exchange; each rank's part lasts as long as its
// own bytes take: by the closed form, or under flow fidelity by the arrival of its flows
// (engine/step_flows.h). What each expert gets is drawn with the scenario's seed, so ranks differ
// even under uniform routing.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/cost/step_cost.h"
#include "sim/engine/executor.h"

namespace moesim {

struct FlowedExchange;

/// Realised loads, means over layers and micro-batches.
struct DrawnLoads {
  double rank_max_over_mean = 1;
  double expert_max_over_mean = 1;
  double active_experts = 0;
  double dropped_fraction = 0;  ///< of the selections, at full experts
  double padding_fraction = 0;  ///< of the rows computed, those for nobody
  double nic_bytes = 0;         ///< of the step, on the GPU whose network card carries most
};

/// The part of a step whose spans are kept.
struct RecordedWindow {
  SimTime from;
  SimTime to = SimTime::max();
};

/// What flows found out about the network, totals of a step.
struct FlowTotals {
  double exchange_s = 0;     ///< slowest GPU of every exchange, added up
  double uncontended_s = 0;  ///< the same by the closed form of the same loads
  /// Busiest link of each class (LinkClass): its name and bytes / (capacity * step).
  std::vector<std::pair<std::string, std::pair<std::string, double>>> busiest;
  /// [/background] bytes/s of a stream while exchanges begin, mean over exchanges.
  std::vector<double> background;

  /// Counts one of the step's exchanges; `share` is one over their number.
  void add(const FlowedExchange& exchange, double share);
};

struct StepExecution {
  Seconds seconds;
  std::array<double, kNumOpKinds> by_kind{};  ///< on the critical path; they add up to `seconds`
  DrawnLoads loads;
  std::size_t num_tasks = 0;
  std::optional<FlowTotals> flows;  ///< flow fidelity
  Timeline timeline;                ///< empty unless asked for
};

/// Draws the routing (`draw` numbers independent draws) and runs the step of every rank.
/// Cost: 128 ranks x 61 layers x 2 micro-batches, about 0.25 s.
StepExecution execute_step(const Scenario& scenario, const StepCostModel& model,
                           const StepBatch& batch, std::uint64_t draw,
                           const std::optional<RecordedWindow>& recording = std::nullopt);

}  // namespace moesim

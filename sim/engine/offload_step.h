// SPDX-License-Identifier: Apache-2.0
// What a step gains and loses when its experts live in host memory: hits of the caches, time that
// GPUs wait for copies, bytes over the host links.
//
// The step with every expert resident gives the time of a layer; the caches of one node's GPUs are
// then run on that clock for some hundred steps, their copies as flows (engine/offload_execution).
// Assumptions: MoE layers last alike; nodes do not disturb each other.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/cost/step_cost.h"
#include "sim/engine/offload_execution.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

struct OffloadOutcome {
  double hit_rate = 0;     ///< mean over the node's GPUs
  double lookups = 0;      ///< of a step and GPU: experts needed, all layers together
  double slots = 0;        ///< experts that a GPU's cache holds
  Seconds stall;           ///< of a step, on the GPU that the others wait for
  Bytes moved;             ///< of a step, over one GPU's host link, guesses included
  Bytes wasted;            ///< of these, guessed and given up unused
  Bytes from_drives;       ///< of a step and GPU
  double cpu_experts = 0;  ///< of a step and GPU, computed by the CPU
  double link_utilisation = 0;
};

/// How a step's caches are run.
struct OffloadOptions {
  /// Token-expert pairs drawn at most (but four steps always are): 4e6 take about 0.4 s.
  double most_selections = 4e6;
  /// A GPU alone on its node's links has no flows: its copies take their turn on one link
  /// (moe/expert_cache_timing.h). The same figures about thirty times sooner.
  bool one_link_if_alone = false;
  /// A mixture of domains for which caches were filled before the first step; null: for what they
  /// will see.
  const RoutingSpec* filled_for = nullptr;
};

/// The caches of one node's GPUs and what steps of one batch ask of them.
class OffloadStep {
 public:
  /// Experts must be below GPU memory. Sequences go on from step to step unless most of the batch's
  /// tokens are prompts. Draws the steps' tokens, which takes most of the time.
  OffloadStep(const Scenario& scenario, const RoutingSpec& routing, const StepCostModel& model,
              const StepBatch& batch, const MemoryBudget& memory,
              const OffloadOptions& options = {});

  /// `resident` is the time of the step without swaps. Throws InputError for graphs that do not
  /// exist.
  OffloadOutcome outcome(Seconds resident) const;

 private:
  void take_demand(const RoutingSpec& routing, const StepCostModel& model, const StepBatch& batch,
                   const OffloadOptions& options);
  void describe_node(const Scenario& scenario, const MemoryBudget& memory,
                     const ParallelWays& ways);

  const OffloadConfig config_;
  const std::string file_;
  const LocalityConfig locality_;
  std::string policy_;
  ClusterProfile cluster_;  ///< its first node, host links as the scenario sees them
  std::vector<BackgroundSpec> copies_;
  std::vector<ExpertTrace> traces_;  ///< [GPUs]
  OffloadNode node_;                 ///< but for what depends on the time of a layer
  int warm_up_ = 0;
  bool is_one_link_ = false;
  double layers_ = 1;
  double slots_ = 0;
  double launch_s_ = 0;  ///< of the kernels of a layer, one by one
};

/// One outcome; nothing when every expert stays on the GPU.
std::optional<OffloadOutcome> offload_outcome(const Scenario& scenario, const RoutingSpec& routing,
                                              const StepCostModel& model, const StepBatch& batch,
                                              const MemoryBudget& memory, Seconds resident);

}  // namespace moesim

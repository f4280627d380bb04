// SPDX-License-Identifier: Apache-2.0
// What a step gains and loses when its experts live in host memory: hits of the caches, time that
// GPUs wait for copies, bytes over the host links.
//
// The step with every expert resident gives the time of a layer; the caches of one node's GPUs are
// then run on that clock for some hundred steps, their copies as flows (engine/offload_execution).
// Assumptions: MoE layers last alike; nodes do not disturb each other.
#pragma once

#include <optional>

#include "sim/cost/step_cost.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

struct OffloadOutcome {
  double hit_rate = 0;     ///< mean over the node's GPUs
  double slots = 0;        ///< experts that a GPU's cache holds
  Seconds stall;           ///< of a step, on the GPU that the others wait for
  Bytes moved;             ///< of a step, over one GPU's host link, guesses included
  Bytes wasted;            ///< of these, guessed and given up unused
  Bytes from_drives;       ///< of a step and GPU
  double cpu_experts = 0;  ///< of a step and GPU, computed by the CPU
  double link_utilisation = 0;
};

/// Nothing when every expert stays on the GPU. `resident` is the time of the step without swaps.
/// `effort` scales the number of simulated steps. Throws InputError for graphs that do not exist.
std::optional<OffloadOutcome> offload_outcome(const Scenario& scenario, const RoutingSpec& routing,
                                              const StepCostModel& model, const StepBatch& batch,
                                              const MemoryBudget& memory, Seconds resident,
                                              double effort = 1.0);

}  // namespace moesim

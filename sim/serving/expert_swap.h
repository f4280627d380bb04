// SPDX-License-Identifier: Apache-2.0
// What caches of experts that live in host memory or on drives (/offload) do in the steps of a
// serving run: hits, bytes over the host links, time that a step waits.
//
// The caches carry their content from step to step, and batches change slowly beside the few dozen
// steps in which a cache turns over. So a step costs what the steps of a steady run of its batch
// cost, which engine/offload_step.h simulates once for each node of a grid (decoding sequences x
// prompt tokens x time of a layer) when first asked for; between nodes costs are linear. Batches
// whose tokens need all experts are alike. Scope: the few steps after a prompt, in which the caches
// still hold what the prompt needed, are taken as steps of the steady run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>

#include "sim/cost/step_cost.h"
#include "sim/engine/offload_step.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

/// Of one step.
struct SwapCost {
  double stall_s = 0;  ///< on the GPU that the others wait for
  double lookups = 0;  ///< of a GPU: experts that its layers need
  double hits = 0;     ///< of these, on the GPU when needed
  double bytes = 0;    ///< over one GPU's host link

  double hit_rate() const { return lookups > 0 ? hits / lookups : 1; }
};

class ExpertSwap {
 public:
  /// `memory` says how many experts a GPU's cache holds. `routing` that `model` has; `filled_for`:
  /// mixture of domains for which the caches were filled when the run began, where routing changes.
  ExpertSwap(const Scenario& scenario, RoutingSpec routing, std::optional<RoutingSpec> filled_for,
             const MemoryBudget& memory, std::shared_ptr<const StepCostModel> model);

  /// `decoding` sequences of a replica take a step each while `prompt_tokens` are read;
  /// `layer_s`: time of a MoE layer whose experts are all there.
  SwapCost at(double decoding, double prompt_tokens, double layer_s);
  /// Same caches, same demand: the costs of one are those of the other.
  bool is_like(const Scenario& scenario, const MemoryBudget& memory) const;

 private:
  /// Steps of one batch, and their costs by the time of a layer.
  struct Node {
    std::unique_ptr<const OffloadStep> steps;
    std::unordered_map<int, SwapCost> costs;
  };
  SwapCost cost_of(std::size_t decoding, std::size_t prompts, int layer);

  const Scenario scenario_;
  const RoutingSpec routing_;
  const std::optional<RoutingSpec> filled_for_;
  const MemoryBudget memory_;
  const std::shared_ptr<const StepCostModel> model_;
  double full_tokens_ = 1;  ///< of a replica: more need no further experts
  std::unordered_map<std::uint64_t, Node> nodes_;
};

}  // namespace moesim

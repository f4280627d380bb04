// SPDX-License-Identifier: Apache-2.0
// What a GPU must hold: weights by kind, cache, activations, communication buffers, and what the
// runtime keeps for itself.
//
// Weights and cache are exact from the card; activations and buffers are estimates whose formulas
// stand beside them in the code.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sim/workload/step_template.h"

namespace moesim {

struct MemoryBudget {
  std::vector<std::pair<std::string, Bytes>>
      kinds;  ///< "attention_weights", "routed_experts", "kv_cache" ...
  Bytes total;
  Bytes available;              ///< device memory times the scenario's memory_utilisation
  Bytes kv_bytes_per_sequence;  ///< on one GPU, at the scenario's context
  double kv_cache_tokens =
      0;  ///< tokens that fit a replica's cache beside everything else; 0 when nothing fits

  // Experts below GPU memory (/offload); all 0 when every expert stays.
  Bytes expert_bytes;             ///< of one expert of one layer, on one GPU
  std::int64_t expert_slots = 0;  ///< experts that a GPU's cache holds, all layers together
  Bytes host_experts;             ///< weights that a node's host memory must hold
  Bytes host_available;           ///< of the node's host memory, for experts

  bool fits() const { return total <= available && host_experts <= host_available; }
};

/// The fullest GPU of the scenario working on `batch` a replica.
MemoryBudget memory_budget(const Scenario& scenario, const StepTemplate& step,
                           const StepBatch& batch);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The ops of one layer class on one rank: attention of every kind, router, experts, dense
// feed-forward.
//
// Only this module knows how a layer of a model card becomes matrix products. Activation
// quantisation is part of the GEMM and MoE families (measured tables time it that way); norms,
// rotary embedding and activations are elementwise ops, each fused as serving engines fuse them.
#pragma once

#include "sim/workload/step_template.h"

namespace moesim {

/// What `layer_template` needs beside the class itself.
struct LayerContext {
  const Scenario& scenario;
  double hidden = 0;
  std::int64_t first_moe_layer = 0;
};

LayerTemplate layer_template(const LayerClass& layer, const LayerContext& context);

/// Weight format of a tensor class under the scenario's precision.
enum class TensorClass : std::uint8_t { attention, dense_ffn, shared_experts, embeddings };
NumberFormat weight_format(const Scenario& scenario, TensorClass tensors);
/// Of the routed experts that are not cold.
NumberFormat expert_format(const Scenario& scenario);
/// Stored bytes of an element of the routed experts, mean over cold ones and others.
double expert_bytes_per_element(const Scenario& scenario);

/// Cache entries that one query reads at most: window, half a chunk, the indexer's choice; infinity
/// without a limit.
double visible_limit(const AttentionSpec& attention);

}  // namespace moesim

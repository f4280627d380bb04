// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/memory_budget.h"

#include <algorithm>
#include <cmath>

#include "sim/input/model_card_count.h"
#include "sim/workload/layer_ops.h"

namespace moesim {
namespace {

// CUDA context, libraries, captured graphs and workspaces of a serving engine: about 3 GB a GPU;
// estimate.
constexpr double kRuntimeBytes = 3e9;
// Buffers of the normal expert exchange (NVLink and RDMA): about 1 GB; estimate after DeepEP's
// recommended configuration.
constexpr double kNormalExchangeBytes = 1e9;
constexpr double kActivationBytes = 2.0;
// Of host memory that experts may fill; the rest is the system's and the engine's; estimate.
constexpr double kHostShare = 0.9;

/// Part of an attention's parameters that tensor parallelism cannot split: MLA's down-projections
/// serve every head.
double replicated_parameters(const ModelCard& model, const AttentionSpec& attention) {
  if (attention.kind != AttentionKind::mla) {
    return 0;
  }
  return static_cast<double>(model.hidden *
                             (attention.q_lora_rank + attention.kv_lora_rank + attention.rope_dim));
}

/// GPUs of a replica over which one sequence's cache is split: heads of keys and values divide, a
/// latent does not.
double cache_ways(const Scenario& scenario) {
  double ways = static_cast<double>(scenario.ways.tensor);
  for (const LayerClass& layer : scenario.model->layers) {
    if (layer.attention.kind == AttentionKind::mla) {
      return 1;
    }
    if (layer.attention.kind == AttentionKind::standard) {
      ways = std::min(ways, static_cast<double>(layer.attention.kv_heads));
    }
  }
  return ways;
}

double widest_layer(const ModelCard& model) {
  double widest = 0;
  for (const LayerClass& layer : model.layers) {
    if (layer.ffn.kind == FfnKind::dense) {
      widest = std::max(widest, static_cast<double>(layer.ffn.width));
    }
  }
  return widest;
}

}  // namespace

MemoryBudget memory_budget(const Scenario& scenario, const StepTemplate& step,
                           const StepBatch& batch) {
  const ModelCard& model = *scenario.model;
  const double tensor = static_cast<double>(scenario.ways.tensor);
  const bool has_exchange = scenario.ways.data > 1;
  // Redundant experts: slots over experts.
  const double replication =
      step.experts > 0 ? static_cast<double>(scenario.spec.placement.slots.value_or(step.experts)) /
                             static_cast<double>(step.experts)
                       : 1.0;
  double attention = 0;
  double routed = 0;
  double shared = 0;
  double dense = 0;
  for (const LayerClass& layer : model.layers) {
    const ParameterKinds kinds = count_layer(model, layer);
    const double count = static_cast<double>(layer.count);
    const double replicated = replicated_parameters(model, layer.attention);
    attention += count * (replicated + (kinds.attention - replicated) / tensor) *
                 bytes_per_element(weight_format(scenario, TensorClass::attention));
    attention += count * (kinds.norms + kinds.router) * bytes_per_element(NumberFormat::bf16);
    routed += count * kinds.routed_experts * expert_bytes_per_element(scenario) * replication /
              static_cast<double>(scenario.ways.expert * scenario.ways.expert_tensor);
    shared += count * kinds.shared_experts / (has_exchange ? 1.0 : tensor) *
              bytes_per_element(weight_format(scenario, TensorClass::shared_experts));
    dense += count * kinds.dense_ffn / tensor *
             bytes_per_element(weight_format(scenario, TensorClass::dense_ffn));
  }
  const ParameterCount parameters = count_parameters(model);
  const double embeddings = (parameters.input_embedding + parameters.output_embedding) / tensor *
                            bytes_per_element(weight_format(scenario, TensorClass::embeddings));

  // Cache of every sequence of the replica, at the end of the step.
  const KvCacheSize cache =
      kv_cache_size(model, bytes_per_element(scenario.spec.precision.kv_cache));
  const double ways = cache_ways(scenario);
  const double kv =
      (batch.decode_sequences * cache.at(batch.decode_context + batch.decode_new_tokens).value() +
       batch.prefill_sequences *
           cache.at(batch.prefill_cached_tokens + batch.prefill_new_tokens).value()) /
      ways;

  // Residual stream, its normed copy, attention inputs and outputs: 8 hidden vectors a token; the
  // widest feed-forward three times.
  const double tokens = batch.tokens();
  double activations =
      tokens * kActivationBytes * (8.0 * step.hidden + 3.0 * widest_layer(model) / tensor);
  double buffers = 0;
  for (const LayerTemplate& layer : step.layers) {
    if (!layer.experts) {
      continue;
    }
    const MoeOp& op = layer.experts->prototype;
    const double rows =
        tokens * static_cast<double>(scenario.ways.data) * op.top_k / op.expert_ways;
    activations = std::max(
        activations, tokens * kActivationBytes * 8.0 * step.hidden +
                         rows * kActivationBytes * (op.hidden + 3.0 * op.width / op.tensor_ways));
    if (layer.experts->has_exchange && scenario.cluster->expert_kernels) {
      const bool low_latency =
          scenario.spec.communication.dispatch == DispatchKernel::low_latency ||
          (scenario.spec.communication.dispatch == DispatchKernel::automatic &&
           scenario.spec.workload.phase == Phase::decode);
      // DeepEP's low-latency buffer: double-buffered send and receive of every expert's slots
      // (PHYSICS.md section 2).
      const double half = scenario.spec.communication.overlap == OverlapRule::two_batch ? 2.0 : 1.0;
      const double sent = tokens * layer.experts->tokens_share / half;
      buffers = low_latency
                    ? 4.0 * op.experts * sent * (2.0 * step.hidden + 4.0 * step.hidden / 128.0)
                    : kNormalExchangeBytes;
    }
  }

  MemoryBudget budget;
  budget.available = scenario.device->memory.value * scenario.spec.runtime.memory_utilisation;
  const OffloadConfig& offload = scenario.spec.offload;
  if (offload.experts != ExpertHome::gpu && step.num_moe_layers > 0) {
    // The cache takes what is asked for, or what everything else leaves.
    const double all = static_cast<double>(step.num_moe_layers * step.experts) /
                       static_cast<double>(scenario.ways.expert);
    budget.expert_bytes = Bytes(routed / all);
    const double others =
        attention + shared + dense + embeddings + kv + activations + buffers + kRuntimeBytes;
    const double room =
        std::max(0.0, std::floor((budget.available.value() - others) / (routed / all)));
    double slots = static_cast<double>(offload.slots.value_or(static_cast<std::int64_t>(room)));
    if (offload.scope == CacheScope::per_layer) {
      slots -= std::fmod(slots, static_cast<double>(step.num_moe_layers));
    }
    slots = std::min(slots, all);
    budget.expert_slots = static_cast<std::int64_t>(slots);
    const NodeGroup& node = scenario.cluster->node_groups.front();
    const double node_gpus = static_cast<double>(std::min(node.gpus_per_node, scenario.ways.gpus));
    budget.host_available = Bytes(offload.host_memory_bytes.value_or(
        node.host.memory ? kHostShare * node.host.memory->value.value() : 0.0));
    if (offload.experts == ExpertHome::host) {
      budget.host_experts = Bytes(routed * node_gpus);
    }
    routed = slots * budget.expert_bytes.value();
  }
  const std::pair<const char*, double> kinds[] = {
      {"attention_weights", attention}, {"routed_experts", routed},
      {"shared_experts", shared},       {"dense_ffn", dense},
      {"embeddings", embeddings},       {"kv_cache", kv},
      {"activations", activations},     {"communication_buffers", buffers},
      {"runtime", kRuntimeBytes}};
  budget.kinds.reserve(std::size(kinds));
  for (const auto& [kind, bytes] : kinds) {
    budget.kinds.emplace_back(kind, Bytes(bytes));
    budget.total += Bytes(bytes);
  }
  const double context =
      std::max(1.0, batch.decode_sequences > 0 ? batch.decode_context : batch.prefill_new_tokens);
  budget.kv_bytes_per_sequence = cache.at(context) / ways;
  const Bytes rest = budget.available - (budget.total - Bytes(kv));
  if (rest > Bytes(0) && budget.kv_bytes_per_sequence > Bytes(0)) {
    budget.kv_cache_tokens = rest / budget.kv_bytes_per_sequence * context;
  }
  return budget;
}

}  // namespace moesim

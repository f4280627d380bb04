// SPDX-License-Identifier: Apache-2.0
// What the known serving engines do unless told otherwise.
#include <algorithm>

#include "sim/serving/batch_scheduler.h"

namespace moesim {
namespace {

constexpr double kLargeMemory =
    70e9;  // vLLM's border between its two sets of defaults (70 GiB class)

std::vector<double> stepped(std::vector<double> sizes, double from, double to, double by) {
  for (double size = from; size <= to; size += by) {
    sizes.push_back(size);
  }
  return sizes;
}

/// vllm/engine/arg_utils.py (V1 defaults by GPU memory for the API server) and
/// vllm/config/compilation.py (captured sizes: 1, 2, 4, then every 8 to 256, every 16 to 512).
EngineRules vllm_rules(bool is_large) {
  EngineRules rules;
  rules.token_budget = is_large ? 8192 : 2048;
  rules.max_sequences = is_large ? 1024 : 256;
  rules.chunks = true;
  rules.mixes = true;
  rules.block_tokens = 16;
  rules.watermark_fraction = 0.01;  // vLLM's block manager keeps 1% free when admitting
  rules.graph_sizes = stepped(stepped({1, 2, 4}, 8, 256, 8), 272, 512, 16);
  // Scheduling, input preparation and sampling between two steps: about 0.3 ms plus 2 us a
  // sequence; estimate after vLLM V1's published profiles of 8B models on H100.
  rules.host_overhead_s = 3e-4;
  rules.host_overhead_per_sequence_s = 2e-6;
  return rules;
}

/// sglang/srt/server_args.py: chunked_prefill_size 8192 (2048 below 35 GB), page size 1, prompts
/// before decode, captured sizes 1, 2, 4, 8, 12, 16, 24 ... 256; sglang/srt/managers/scheduler.py:
/// new_token_ratio starts at 0.7 and falls to 0.14 of it.
EngineRules sglang_rules(bool is_large) {
  EngineRules rules;
  rules.token_budget = is_large ? 8192 : 2048;
  rules.max_sequences = 4096;
  rules.chunks = true;
  rules.mixes = false;
  rules.prompts_first = true;
  rules.block_tokens = 1;
  rules.watermark_fraction = 0;
  rules.output_reserve = 0.7 * 0.14;
  rules.graph_sizes = stepped({1, 2, 4, 8, 12, 16}, 24, 256, 8);
  // The overlap scheduler hides most of it: 0.15 ms plus 1 us a sequence; estimate.
  rules.host_overhead_s = 1.5e-4;
  rules.host_overhead_per_sequence_s = 1e-6;
  return rules;
}

/// tensorrt_llm/llmapi/llm_args.py: max_num_tokens 8192, max_batch_size 2048, tokens_per_block 32,
/// chunked prefill off, capacity policy GUARANTEED_NO_EVICT, captured sizes 1, 2, 4, 8 ... 128.
EngineRules tensorrt_llm_rules() {
  EngineRules rules;
  rules.token_budget = 8192;
  rules.max_sequences = 2048;
  rules.chunks = false;
  rules.mixes = true;
  rules.block_tokens = 32;
  rules.watermark_fraction = 0;
  rules.output_reserve = 1;
  rules.graph_sizes = stepped({1, 2, 4}, 8, 128, 8);
  // Overlapped host work of the PyTorch back end: 0.15 ms plus 1 us a sequence; estimate.
  rules.host_overhead_s = 1.5e-4;
  rules.host_overhead_per_sequence_s = 1e-6;
  return rules;
}

}  // namespace

EngineRules engine_rules(const Scenario& scenario) {
  const ServingConfig& config = scenario.spec.serving;
  const bool is_large = scenario.device->memory.value.value() >= kLargeMemory;
  EngineRules rules;
  switch (config.engine) {
    case EnginePreset::vllm:
      rules = vllm_rules(is_large);
      break;
    case EnginePreset::sglang:
      rules = sglang_rules(is_large);
      break;
    case EnginePreset::tensorrt_llm:
      rules = tensorrt_llm_rules();
      break;
  }
  const auto as_double = [](const std::optional<std::int64_t>& value, double otherwise) {
    return value ? static_cast<double>(*value) : otherwise;
  };
  rules.token_budget = as_double(config.max_batched_tokens, rules.token_budget);
  rules.max_sequences = as_double(config.max_sequences, rules.max_sequences);
  rules.chunks = config.chunked_prefill.value_or(rules.chunks);
  rules.mixes = config.mixed_batches.value_or(rules.mixes);
  rules.prompt_wait_steps = config.prompt_wait_steps;
  rules.block_tokens = as_double(config.kv_block_tokens, rules.block_tokens);
  rules.watermark_fraction = config.watermark_fraction.value_or(rules.watermark_fraction);
  rules.output_reserve = config.output_reserve_fraction.value_or(rules.output_reserve);
  // Estimate, 50 us, between two published pairs of eager and graph runs. GPT-2 on H200: 4.8 ms an
  // eager step and 1.2 ms with graphs, vLLM and SGLang alike (deepspeedai/DeepSpeed pull request
  // 8352, 2026-09-22), 12 layers of about 9 kernels: 33 us. Qwen2.5-7B on A800: 22.5 ms an eager
  // step (vllm-project/vllm-omni issue 7960, 2026-09-22), 28 layers of about 10 kernels: 77 us.
  rules.host_kernel_s = config.host_kernel_s.value_or(5e-5);
  rules.preemption = config.preemption;
  rules.graphs = config.cuda_graphs.value_or(rules.graphs);
  // The host reads the gate's choice between two layers: no captured graph goes around them.
  const OffloadConfig& offload = scenario.spec.offload;
  rules.graphs = rules.graphs && !(offload.experts != ExpertHome::gpu && offload.host_managed);
  if (!config.graph_batch_sizes.empty()) {
    rules.graph_sizes.assign(config.graph_batch_sizes.begin(), config.graph_batch_sizes.end());
  }
  // /runtime/host_overhead_s is part of the step model; an engine's own comes on top only when
  // neither is given.
  const bool has_runtime = scenario.spec.runtime.host_overhead_s > 0;
  rules.host_overhead_s =
      config.host_overhead_s.value_or(has_runtime ? 0.0 : rules.host_overhead_s);
  rules.host_overhead_per_sequence_s =
      config.host_overhead_per_sequence_s.value_or(rules.host_overhead_per_sequence_s);
  return rules;
}

}  // namespace moesim

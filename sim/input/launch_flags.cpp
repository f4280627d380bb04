// SPDX-License-Identifier: Apache-2.0
// Sources: vllm/engine/arg_utils.py and vllm/config (vLLM 0.18), python/sglang/srt/server_args.py
// (SGLang 0.5.9), tensorrt_llm/commands/serve.py and llmapi/llm_args.py (TensorRT-LLM 1.2),
// fairseq/models/transformer_lm.py of the moe branch.
#include "sim/input/launch_flags.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <span>

namespace moesim {
namespace {

double number_of(const Json& value) {
  if (value.is_number()) {
    return value.as_number();
  }
  if (value.is_text()) {
    const std::string& text = value.as_text();
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(number)) {
      return number;
    }
  }
  throw std::string("a number");
}

std::int64_t count_of(const Json& value) {
  const double number = number_of(value);
  if (number < 1 || number > 1e9 || std::floor(number) != number) {
    throw std::string("a whole number from 1");
  }
  return static_cast<std::int64_t>(number);
}

bool bool_of(const Json& value) {
  if (value.is_bool()) {
    return value.as_bool();
  }
  if (value.is_text()) {
    const std::string& text = value.as_text();
    if (text == "true" || text == "True" || text == "1" || text == "yes") {
      return true;
    }
    if (text == "false" || text == "False" || text == "0" || text == "no") {
      return false;
    }
  }
  throw std::string("true or false");
}

std::string text_of(const Json& value) {
  if (value.is_text()) {
    return value.as_text();
  }
  throw std::string("a word");
}

/// A list of counts: "1 2 4", "[1,2,4]" or a YAML list.
Json counts_of(const Json& value) {
  Json list = Json::array();
  if (value.is_array()) {
    for (const Json& item : value.items()) {
      list.push_back(count_of(item));
    }
    return list;
  }
  if (value.is_number()) {
    list.push_back(count_of(value));
    return list;
  }
  const std::string text = text_of(value);
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t begin = text.find_first_of("0123456789", at);
    if (begin == std::string::npos) {
      break;
    }
    const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    list.push_back(count_of(Json(text.substr(begin, end - begin))));
    at = end;
  }
  if (list.items().empty()) {
    throw std::string("whole numbers");
  }
  return list;
}

using D = LaunchDraft;
using J = Json;

void set_model(D& draft, const J& value) { draft.model = text_of(value); }
void set_tensor(D& draft, const J& value) { draft.tensor = count_of(value); }
void set_data(D& draft, const J& value) { draft.data = count_of(value); }
void set_pipeline(D& draft, const J& value) { draft.pipeline = count_of(value); }
void set_expert(D& draft, const J& value) { draft.expert = count_of(value); }
void set_moe_tensor(D& draft, const J& value) { draft.moe_tensor = count_of(value); }
void set_nodes(D& draft, const J& value) { draft.nodes = count_of(value); }
void set_expert_parallel(D& draft, const J& value) { draft.expert_parallel = bool_of(value); }
void set_attention_data(D& draft, const J& value) { draft.attention_data = bool_of(value); }
void set_dtype(D& draft, const J& value) { draft.dtype = text_of(value); }
void set_quantization(D& draft, const J& value) { draft.quantization = text_of(value); }
void set_kv_dtype(D& draft, const J& value) { draft.kv_dtype = text_of(value); }

void set_memory(D& draft, const J& value) {
  const double fraction = number_of(value);
  if (fraction <= 0 || fraction > 1) {
    throw std::string("a number above 0, at most 1");
  }
  draft.set("/runtime/memory_utilisation", J(fraction));
}
void set_batched_tokens(D& draft, const J& value) {
  draft.set("/serving/max_batched_tokens", J(count_of(value)));
}
void set_sequences(D& draft, const J& value) {
  draft.set("/serving/max_sequences", J(count_of(value)));
}
void set_block(D& draft, const J& value) {
  draft.set("/serving/kv_block_tokens", J(count_of(value)));
}
void set_chunked(D& draft, const J& value) {
  draft.set("/serving/chunked_prefill", J(bool_of(value)));
}
void unset_chunked(D& draft, const J& value) {
  draft.set("/serving/chunked_prefill", J(!bool_of(value)));
}
void set_prefix(D& draft, const J& value) { draft.set("/serving/prefix_cache", J(bool_of(value))); }
void unset_prefix(D& draft, const J& value) {
  draft.set("/serving/prefix_cache", J(!bool_of(value)));
}
void no_graphs(D& draft, const J& value) { draft.set("/serving/cuda_graphs", J(!bool_of(value))); }
void set_graph_sizes(D& draft, const J& value) {
  draft.set("/serving/graph_batch_sizes", counts_of(value));
}
/// vLLM: one number is the largest size of the pattern 1, 2, 4, 8, 16, 24 ...
void set_vllm_graph_sizes(D& draft, const J& value) {
  J sizes = counts_of(value);
  if (sizes.items().size() == 1) {
    const std::int64_t largest = std::min<std::int64_t>(sizes.items()[0].as_integer(), 8192);
    sizes = J(J::Array{J(1), J(2), J(4)});
    for (std::int64_t size = 8; size <= largest; size += 8) {
      sizes.push_back(size);
    }
  }
  draft.set("/serving/graph_batch_sizes", std::move(sizes));
}
void set_chunk_size(D& draft, const J& value) {
  if (number_of(value) == -1) {  // SGLang: no chunking
    draft.set("/serving/chunked_prefill", J(false));
    return;
  }
  draft.set("/serving/max_batched_tokens", J(count_of(value)));
}
void set_mixed(D& draft, const J& value) { draft.set("/serving/mixed_batches", J(bool_of(value))); }
void set_two_batch(D& draft, const J& value) {
  if (bool_of(value)) {
    draft.set("/communication/overlap", J("two_batch"));
  }
}
void set_deepep_mode(D& draft, const J& value) {
  const std::string mode = text_of(value);
  if (mode == "low_latency" || mode == "normal") {
    draft.set("/communication/dispatch", J(mode));
  } else if (mode != "auto") {
    throw std::string("auto, normal or low_latency");
  }
}
void set_vllm_all2all(D& draft, const J& value) {
  const std::string backend = text_of(value);
  if (backend == "deepep_low_latency") {
    draft.set("/communication/dispatch", J("low_latency"));
  } else if (backend == "deepep_high_throughput") {
    draft.set("/communication/dispatch", J("normal"));
  }
}
void set_a2a(D& draft, const J& value) {
  if (text_of(value) == "deepep") {
    draft.expert = draft.expert.value_or(0);  // SGLang: expert parallelism over all of tp
  }
}
void set_draft_tokens(D& draft, const J& value) {
  draft.set("/workload/draft_tokens", J(count_of(value)));
}
/// vLLM's --speculative-config '{"method": "mtp", "num_speculative_tokens": 1}'.
void set_speculative(D& draft, const J& value) {
  const J config = value.is_object() ? value : parse_json(text_of(value), "--speculative-config");
  const J* tokens = config.find("num_speculative_tokens");
  if (tokens == nullptr) {
    throw std::string("an object with num_speculative_tokens");
  }
  set_draft_tokens(draft, *tokens);
}
void set_kv_config(D& draft, const J& value) {
  if (!value.is_object()) {
    throw std::string("an object");
  }
  for (const auto& [key, item] : value.members()) {
    if (key == "free_gpu_memory_fraction") {
      set_memory(draft, item);
    } else if (key == "dtype") {
      set_kv_dtype(draft, item);
    } else if (key == "enable_block_reuse") {
      set_prefix(draft, item);
    } else if (key == "tokens_per_block") {
      set_block(draft, item);
    } else {
      throw std::string("free_gpu_memory_fraction, dtype, enable_block_reuse, tokens_per_block");
    }
  }
}
void set_graph_config(D& draft, const J& value) {
  if (value.is_null()) {
    draft.set("/serving/cuda_graphs", J(false));
    return;
  }
  if (!value.is_object()) {
    throw std::string("an object");
  }
  for (const auto& [key, item] : value.members()) {
    if (key == "batch_sizes") {
      set_graph_sizes(draft, item);
    } else if (key != "max_batch_size" && key != "enable_padding") {
      throw std::string("batch_sizes, max_batch_size, enable_padding");
    }
  }
}
/// TensorRT-LLM's attention_dp_config: replicas that wait for each other's prompts.
void set_attention_balance(D& draft, const J& value) {
  if (!value.is_object()) {
    throw std::string("an object");
  }
  const J* enable = value.find("enable_balance");
  if (enable != nullptr && bool_of(*enable)) {
    const J* steps = value.find("timeout_iters");
    draft.set("/serving/prompt_wait_steps", J(steps != nullptr ? count_of(*steps) : 50));
  }
}
void set_trt_speculative(D& draft, const J& value) {
  if (!value.is_object()) {
    throw std::string("an object");
  }
  for (const char* key : {"num_nextn_predict_layers", "max_draft_len"}) {
    if (const J* tokens = value.find(key)) {
      set_draft_tokens(draft, *tokens);
    }
  }
}
void set_moe_experts(D& draft, const J& value) { draft.moe_experts = count_of(value); }
void set_top_one(D& draft, const J& value) { draft.top_one = bool_of(value); }
void set_capacity(D& draft, const J& value) {
  const double fraction = number_of(value);
  if (fraction > 0) {  // negative: no limit while evaluating
    draft.capacity_fraction = fraction;
  }
}

constexpr LaunchFlag sets(std::string_view name, void (*apply)(D&, const J&)) {
  return {name, FlagUse::sets, true, apply};
}
constexpr LaunchFlag lists(std::string_view name, void (*apply)(D&, const J&)) {
  return {name, FlagUse::sets, true, apply, true};
}
constexpr LaunchFlag switches(std::string_view name, void (*apply)(D&, const J&)) {
  return {name, FlagUse::sets, false, apply};
}
constexpr LaunchFlag kVllm[] = {
    sets("model", set_model),
    sets("tensor-parallel-size", set_tensor),
    sets("tp", set_tensor),
    sets("data-parallel-size", set_data),
    sets("dp", set_data),
    sets("pipeline-parallel-size", set_pipeline),
    sets("pp", set_pipeline),
    sets("nnodes", set_nodes),
    switches("enable-expert-parallel", set_expert_parallel),
    switches("ep", set_expert_parallel),
    sets("dtype", set_dtype),
    sets("quantization", set_quantization),
    sets("q", set_quantization),
    sets("kv-cache-dtype", set_kv_dtype),
    sets("gpu-memory-utilization", set_memory),
    sets("max-num-batched-tokens", set_batched_tokens),
    sets("max-num-seqs", set_sequences),
    sets("block-size", set_block),
    switches("enable-chunked-prefill", set_chunked),
    switches("no-enable-chunked-prefill", unset_chunked),
    switches("enable-prefix-caching", set_prefix),
    switches("no-enable-prefix-caching", unset_prefix),
    switches("enforce-eager", no_graphs),
    lists("cudagraph-capture-sizes", set_vllm_graph_sizes),
    lists("cuda-graph-sizes", set_vllm_graph_sizes),
    switches("enable-dbo", set_two_batch),
    sets("all2all-backend", set_vllm_all2all),
    sets("speculative-config", set_speculative),
};

constexpr LaunchFlag kSglang[] = {
    sets("model-path", set_model),
    sets("model", set_model),
    sets("tensor-parallel-size", set_tensor),
    sets("tp-size", set_tensor),
    sets("tp", set_tensor),
    sets("data-parallel-size", set_data),
    sets("dp-size", set_data),
    sets("dp", set_data),
    sets("pipeline-parallel-size", set_pipeline),
    sets("pp-size", set_pipeline),
    sets("pp", set_pipeline),
    sets("expert-parallel-size", set_expert),
    sets("ep-size", set_expert),
    sets("ep", set_expert),
    sets("nnodes", set_nodes),
    switches("enable-dp-attention", set_attention_data),
    sets("dtype", set_dtype),
    sets("quantization", set_quantization),
    sets("kv-cache-dtype", set_kv_dtype),
    sets("mem-fraction-static", set_memory),
    sets("chunked-prefill-size", set_chunk_size),
    sets("max-running-requests", set_sequences),
    sets("page-size", set_block),
    switches("disable-radix-cache", unset_prefix),
    switches("disable-cuda-graph", no_graphs),
    lists("cuda-graph-bs", set_graph_sizes),
    switches("enable-mixed-chunk", set_mixed),
    switches("enable-two-batch-overlap", set_two_batch),
    sets("deepep-mode", set_deepep_mode),
    sets("moe-a2a-backend", set_a2a),
    sets("speculative-num-steps", set_draft_tokens),
};

constexpr LaunchFlag kTrtllm[] = {
    sets("model", set_model),
    sets("tp-size", set_tensor),
    sets("tensor-parallel-size", set_tensor),
    sets("pp-size", set_pipeline),
    sets("pipeline-parallel-size", set_pipeline),
    sets("ep-size", set_expert),
    sets("moe-expert-parallel-size", set_expert),
    sets("moe-tensor-parallel-size", set_moe_tensor),
    switches("enable-attention-dp", set_attention_data),
    sets("dtype", set_dtype),
    sets("kv-cache-free-gpu-memory-fraction", set_memory),
    sets("max-num-tokens", set_batched_tokens),
    sets("max-batch-size", set_sequences),
    switches("enable-chunked-prefill", set_chunked),
    sets("kv-cache-config", set_kv_config),
    sets("attention-dp-config", set_attention_balance),
    sets("cuda-graph-config", set_graph_config),
    sets("speculative-config", set_trt_speculative),
};

constexpr LaunchFlag kFairseq[] = {
    sets("moe-expert-count", set_moe_experts),
    sets("moe-eval-capacity-token-fraction", set_capacity),
    switches("moe-top1-expert", set_top_one),
};

/// Flags that set nothing, as lists of names.
struct PassiveFlags {
  LaunchTool tool;
  FlagUse use;
  bool takes_value;
  std::string_view names;  ///< with blanks between them
};

constexpr PassiveFlags kPassive[] = {
    {LaunchTool::vllm, FlagUse::not_simulated, true,
     "max-cudagraph-capture-size compilation-config eplb-config num-redundant-experts "
     "data-parallel-size-local decode-context-parallel-size cpu-offload-gb swap-space "
     "scheduling-policy kv-transfer-config num-gpu-blocks-override attention-backend "
     "stream-interval"},
    {LaunchTool::vllm, FlagUse::not_simulated, false,
     "async-scheduling no-async-scheduling enable-eplb disable-custom-all-reduce "
     "enable-lora"},
    {LaunchTool::vllm, FlagUse::no_effect, true,
     "config host port api-key served-model-name tokenizer tokenizer-mode download-dir "
     "load-format revision seed max-model-len uvicorn-log-level chat-template "
     "reasoning-parser tool-call-parser generation-config override-generation-config "
     "distributed-executor-backend api-server-count data-parallel-address "
     "data-parallel-rpc-port data-parallel-start-rank data-parallel-backend master-addr "
     "node-rank hf-overrides limit-mm-per-prompt"},
    {LaunchTool::vllm, FlagUse::no_effect, false,
     "trust-remote-code disable-log-requests disable-log-stats enable-log-requests "
     "no-enable-log-requests enable-auto-tool-choice headless language-model-only"},
    {LaunchTool::sglang, FlagUse::not_simulated, true,
     "max-prefill-tokens cuda-graph-max-bs schedule-policy schedule-conservativeness "
     "attention-backend decode-attention-backend prefill-attention-backend "
     "moe-runner-backend fp8-gemm-backend sampling-backend speculative-algorithm "
     "speculative-eagle-topk speculative-num-draft-tokens speculative-draft-model-path "
     "ep-num-redundant-experts eplb-algorithm init-expert-location ep-dispatch-algorithm "
     "moe-dense-tp-size disaggregation-mode disaggregation-transfer-backend "
     "max-total-tokens num-continuous-decode-steps stream-interval cpu-offload-gb "
     "load-balance-method"},
    {LaunchTool::sglang, FlagUse::not_simulated, false,
     "enable-eplb enable-dp-lm-head disable-overlap-schedule disable-custom-all-reduce "
     "disable-shared-experts-fusion enable-flashinfer-trtllm-moe "
     "enable-flashinfer-allreduce-fusion enable-torch-compile enable-hierarchical-cache "
     "enable-nccl-nvls"},
    {LaunchTool::sglang, FlagUse::no_effect, true,
     "config host port api-key served-model-name tokenizer-path tokenizer-mode "
     "context-length dist-init-addr node-rank log-level decode-log-interval random-seed "
     "reasoning-parser tool-call-parser watchdog-timeout load-format chat-template"},
    {LaunchTool::sglang, FlagUse::no_effect, false,
     "trust-remote-code enable-metrics show-time-cost skip-server-warmup "
     "weight-loader-disable-mmap"},
    {LaunchTool::trtllm, FlagUse::not_simulated, true,
     "moe-config torch-compile-config scheduler-config "
     "allreduce-strategy attn-backend stream-interval gpus-per-node cluster-size "
     "max-beam-width cache-transceiver-config num-postprocess-workers"},
    {LaunchTool::trtllm, FlagUse::not_simulated, false, "disable-overlap-scheduler"},
    {LaunchTool::trtllm, FlagUse::no_effect, true,
     "extra-llm-api-options config backend host port tokenizer max-seq-len max-input-len "
     "log-level reasoning-parser tool-parser metadata-server-config-file server-role"},
    {LaunchTool::trtllm, FlagUse::no_effect, false,
     "trust-remote-code print-iter-log enable-iter-perf-stats"},
    {LaunchTool::fairseq, FlagUse::not_simulated, true,
     "moe-freq moe-second-expert-policy moe-expert-decoder-ffn-dim moe-local-drop"},
    {LaunchTool::fairseq, FlagUse::not_simulated, false,
     "moe-normalize-gate-prob-before-dropping moe-batch-prioritized-routing "
     "use-moe-pad-mask"},
    {LaunchTool::fairseq, FlagUse::no_effect, true,
     "moe-gate-loss-wt moe-gate-loss-combine-method moe-gate-loss-transform "
     "moe-normalize-expert-grad moe-initialize-experts"},
    {LaunchTool::fairseq, FlagUse::no_effect, false, "moe-gating-use-fp32 moe-gate-no-grad"},
};

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char x = a[i] == '_' ? '-' : a[i];
    const char y = b[i] == '_' ? '-' : b[i];
    if (x != y) {
      return false;
    }
  }
  return true;
}

std::span<const LaunchFlag> launch_flags(LaunchTool tool) {
  switch (tool) {
    case LaunchTool::vllm:
      return kVllm;
    case LaunchTool::sglang:
      return kSglang;
    case LaunchTool::trtllm:
      return kTrtllm;
    case LaunchTool::fairseq:
      return kFairseq;
  }
  return {};
}

}  // namespace

std::optional<LaunchFlag> find_flag(LaunchTool tool, std::string_view name) {
  for (const LaunchFlag& flag : launch_flags(tool)) {
    if (same_name(flag.name, name)) {
      return flag;
    }
  }
  for (const PassiveFlags& list : kPassive) {
    std::string_view rest = list.names;
    while (list.tool == tool && !rest.empty()) {
      const std::string_view known = rest.substr(0, rest.find(' '));
      if (same_name(known, name)) {
        return LaunchFlag{known, list.use, list.takes_value, nullptr};
      }
      rest.remove_prefix(std::min(known.size() + 1, rest.size()));
    }
  }
  return std::nullopt;
}

}  // namespace moesim

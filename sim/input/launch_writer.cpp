// SPDX-License-Identifier: Apache-2.0
// Scenarios as launch lines: the inverse of launch_line.cpp, engine by engine.
#include <algorithm>

#include "sim/base/field_table.h"
#include "sim/input/launch_line.h"

namespace moesim {
namespace {

/// A word that a shell reads as one.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/' || c == '=' || c == ',' || c == ':';
  });
  if (plain) {
    return word;
  }
  std::string text = "'";
  for (const char c : word) {
    text += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return text + "'";
}

class LaunchWriter {
 public:
  LaunchWriter(const Scenario& scenario, LaunchTool tool, LaunchRole role)
      : scenario_(scenario), tool_(tool), role_(role), json_(write_object(scenario.spec)) {}

  LaunchCommand write() {
    switch (tool_) {
      case LaunchTool::vllm:
        write_vllm();
        break;
      case LaunchTool::sglang:
        write_sglang();
        break;
      case LaunchTool::trtllm:
        write_trtllm();
        break;
      case LaunchTool::fairseq:
        out_.notes.push_back("fairseq trains models: a serving scenario has no line for it");
        return std::move(out_);
    }
    if (scenario_.spec.nodes > 1) {
      out_.notes.push_back("start it on each of " + std::to_string(scenario_.spec.nodes) +
                           " nodes with the node's rank and the first node's address");
    }
    const DispatchKernel kernel = scenario_.spec.communication.dispatch;
    if (kernel == DispatchKernel::nvlink_one_sided || kernel == DispatchKernel::nvlink_two_sided) {
      out_.notes.push_back(
          choice_name(kernel) +
          " kernels are TensorRT-LLM's, which chooses them itself inside an NVLink "
          "domain: no flag says so");
    }
    if (scenario_.spec.precision.weights) {
      out_.notes.push_back("weights in " + choice_name(*scenario_.spec.precision.weights) +
                           ": serve a checkpoint of this format");
    }
    return std::move(out_);
  }

 private:
  void word(const std::string& text) {
    out_.command += (out_.command.empty() ? "" : " ") + quoted(text);
  }
  void flag(const std::string& name) { word(name); }
  void flag(const std::string& name, const std::string& value) {
    word(name);
    word(value);
  }
  void flag(const std::string& name, std::int64_t value) { flag(name, std::to_string(value)); }

  /// A key of the scenario that may not exist in every version, or null when it is not set.
  const Json* key(const char* pointer) const {
    const Json* value = json_.at_pointer(pointer);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  void count_flag(const std::string& name, const char* pointer) {
    if (const Json* value = key(pointer); value != nullptr && value->is_integer()) {
      flag(name, value->as_integer());
    }
  }
  bool is_false(const char* pointer) const {
    const Json* value = key(pointer);
    return value != nullptr && value->is_bool() && !value->as_bool();
  }
  bool is_true(const char* pointer) const {
    const Json* value = key(pointer);
    return value != nullptr && value->is_bool() && value->as_bool();
  }
  std::string memory_text() const { return number_text(scenario_.spec.runtime.memory_utilisation); }
  /// The model as a hub knows it, from the sources of its card; else the card's id.
  std::string model_name() const {
    constexpr std::string_view kHub = "huggingface.co/";
    for (const SourceReference& source : scenario_.model->sources) {
      const std::size_t at = source.url.find(kHub);
      if (at == std::string::npos) {
        continue;
      }
      const std::string_view path = std::string_view(source.url).substr(at + kHub.size());
      const std::size_t owner = path.find('/');
      if (owner != std::string_view::npos) {
        return std::string(path.substr(0, path.find('/', owner + 1)));
      }
    }
    return scenario_.spec.model;
  }
  bool has_experts() const { return scenario_.ways.expert * scenario_.ways.expert_tensor > 1; }
  bool fp8_cache() const { return bytes_per_element(scenario_.spec.precision.kv_cache) < 2; }
  bool two_batch() const { return scenario_.spec.communication.overlap == OverlapRule::two_batch; }
  void add_graph_sizes(const std::string& name) {
    const Json* sizes = key("/serving/graph_batch_sizes");
    if (sizes != nullptr && sizes->is_array() && !sizes->items().empty()) {
      word(name);
      for (const Json& size : sizes->items()) {
        word(size.dump(-1));
      }
    }
  }
  std::int64_t draft_tokens() const {
    return static_cast<std::int64_t>(scenario_.spec.workload.draft_tokens);
  }

  void write_vllm() {
    const ParallelWays& ways = scenario_.ways;
    word("vllm");
    word("serve");
    word(model_name());
    flag("--tensor-parallel-size", ways.tensor);
    if (ways.pipeline > 1) {
      flag("--pipeline-parallel-size", ways.pipeline);
    }
    if (ways.data > 1) {
      flag("--data-parallel-size", ways.data);
    }
    if (has_experts() && ways.expert > 1) {
      flag("--enable-expert-parallel");
      if (ways.expert_tensor > 1) {
        out_.notes.push_back("vLLM splits no expert when it shares experts out: expert_tensor " +
                             std::to_string(ways.expert_tensor) + " has no flag");
      }
    }
    if (fp8_cache()) {
      flag("--kv-cache-dtype", "fp8");
    }
    flag("--gpu-memory-utilization", memory_text());
    count_flag("--max-num-batched-tokens", "/serving/max_batched_tokens");
    count_flag("--max-num-seqs", "/serving/max_sequences");
    count_flag("--block-size", "/serving/kv_block_tokens");
    if (is_false("/serving/chunked_prefill")) {
      flag("--no-enable-chunked-prefill");
    } else if (is_true("/serving/chunked_prefill")) {
      flag("--enable-chunked-prefill");
    }
    if (is_false("/serving/prefix_cache")) {
      flag("--no-enable-prefix-caching");
    }
    if (is_false("/serving/cuda_graphs")) {
      flag("--enforce-eager");
    }
    add_graph_sizes("--cudagraph-capture-sizes");
    if (two_batch()) {
      flag("--enable-dbo");
    }
    if (ways.data > 1 && ways.expert > 1) {
      if (scenario_.spec.communication.dispatch == DispatchKernel::low_latency) {
        flag("--all2all-backend", "deepep_low_latency");
      } else if (scenario_.spec.communication.dispatch == DispatchKernel::normal) {
        flag("--all2all-backend", "deepep_high_throughput");
      }
    }
    if (draft_tokens() > 0) {
      flag("--speculative-config", "{\"method\": \"mtp\", \"num_speculative_tokens\": " +
                                       std::to_string(draft_tokens()) + "}");
    }
    if (role_ != LaunchRole::whole) {
      flag("--kv-transfer-config",
           "{\"kv_connector\": \"NixlConnector\", \"kv_role\": \"kv_both\"}");
      out_.notes.push_back(
          "a proxy in front sends each prompt to the prefill pool first, then to the decode pool "
          "(vLLM's disaggregated serving examples, or llm-d)");
    }
  }

  void write_sglang() {
    const ParallelWays& ways = scenario_.ways;
    for (const char* text : {"python3", "-m", "sglang.launch_server"}) {
      word(text);
    }
    flag("--model-path", model_name());
    flag("--tp", ways.tensor * ways.data);
    if (ways.pipeline > 1) {
      flag("--pp-size", ways.pipeline);
    }
    if (ways.data > 1) {
      flag("--dp", ways.data);
      flag("--enable-dp-attention");
    }
    if (scenario_.spec.nodes > 1) {
      flag("--nnodes", scenario_.spec.nodes);
    }
    if (has_experts() && ways.expert > 1) {
      flag("--ep-size", ways.expert);
    }
    if (ways.data > 1 && ways.expert > 1) {
      flag("--moe-a2a-backend", "deepep");
      const DispatchKernel kernel = scenario_.spec.communication.dispatch;
      if (kernel == DispatchKernel::low_latency || kernel == DispatchKernel::normal) {
        flag("--deepep-mode", choice_name(kernel));
      }
    }
    if (two_batch()) {
      flag("--enable-two-batch-overlap");
    }
    if (fp8_cache()) {
      flag("--kv-cache-dtype", "fp8_e4m3");
    }
    flag("--mem-fraction-static", memory_text());
    if (is_false("/serving/chunked_prefill")) {
      flag("--chunked-prefill-size", -1);
    } else {
      count_flag("--chunked-prefill-size", "/serving/max_batched_tokens");
    }
    count_flag("--max-running-requests", "/serving/max_sequences");
    count_flag("--page-size", "/serving/kv_block_tokens");
    if (is_true("/serving/mixed_batches")) {
      flag("--enable-mixed-chunk");
    }
    if (is_false("/serving/prefix_cache")) {
      flag("--disable-radix-cache");
    }
    if (is_false("/serving/cuda_graphs")) {
      flag("--disable-cuda-graph");
    }
    add_graph_sizes("--cuda-graph-bs");
    if (draft_tokens() > 0) {
      flag("--speculative-algorithm", "EAGLE");
      flag("--speculative-num-steps", draft_tokens());
    }
    if (role_ != LaunchRole::whole) {
      flag("--disaggregation-mode", role_ == LaunchRole::prefill ? "prefill" : "decode");
      out_.notes.push_back(
          "a router in front: python3 -m sglang_router.launch_router --pd-disaggregation "
          "--prefill URL --decode URL");
    }
  }

  void write_trtllm() {
    const ParallelWays& ways = scenario_.ways;
    word("trtllm-serve");
    word(model_name());
    flag("--tp_size", ways.tensor * ways.data);
    if (ways.pipeline > 1) {
      flag("--pp_size", ways.pipeline);
    }
    if (has_experts()) {
      flag("--ep_size", ways.expert);
    }
    count_flag("--max_num_tokens", "/serving/max_batched_tokens");
    count_flag("--max_batch_size", "/serving/max_sequences");
    std::string yaml;
    if (ways.data > 1) {
      if (ways.tensor > 1) {
        out_.notes.push_back(
            "TensorRT-LLM gives every GPU an attention replica of its own or none: tensor " +
            std::to_string(ways.tensor) + " beside data " + std::to_string(ways.data) +
            " has no option");
      }
      yaml += "enable_attention_dp: true\n";
      const Json* wait = key("/serving/prompt_wait_steps");
      if (wait != nullptr && wait->is_number() && wait->as_number() > 0) {
        yaml += "attention_dp_config:\n  enable_balance: true\n  timeout_iters: " + wait->dump(-1) +
                "\n";
      }
    }
    if (const Json* chunks = key("/serving/chunked_prefill")) {
      yaml += "enable_chunked_prefill: " + chunks->dump(-1) + "\n";
    }
    std::string cache = "  free_gpu_memory_fraction: " + memory_text() + "\n";
    if (fp8_cache()) {
      cache += "  dtype: fp8\n";
    }
    if (is_false("/serving/prefix_cache")) {
      cache += "  enable_block_reuse: false\n";
    }
    if (const Json* block = key("/serving/kv_block_tokens")) {
      cache += "  tokens_per_block: " + block->dump(-1) + "\n";
    }
    yaml += "kv_cache_config:\n" + cache;
    const Json* sizes = key("/serving/graph_batch_sizes");
    if (is_false("/serving/cuda_graphs")) {
      yaml += "cuda_graph_config: null\n";
    } else if (sizes != nullptr && sizes->is_array() && !sizes->items().empty()) {
      yaml += "cuda_graph_config:\n  batch_sizes: " + sizes->dump(-1) + "\n";
    }
    if (draft_tokens() > 0) {
      yaml += "speculative_config:\n  decoding_type: MTP\n  num_nextn_predict_layers: " +
              std::to_string(draft_tokens()) + "\n";
    }
    if (role_ != LaunchRole::whole) {
      yaml += "cache_transceiver_config:\n  backend: DEFAULT\n";
      if (role_ == LaunchRole::prefill) {
        yaml += "disable_overlap_scheduler: true\n";  // a context server has no next step
      }
      out_.notes.push_back(
          "a server in front: trtllm-serve disaggregated -c FILE with context_servers and "
          "generation_servers");
    }
    flag("--extra_llm_api_options", "options.yaml");
    out_.files.emplace_back("options.yaml", yaml);
  }

  const Scenario& scenario_;
  LaunchTool tool_;
  LaunchRole role_;
  Json json_;
  LaunchCommand out_;
};

}  // namespace

LaunchCommand launch_command(const Scenario& scenario, LaunchTool tool, LaunchRole role) {
  return LaunchWriter(scenario, tool, role).write();
}

}  // namespace moesim

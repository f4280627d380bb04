// SPDX-License-Identifier: Apache-2.0
#include "sim/input/launch_start.h"

#include <algorithm>
#include <array>

#include "sim/base/error.h"
#include "sim/input/launch_script.h"
#include "sim/input/yaml_text.h"

namespace moesim {
namespace {

std::string file_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

bool is_python(std::string_view word) { return file_name(word).starts_with("python"); }

}  // namespace

std::optional<LaunchStart> launch_start(const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string name = file_name(words[i]);
    const std::string next = i + 1 < words.size() ? words[i + 1] : "";
    const std::string module = i + 2 < words.size() ? words[i + 2] : "";
    if (name == "vllm" && next == "serve") {
      return LaunchStart{LaunchTool::vllm, i + 2};
    }
    if (name == "sglang" && (next == "serve" || next == "launch_server")) {
      return LaunchStart{LaunchTool::sglang, i + 2};
    }
    if (name == "trtllm-serve") {
      return LaunchStart{LaunchTool::trtllm, i + (next == "serve" ? 2 : 1)};
    }
    if (is_python(words[i]) && next == "-m" && module == "vllm.entrypoints.openai.api_server") {
      return LaunchStart{LaunchTool::vllm, i + 3};
    }
    if (is_python(words[i]) && next == "-m" && module == "sglang.launch_server") {
      return LaunchStart{LaunchTool::sglang, i + 3};
    }
    if (name == "fairseq-train" || name == "fairseq-eval-lm" || name == "train.py") {
      const bool has_moe = std::any_of(words.begin(), words.end(), [](const std::string& word) {
        return word.starts_with("--moe-");
      });
      if (has_moe) {
        return LaunchStart{LaunchTool::fairseq, i + 1};
      }
    }
  }
  return std::nullopt;
}

std::optional<LaunchTool> yaml_tool(const Json& json) {
  if (!json.is_object()) {
    return std::nullopt;
  }
  const auto has_any = [&json](std::initializer_list<const char*> keys) {
    return std::any_of(keys.begin(), keys.end(),
                       [&json](const char* key) { return json.find(key) != nullptr; });
  };
  if (has_any({"model-path", "tp-size", "mem-fraction-static", "chunked-prefill-size"})) {
    return LaunchTool::sglang;
  }
  if (has_any({"kv_cache_config", "cuda_graph_config", "enable_attention_dp", "moe_config",
               "moe_expert_parallel_size", "tensor_parallel_size"})) {
    return LaunchTool::trtllm;
  }
  if (has_any({"tensor-parallel-size", "max-num-seqs", "gpu-memory-utilization",
               "max-num-batched-tokens"})) {
    return LaunchTool::vllm;
  }
  return std::nullopt;
}

std::string_view launch_tool_name(LaunchTool tool) {
  static constexpr std::array kNames = {std::string_view("vllm"), std::string_view("sglang"),
                                        std::string_view("trtllm"), std::string_view("fairseq")};
  return kNames[static_cast<std::size_t>(tool)];
}

bool looks_like_launch(std::string_view text) {
  try {
    const ShellText shell = parse_shell(text, "text");
    for (const ShellCommand& command : shell.commands) {
      if (launch_start(command.words)) {
        return true;
      }
    }
  } catch (const InputError&) {
  }
  try {
    return yaml_tool(parse_yaml(text, "text")).has_value();
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace moesim

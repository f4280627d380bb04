// SPDX-License-Identifier: Apache-2.0
// The flags of serving engines, one table each: name, what a value means, what becomes of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"
#include "sim/input/launch_line.h"

namespace moesim {

/// What the flags of a line say, in the simulator's terms; the layout is put together at the end,
/// because engines count differently.
struct LaunchDraft {
  std::string model;
  std::int64_t tensor = 1;
  std::int64_t data = 1;
  std::int64_t pipeline = 1;
  std::optional<std::int64_t> expert;  ///< as the flag counts
  std::optional<std::int64_t> moe_tensor;
  std::optional<std::int64_t> nodes;
  bool expert_parallel = false;  ///< vLLM: experts are shared out instead of split
  bool attention_data = false;   ///< SGLang, TensorRT-LLM: tp counts attention replicas
  std::string dtype;
  std::string quantization;
  std::string kv_dtype;
  std::vector<std::pair<std::string, Json>> keys;  ///< pointer and value of scenario keys
  // fairseq
  std::optional<std::int64_t> moe_experts;
  std::optional<double> capacity_fraction;
  bool top_one = false;

  void set(std::string pointer, Json value) {
    keys.emplace_back(std::move(pointer), std::move(value));
  }
};

enum class FlagUse {
  sets,           ///< changes the draft
  no_effect,      ///< names, ports, logs: cannot change a prediction
  not_simulated,  ///< could change a prediction; this version does not simulate it
};

/// Where a flag's value goes: a function of the draft. `value` is the word after the flag, or what
/// a YAML file says; a flag without value gets `true`.
struct LaunchFlag {
  std::string_view name;  ///< without dashes, words joined by "-"
  FlagUse use = FlagUse::no_effect;
  bool takes_value = true;  ///< on a command line; without, the flag itself means true
  /// Throws std::string: what would be allowed.
  void (*apply)(LaunchDraft& draft, const Json& value) = nullptr;
  bool takes_list = false;  ///< several words may follow
};

/// The flag called `name` (dashes or underscores between its words), if a table has it.
std::optional<LaunchFlag> find_flag(LaunchTool tool, std::string_view name);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/input/launch_line.h"

#include <algorithm>

#include "sim/input/card_names.h"
#include "sim/input/launch_flags.h"
#include "sim/input/launch_script.h"
#include "sim/input/launch_start.h"
#include "sim/input/yaml_text.h"

namespace moesim {
namespace {

constexpr const char* kDefaultCluster = "cluster_h100_ib400";

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string file_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

/// Only the members that differ from `defaults`.
Json without_defaults(const Json& json, const Json& defaults) {
  Json kept = Json::object();
  for (const auto& [key, value] : json.members()) {
    const Json* other = defaults.find(key);
    if (key == "schema" || other == nullptr) {
      kept.set(key, value);
    } else if (value.is_object() && other->is_object()) {
      Json inner = without_defaults(value, *other);
      if (!inner.members().empty()) {
        kept.set(key, std::move(inner));
      }
    } else if (!(value == *other)) {
      kept.set(key, value);
    }
  }
  return kept;
}

bool is_number_word(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && word[1] >= '0' && word[1] <= '9';
}

class LaunchReader {
 public:
  LaunchReader(const std::string& file, const CardLibrary& cards, const LaunchOptions& options)
      : file_(file), cards_(cards), options_(options) {}

  ImportedLaunch read(std::string_view text) {
    const ShellText shell = parse_shell(text, file_);
    const ShellCommand* launch = nullptr;
    LaunchStart start{};
    std::size_t others = 0;
    for (const ShellCommand& command : shell.commands) {
      const std::optional<LaunchStart> found = launch_start(command.words);
      if (found && launch == nullptr) {
        launch = &command;
        start = *found;
      } else {
        others += found ? 0 : 1;
        if (found) {
          note("line " + std::to_string(command.line) +
               ": a second launch line; only the first "
               "is read");
        }
      }
    }
    if (launch != nullptr) {
      result_.tool = start.tool;
      files_ = &shell.files;
      if (others > 0) {
        note(std::to_string(others) + " other command" + (others > 1 ? "s" : "") +
             " of the text: not read");
      }
      for (const auto& [name, value] : launch->environment) {
        result_.not_simulated.push_back("environment " + name + "=" + value);
      }
      for (const std::string& piece : launch->unresolved) {
        note("line " + std::to_string(launch->line) + ": " + piece +
             " is assigned nowhere in the text");
      }
      read_words(*launch, start.first);
    } else {
      const Json yaml = parse_yaml(text, file_);
      const std::optional<LaunchTool> tool = yaml_tool(yaml);
      if (!tool) {
        throw InputError(file_, "", "launches nothing that can be read",
                         "vllm serve, python -m sglang.launch_server, trtllm-serve, fairseq-train "
                         "--moe-..., or YAML of their options");
      }
      result_.tool = *tool;
      read_yaml(yaml, file_);
    }
    diagnostics_.throw_if_any();
    build();
    return std::move(result_);
  }

 private:
  void note(std::string text) { result_.notes.push_back(std::move(text)); }

  void apply(const LaunchFlag& flag, std::string_view name, const Json& value,
             const std::string& where) {
    const std::string shown =
        std::string(name) + (value.is_bool() && value.as_bool()
                                 ? ""
                                 : " " + (value.is_text() ? value.as_text() : value.dump(-1)));
    switch (flag.use) {
      case FlagUse::no_effect:
        result_.without_effect.push_back(shown);
        return;
      case FlagUse::not_simulated:
        result_.not_simulated.push_back(shown);
        return;
      case FlagUse::sets:
        break;
    }
    try {
      flag.apply(draft_, value);
    } catch (const std::string& allowed) {
      diagnostics_.add(file_, where, "\"" + shown.substr(0, 120) + "\" is no value of this flag",
                       "allowed: " + allowed);
    } catch (const InputError& error) {
      for (const Diagnostic& problem : error.diagnostics()) {
        diagnostics_.add(file_, where, std::string(name) + ": " + problem.problem, problem.allowed);
      }
    }
  }

  void read_words(const ShellCommand& command, std::size_t first) {
    const std::vector<std::string>& words = command.words;
    const std::string where = "line " + std::to_string(command.line);
    for (std::size_t i = first; i < words.size(); ++i) {
      std::string word = words[i];
      if (word.size() < 2 || word[0] != '-' || is_number_word(word)) {
        if (result_.tool == LaunchTool::fairseq) {
          result_.without_effect.push_back(word);
        } else if (draft_.model.empty()) {
          draft_.model = word;
        } else {
          result_.unknown_flags.push_back(word);
        }
        continue;
      }
      std::string value;
      bool has_value = false;
      if (const std::size_t equals = word.find('='); equals != std::string::npos) {
        value = word.substr(equals + 1);
        word = word.substr(0, equals);
        has_value = true;
      }
      const std::string_view name = std::string_view(word).substr(word[1] == '-' ? 2 : 1);
      const std::optional<LaunchFlag> flag = find_flag(result_.tool, name);
      const auto is_value = [&words](std::size_t at) {
        return at < words.size() && (words[at].empty() || words[at][0] != '-' ||
                                     is_number_word(words[at]) || words[at].size() == 1);
      };
      if (!flag) {
        const bool takes = !has_value && is_value(i + 1);
        result_.unknown_flags.push_back(words[i] + (takes ? " " + words[i + 1] : ""));
        i += takes ? 1 : 0;
        continue;
      }
      if (flag->takes_value && !has_value) {
        while (is_value(i + 1) && (!has_value || flag->takes_list)) {
          value += (has_value ? " " : "") + words[++i];
          has_value = true;
        }
        if (!has_value) {
          diagnostics_.add(file_, where, word + " has no value", word + " VALUE");
          continue;
        }
      }
      apply(*flag, word, has_value ? Json(value) : Json(true), where);
      if (name == "config" || name == "extra_llm_api_options" || name == "extra-llm-api-options") {
        read_option_file(value, where);
      }
    }
  }

  void read_option_file(const std::string& name, const std::string& where) {
    std::optional<std::string> text;
    if (files_ != nullptr && files_->count(name) != 0) {
      text = files_->at(name);
    } else if (options_.read_file) {
      text = options_.read_file(name);
    }
    if (!text) {
      diagnostics_.add(file_, where, "the option file \"" + name.substr(0, 80) + "\" is not there",
                       "put it beside the launch line, or leave the flag out");
      return;
    }
    read_yaml(parse_yaml(*text, name), name);
  }

  void read_yaml(const Json& yaml, const std::string& where) {
    if (!yaml.is_object()) {
      diagnostics_.add(where, "", "holds no options", "key: value");
      return;
    }
    for (const auto& [key, value] : yaml.members()) {
      const std::optional<LaunchFlag> flag = find_flag(result_.tool, key);
      if (!flag) {
        result_.unknown_flags.push_back(key + ": " + value.dump(-1));
        continue;
      }
      apply(*flag, key, value, key);
    }
  }

  /// Layout from what each engine's flags count.
  void set_layout(ScenarioSpec& spec, bool has_experts) {
    std::int64_t gpus = draft_.tensor * draft_.pipeline;
    std::int64_t tensor = draft_.tensor;
    std::int64_t data = 1;
    std::int64_t expert = 1;
    if (result_.tool == LaunchTool::vllm) {
      gpus *= draft_.data;
      data = draft_.data;
      expert = draft_.expert_parallel ? draft_.tensor * draft_.data : 1;
    } else if (result_.tool == LaunchTool::sglang) {
      expert = draft_.expert.value_or(1);
      expert = expert == 0 ? draft_.tensor : expert;
      if (draft_.attention_data) {
        data = std::max<std::int64_t>(draft_.data, 1);
        if (tensor % data != 0) {
          diagnostics_.add(
              file_, "",
              "--dp " + std::to_string(data) + " does not divide --tp " + std::to_string(tensor),
              "with --enable-dp-attention dp divides tp");
          return;
        }
        tensor /= data;
      } else if (draft_.data > 1) {
        draft_.set("/serving/instances", Json(draft_.data));
        note("--dp " + std::to_string(draft_.data) +
             " without --enable-dp-attention: so many independent copies");
      }
    } else if (result_.tool == LaunchTool::trtllm) {
      expert = draft_.expert.value_or(
          draft_.moe_tensor ? std::max<std::int64_t>(1, draft_.tensor / *draft_.moe_tensor) : 1);
      if (draft_.attention_data) {
        data = tensor;
        tensor = 1;
      }
    }
    spec.parallelism.tensor = tensor;
    spec.parallelism.data = data;
    spec.parallelism.pipeline = draft_.pipeline;
    if (has_experts) {
      const std::int64_t stage = gpus / draft_.pipeline;
      if (stage % expert != 0) {
        diagnostics_.add(file_, "",
                         "expert parallelism " + std::to_string(expert) + " does not divide " +
                             std::to_string(stage) + " GPUs",
                         "a divisor");
        return;
      }
      spec.parallelism.expert = expert;
      spec.parallelism.expert_tensor = stage / expert;
    }
    const std::int64_t per_node = cards_.cluster(spec.cluster).node_groups.front().gpus_per_node;
    if (gpus <= per_node && !draft_.nodes) {
      if (gpus < per_node) {
        spec.gpus_per_node = gpus;
      }
    } else {
      spec.nodes = draft_.nodes.value_or((gpus + per_node - 1) / per_node);
      if (gpus % spec.nodes != 0 || gpus / spec.nodes > per_node) {
        diagnostics_.add(file_, "",
                         std::to_string(gpus) + " GPUs do not fill " + std::to_string(spec.nodes) +
                             " nodes of " + std::to_string(per_node),
                         "another --cluster, or a layout that does");
        return;
      }
      if (gpus / spec.nodes < per_node) {
        spec.gpus_per_node = gpus / spec.nodes;
      }
    }
  }

  void set_precision(ScenarioSpec& spec, const ModelCard& model, std::string_view name_rest) {
    std::string text = draft_.quantization + " " + std::string(name_rest);
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const bool is_fp8_card = model.weights.routed_experts == NumberFormat::fp8_block;
    if (contains(text, "mxfp4")) {
      spec.precision.experts = NumberFormat::mxfp4;
    } else if (contains(text, "fp4")) {
      spec.precision.weights = NumberFormat::nvfp4;
    } else if (contains(text, "awq") || contains(text, "gptq") || contains(text, "int4") ||
               contains(text, "w4a16")) {
      spec.precision.weights = NumberFormat::int4;
    } else if (contains(text, "fp8") && !is_fp8_card) {
      spec.precision.weights = NumberFormat::fp8;
    } else if (draft_.quantization == "modelopt" || draft_.quantization == "compressed-tensors") {
      note("quantization \"" + draft_.quantization +
           "\" does not name a number format: weights as the card publishes them");
    } else if (draft_.quantization.empty() &&
               (draft_.dtype == "float16" || draft_.dtype == "half") &&
               model.weights.attention == NumberFormat::bf16) {
      spec.precision.weights = NumberFormat::fp16;
    }
    if (draft_.kv_dtype.starts_with("fp8")) {
      spec.precision.kv_cache = NumberFormat::fp8;
    } else if (!draft_.kv_dtype.empty() && draft_.kv_dtype != "auto" &&
               draft_.kv_dtype != "bfloat16" && draft_.kv_dtype != "bf16") {
      result_.not_simulated.push_back("kv cache dtype " + draft_.kv_dtype);
    }
  }

  void set_fairseq(ScenarioSpec& spec, const ModelCard& model) {
    const auto moe = std::find_if(model.layers.begin(), model.layers.end(),
                                  [](const auto& layer) { return layer.ffn.kind == FfnKind::moe; });
    const std::int64_t experts =
        draft_.moe_experts.value_or(moe == model.layers.end() ? 1 : moe->ffn.experts);
    const std::int64_t top_k = draft_.top_one ? 1 : 2;
    spec.model_edits.experts = draft_.moe_experts;
    spec.model_edits.top_k = top_k;
    if (draft_.capacity_fraction) {
      // fairseq gives an expert fraction x tokens places; ours are factor x top_k x tokens /
      // experts.
      spec.capacity.factor =
          *draft_.capacity_fraction * static_cast<double>(experts) / static_cast<double>(top_k);
      spec.capacity.overflow = Overflow::drop;
    }
    spec.workload.phase = Phase::prefill;
    spec.workload.prompt_tokens = 1024;
    note("fairseq names no model that has a card: fairseq_moe_16e with " + std::to_string(experts) +
         " experts, top-" + std::to_string(top_k) +
         ", on one GPU; edit /model_edits and /parallelism");
    spec.gpus_per_node = 1;
    spec.parallelism = {};
  }

  void build() {
    ScenarioSpec spec;
    spec.cluster = options_.cluster;
    if (spec.cluster.empty()) {
      spec.cluster = kDefaultCluster;
      note("a launch line names no machine: " + spec.cluster + " assumed (--cluster ID)");
    }
    std::string rest;
    if (result_.tool == LaunchTool::fairseq) {
      spec.model = "fairseq_moe_16e";
    } else {
      const std::vector<std::string> ids = cards_.ids(CardKind::model);
      const std::optional<ModelNameMatch> match = model_card_named(draft_.model, ids);
      if (!match) {
        throw InputError(file_, "",
                         draft_.model.empty()
                             ? std::string("names no model")
                             : "no model card for \"" + draft_.model.substr(0, 80) + "\"",
                         "a model of `moesim show models`, or import its config.json first");
      }
      spec.model = match->id;
      rest = match->rest;
      if (file_name(draft_.model) != match->id) {
        note("model \"" + draft_.model + "\" taken as " + match->id);
      }
    }
    spec.name = std::string(launch_tool_name(result_.tool)) + " " +
                (draft_.model.empty() ? spec.model : draft_.model);
    const ModelCard model = load_model_card(cards_.path(CardKind::model, spec.model, file_, ""));
    const bool has_experts =
        std::any_of(model.layers.begin(), model.layers.end(),
                    [](const LayerClass& layer) { return layer.ffn.kind == FfnKind::moe; });
    if (result_.tool == LaunchTool::fairseq) {
      set_fairseq(spec, model);
    } else {
      set_layout(spec, has_experts);
      set_precision(spec, model, rest);
      spec.runtime.mla_prefill_absorbed = false;
      draft_.set("/serving/engine",
                 Json(result_.tool == LaunchTool::trtllm ? "tensorrt_llm"
                                                         : launch_tool_name(result_.tool)));
    }
    diagnostics_.throw_if_any();
    const FieldTable& table = fields_of(static_cast<const ScenarioSpec*>(nullptr));
    for (const auto& [pointer, value] : draft_.keys) {
      try {
        compile_setter(table, pointer, file_).apply(&spec, value, file_, diagnostics_);
      } catch (const InputError&) {
        result_.not_simulated.push_back(pointer + " = " + value.dump(-1));
      }
    }
    diagnostics_.throw_if_any();
    resolve(spec, cards_, file_);  // throws what does not fit together
    result_.scenario = without_defaults(write_object(spec), write_object(ScenarioSpec{}));
  }

  const std::string& file_;
  const CardLibrary& cards_;
  const LaunchOptions& options_;
  const std::map<std::string, std::string>* files_ = nullptr;
  LaunchDraft draft_;
  Diagnostics diagnostics_;
  ImportedLaunch result_;
};

}  // namespace

ImportedLaunch import_launch(std::string_view text, const std::string& file,
                             const CardLibrary& cards, const LaunchOptions& options) {
  return LaunchReader(file, cards, options).read(text);
}

}  // namespace moesim

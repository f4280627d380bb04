// SPDX-License-Identifier: Apache-2.0
#include "sim/input/hf_config_reader.h"

#include <algorithm>
#include <array>
#include <utility>

namespace moesim {
namespace {

/// Keys that say nothing about shapes: training, generation, numerics, rotary tables, bookkeeping.
bool is_irrelevant(std::string_view key) {
  constexpr std::array kWords = {
      "_token_id",
      "dropout",
      "_eps",
      "epsilon",
      "rope",
      "initializer",
      "output_",
      "aux_loss",
      "label",
      "_pdrop",
      "rotary",
      "transformers_version",
      "auto_map",
      "time_step",
      "loss",
      "routed_scaling",
      "logit",
      "norm_topk",
      "jitter",
      "swiglu",
      "_act",
      "attention_scal",
      "embedding_multiplier",
      "seq_aux",
      "max_length",
      "pretraining",
      "use_cache",
      "return_dict",
      "rescale",
  };
  constexpr std::array kNames = {
      "architectures",
      "model_type",
      "_name_or_path",
      "torch_dtype",
      "dtype",
      "ep_size",
      "activation_function",
      "clip_qkv",
      "mamba_dt_init_floor",
      "mamba_ssm_cache_dtype",
      "mamba_ssm_dtype",
      "use_mamba_kernels",
      "chunk_size",
      "residual_in_fp32",
      "hc_sinkhorn_iters",
      "floor_scale",
      "attn_scale",
      "attn_temperature_tuning",
      "moe_renormalize",
      "num_logits_to_keep",
      "full_attn_alpha_factor",
      "full_attn_beta_factor",
      "linear_attn_alpha_factor",
      "linear_attn_beta_factor",
      "mlp_alpha_factor",
      "mlp_beta_factor",
      "layernorm_full_attention_alpha",
      "postnorm",
      "gradient_checkpointing",
      "is_encoder_decoder",
      "n_positions",
      "add_router_probs",
      "expert_capacity",
      "router_dtype",
      "router_bias",
      "moe_capacity",
      "moe_use_aux_free",
      "layer_norm_type",
      "moe_token_dropping",
      "enable_expert_tensor_parallelism",
      "moe_eval_capacity_factor",
      "moe_train_capacity_factor",
      "moe_min_capacity",
      "initial_context_length",
      "scoring_func",
      "moe_expert_capacity_factor",
      "norm_expert_weight",
      "moe_shared_expert_overlap",
      "relative_attention_num_buckets",
      "relative_attention_max_distance",
      "language_model_only",
      "latent_moe_use_norm",
      "use_grouped_topk",
      "moe_router_activation_func",
      "activation_situ_beta",
      "activation_situ_linear_beta",
      "gate_lower_bound",
  };
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](std::string_view word) { return key.find(word) != key.npos; }) ||
         std::find(kNames.begin(), kNames.end(), key) != kNames.end();
}

/// Non-null value at `path` ("a/b").
const Json* value_at(const Json& object, std::string_view path) {
  const std::size_t slash = path.find('/');
  const Json* value = object.find(path.substr(0, slash));
  if (value == nullptr || value->is_null()) {
    return nullptr;
  }
  return slash == path.npos ? value : value_at(*value, path.substr(slash + 1));
}

}  // namespace

HfConfigReader::HfConfigReader(const Json& object, const Json* outer, std::string file,
                               std::string pointer, Diagnostics& diagnostics)
    : object_(object),
      outer_(outer),
      file_(std::move(file)),
      pointer_(std::move(pointer)),
      diagnostics_(diagnostics) {}

const Json* HfConfigReader::find(Keys keys) {
  const Json* found = nullptr;
  for (const std::string_view key : keys) {
    const std::string top(key.substr(0, key.find('/')));
    used_.insert(top);
    const Json* value = value_at(object_, key);
    if (value == nullptr && outer_ != nullptr &&
        (top == "tie_word_embeddings" || top == "quantization_config" || top == "torch_dtype" ||
         top == "dtype")) {
      value = value_at(*outer_, key);
    }
    if (found == nullptr) {
      found = value;
    }
  }
  return found;
}

void HfConfigReader::problem(std::string_view key, std::string text, std::string allowed) {
  diagnostics_.add(file_, pointer_ + "/" + std::string(key), std::move(text), std::move(allowed));
}

std::int64_t HfConfigReader::integer(Keys keys, std::int64_t fallback, std::int64_t max) {
  const Json* value = find(keys);
  if (value == nullptr) {
    return fallback;
  }
  if (value->is_array() && !value->items().empty()) {
    const Json& first = value->items().front();
    if (!std::all_of(value->items().begin(), value->items().end(),
                     [&](const Json& item) { return item == first; })) {
      problem(*keys.begin(), "differs between layers or experts", "allowed: one number for all");
      return fallback;
    }
    value = &first;
  }
  if (!value->is_integer() || value->as_integer() < 0 || value->as_integer() > max) {
    const std::string what = value->is_integer()
                                 ? std::to_string(value->as_integer()) + " is no size"
                             : value->is_number() ? number_text(value->as_number()) + " is no size"
                                                  : "is " + std::string(value->kind_name());
    problem(*keys.begin(), what, "allowed: a whole number >= 0 and <= " + std::to_string(max));
    return fallback;
  }
  return value->as_integer();
}

std::int64_t HfConfigReader::required(Keys keys, std::int64_t max) {
  const std::size_t before = diagnostics_.list().size();
  const std::int64_t value = integer(keys, 0, max);
  if (value == 0 && diagnostics_.list().size() == before) {
    problem(*keys.begin(), "is missing", "allowed: a whole number >= 1");
  }
  return value;
}

bool HfConfigReader::flag(Keys keys, bool fallback) {
  const Json* value = find(keys);
  if (value == nullptr) {
    return fallback;
  }
  if (value->is_integer()) {
    return value->as_integer() != 0;
  }
  if (!value->is_bool()) {
    problem(*keys.begin(), "is " + std::string(value->kind_name()), "allowed: true or false");
    return fallback;
  }
  return value->as_bool();
}

std::string HfConfigReader::text(Keys keys, const std::string& fallback) {
  const Json* value = find(keys);
  if (value != nullptr && !value->is_text()) {
    problem(*keys.begin(), "is " + std::string(value->kind_name()), "allowed: text");
    return fallback;
  }
  return value == nullptr ? fallback : value->as_text();
}

std::vector<std::int64_t> HfConfigReader::integers(Keys keys) {
  std::vector<std::int64_t> numbers;
  const Json* value = find(keys);
  if (value == nullptr) {
    return numbers;
  }
  const auto wrong = [&] {
    problem(*keys.begin(), "is no list of whole numbers >= 0", "allowed: a list such as [0, 4, 8]");
  };
  if (value->is_text()) {
    std::int64_t number = -1;
    for (const char c : value->as_text() + ",") {
      if (c >= '0' && c <= '9' && number < kMax) {
        number = std::max<std::int64_t>(number, 0) * 10 + (c - '0');
      } else if (c == ',' && number >= 0) {
        numbers.push_back(number);
        number = -1;
      } else if (c != ' ') {
        wrong();
        return {};
      }
    }
    return numbers;
  }
  if (!value->is_array()) {
    wrong();
    return numbers;
  }
  for (const Json& item : value->items()) {
    if (!item.is_integer() || item.as_integer() < 0 || item.as_integer() > kMax) {
      wrong();
      return {};
    }
    numbers.push_back(item.as_integer());
  }
  return numbers;
}

std::vector<std::string> HfConfigReader::texts(Keys keys) {
  std::vector<std::string> words;
  const Json* value = find(keys);
  if (value == nullptr) {
    return words;
  }
  if (value->is_array()) {
    for (const Json& item : value->items()) {
      if (!item.is_text()) {
        break;
      }
      words.push_back(item.as_text());
    }
  }
  if (!value->is_array() || words.size() != value->items().size()) {
    problem(*keys.begin(), "is no list of text", "allowed: a list such as [\"full_attention\"]");
    return {};
  }
  return words;
}

std::vector<std::string> HfConfigReader::notes() const {
  std::vector<std::string> notes = notes_;
  for (const auto& [key, value] : object_.members()) {
    if (!used_.contains(key) && !value.is_null() && !is_irrelevant(key)) {
      std::string shown = value.dump(-1);
      if (shown.size() > 60) {
        shown = shown.substr(0, 57) + "...";
      }
      notes.push_back("\"" + key + "\": " + shown + " was not used");
    }
  }
  return notes;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/input/hf_config.h"

#include <algorithm>

#include "sim/input/hf_config_grouping.h"
#include "sim/input/hf_config_layers.h"

namespace moesim {
namespace {

using enum RouterKind;

constexpr HfFamily kFamilies[] = {
    {"arctic", "arctic"},
    {"dbrx", "dbrx"},
    {"deepseek_v2", "deepseek"},
    {"deepseek_v3", "deepseek", sigmoid_bias, true},
    {"deepseek_v32", "deepseek", sigmoid_bias, true},
    {"deepseek_v4", "deepseek", softplus_bias, true},
    {"ernie4_5_moe", "ernie", softmax_top_k, true, false, QkNorm::none, false, true},
    {"glm4_moe", "glm", sigmoid_bias, true, false, QkNorm::none},
    {"glm_moe_dsa", "glm", sigmoid_bias, true},
    {"gpt_oss", "gpt-oss", top_k_softmax, true, true},
    {"grok-1", "grok", softmax_top_k, false, false, QkNorm::none, false, true, 4},
    {"hunyuan", "hunyuan", softmax_top_k, false, false, QkNorm::heads, false, true},
    {"hunyuan_v1_moe", "hunyuan", softmax_top_k, false, false, QkNorm::heads},
    {"jamba", "jamba"},
    {"kimi_k2", "kimi", sigmoid_bias, true},
    {"kimi_linear", "kimi", sigmoid_bias, true},
    {"llama", "llama"},
    {"llama4_text", "llama", sigmoid_top_k},
    {"minimax", "minimax"},
    {"minimax_m1", "minimax"},
    {"minimax_m2", "minimax"},
    {"minimax_text_01", "minimax"},
    {"mistral", "mistral"},
    {"mixtral", "mixtral", top_k_softmax},
    {"nemotron_h", "nemotron", sigmoid_bias, true, false, QkNorm::none, false, false, 1},
    {"olmoe", "olmoe", softmax_top_k, false, false, QkNorm::wide},
    {"phimoe", "phi", softmax_top_k, false, false, QkNorm::none, true},
    {"qwen2", "qwen", softmax_top_k, false, true},
    {"qwen2_moe", "qwen", softmax_top_k, false, true},
    {"qwen3", "qwen", softmax_top_k, false, false, QkNorm::heads},
    {"qwen3_5_moe_text", "qwen", softmax_top_k, false, false, QkNorm::heads},
    {"qwen3_moe", "qwen", softmax_top_k, false, false, QkNorm::heads},
    {"qwen3_next", "qwen", softmax_top_k, false, false, QkNorm::heads},
    {"step3_text", "step"},
    {"switch_transformers", "switch", top1_switch, false, false, QkNorm::none, false, true},
};

/// Names under which the same code is published.
std::string canonical_type(std::string type) {
  constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"MiniMaxM1", "minimax_m1"},
      {"grok1", "grok-1"},
      {"grok_1", "grok-1"},
      {"llama4", "llama4_text"},
      {"qwen3_5_moe", "qwen3_5_moe_text"},
      {"step3", "step3_text"},
      {"step3_vl", "step3_text"},
      {"ernie4_5_moe_vl", "ernie4_5_moe"},
      {"kimi_k25", "kimi_k2"},
      {"kimi_k3", "kimi_linear"},
  };
  for (const auto& [alias, name] : kAliases) {
    if (type == alias) {
      return std::string(name);
    }
  }
  return type;
}

const HfFamily* find_family(const std::string& type) {
  for (const HfFamily& family : kFamilies) {
    if (family.model_type == type) {
      return &family;
    }
  }
  return nullptr;
}

/// T5-shaped encoder-decoder with experts in every n-th layer of each stack, the last of each n.
void import_switch(HfConfigReader& config, ModelCard& card) {
  AttentionSpec attention;
  attention.heads = config.required({"num_heads"});
  attention.kv_heads = attention.heads;
  attention.head_dim = config.required({"d_kv"});
  FfnSpec dense;
  dense.width = config.required({"d_ff"});
  const std::string activation = config.text({"feed_forward_proj"}, "relu");
  dense.gated = config.flag({"is_gated_act"}, activation.starts_with("gated-"));
  config.find({"dense_act_fn"});
  FfnSpec moe = dense;
  moe.kind = FfnKind::moe;
  moe.experts = config.required({"num_experts"});
  moe.top_k = 1;
  moe.router.kind = RouterKind::top1_switch;
  const std::int64_t layers = config.required({"num_layers"}, 10000);
  const std::int64_t decoder_layers = config.integer({"num_decoder_layers"}, layers, 10000);
  const auto stack = [&](std::int64_t count, std::int64_t sparse, bool decodes,
                         std::vector<LayerClass>& classes, ModelCard& target) {
    std::vector<LayerClass> sequence;
    const std::int64_t step = sparse > 0 ? count / sparse : 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const bool has_experts = step > 0 && (step == 1 || i % step == step - 1);
      LayerClass layer;
      layer.name = std::string(decodes ? "decoder" : "encoder") + (has_experts ? " moe" : " dense");
      layer.norms = decodes ? 3 : 2;
      layer.attention = attention;
      layer.attention.cross_attention = decodes;
      layer.ffn = has_experts ? moe : dense;
      sequence.push_back(std::move(layer));
    }
    group_layers(sequence, target);
    classes = std::move(target.layers);
    for (LayerClass& layer : classes) {
      layer.name = (decodes ? "decoder_" : "encoder_") + layer.name;
    }
  };
  ModelCard encoder;
  ModelCard decoder;
  stack(layers, config.integer({"num_sparse_encoder_layers"}, 3, 10000), false, card.encoder_layers,
        encoder);
  stack(decoder_layers, config.integer({"num_sparse_decoder_layers"}, 3, 10000), true, card.layers,
        decoder);
  card.order = decoder.order;
  for (LayerRun& run : card.order) {
    for (std::string& name : run.layers) {
      name = "decoder_" + name;
    }
  }
  config.note("positions are relative biases, which the card does not count");
}

void import_mtp(HfConfigReader& config, const std::vector<LayerClass>& layers, ModelCard& card) {
  std::int64_t depth = config.integer({"num_nextn_predict_layers", "mtp_num_hidden_layers"}, 0, 64);
  if (config.flag({"use_mtp"}, false)) {
    depth = config.integer({"num_mtp_modules"}, 0, 64);
    config.find({"mtp_transformer_layers"});
  }
  config.find({"mtp_use_dedicated_embeddings"});
  if (depth == 0 || layers.empty()) {
    return;
  }
  if (card.layers.front().norms == 1) {
    config.note("multi-token-prediction layers of this family are not part of the card");
    config.find({"mtp_hybrid_override_pattern", "mtp_layers_block_type"});
    return;
  }
  MtpSpec mtp;
  mtp.depth = depth;
  mtp.layer = layers.back();
  mtp.layer.name = "mtp";
  if (mtp.layer.attention.kind == AttentionKind::compressed) {  // DeepSeek-V4: a window alone
    mtp.layer.attention.compression = 1;
    mtp.layer.attention.compression_overlaps = false;
    mtp.layer.attention.indexer.reset();
  }
  card.mtp = mtp;
  config.note("the multi-token-prediction layer is taken to be like the last layer");
}

}  // namespace

std::span<const HfFamily> hf_families() { return kFamilies; }

std::vector<std::string> known_model_types() {
  std::vector<std::string> types;
  for (const HfFamily& family : kFamilies) {
    types.emplace_back(family.model_type);
  }
  return types;
}

bool looks_like_hf_config(const Json& json) {
  return json.find("model_type") != nullptr || json.find("architectures") != nullptr;
}

ImportedModel import_hf_config(const Json& json, const std::string& file, const std::string& id) {
  Diagnostics diagnostics;
  if (!json.is_object()) {
    throw InputError(file, "", "is " + std::string(json.kind_name()),
                     "allowed: the object of a Hugging Face config.json");
  }
  const Json* inner = nullptr;
  std::string pointer;
  for (const char* key : {"text_config", "llm_config", "language_config"}) {
    const Json* nested = json.find(key);
    if (inner == nullptr && nested != nullptr && nested->is_object()) {
      inner = nested;
      pointer = std::string("/") + key;
    }
  }
  HfConfigReader config(inner != nullptr ? *inner : json, inner != nullptr ? &json : nullptr, file,
                        pointer, diagnostics);
  std::string type = config.text({"model_type"}, "");
  if (type.empty() && inner != nullptr) {
    const Json* outer_type = json.find("model_type");
    type = outer_type != nullptr && outer_type->is_text() ? outer_type->as_text() : "";
  }
  const HfFamily* family = find_family(canonical_type(type));
  static constexpr HfFamily kUnknown{"", ""};
  if (family == nullptr) {
    family = &kUnknown;
    config.note("model_type \"" + type.substr(0, 60) +
                "\" is not known: read by the keys alone, as a gated model without biases");
  }
  if (inner != nullptr) {
    config.note("multimodal: the card describes the language model (" + pointer.substr(1) + ")");
  }

  ImportedModel result;
  ModelCard& card = result.card;
  card.id = id;
  card.name = id;
  card.family = std::string(family->family);
  card.hidden = config.required({"hidden_size", "d_model", "n_embd"});
  card.vocabulary = config.required({"vocab_size"});
  card.max_context = config.integer(
      {"max_position_embeddings", "max_position_embedding", "max_seq_len", "n_positions"}, 0,
      1 << 30);
  if (!config.has({"tie_word_embeddings"})) {
    config.note(std::string("tie_word_embeddings is absent: ") +
                (family->tied_by_default ? "true" : "false") +
                ", the default of the family's code");
  }
  card.tied_embeddings = config.flag({"tie_word_embeddings"}, family->tied_by_default);
  card.norm_has_bias = family->norm_bias;
  card.residual_streams = std::max<std::int64_t>(1, config.integer({"hc_mult"}, 1, 64));
  if (family->family == "switch") {
    import_switch(config, card);
  } else {
    const std::vector<LayerClass> layers = hf_layers(config, *family, card.hidden);
    group_layers(layers, card);
    if (!card.layers.empty()) {
      import_mtp(config, layers, card);
    }
  }
  card.weights = hf_weight_formats(config);
  diagnostics.throw_if_any();
  // Ranges and relations: the same rules as for a card from a file. Their pointers are places in
  // the card, which the user's file does not have.
  Diagnostics of_card;
  result.card = read_model_card(model_card_json(card), file, of_card);
  for (const Diagnostic& problem : of_card.list()) {
    diagnostics.add(file, pointer,
                    "makes a card that is not valid at " + problem.pointer + ": " + problem.problem,
                    problem.allowed);
  }
  diagnostics.throw_if_any();
  result.notes = config.notes();
  return result;
}

}  // namespace moesim

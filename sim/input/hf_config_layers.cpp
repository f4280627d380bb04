// SPDX-License-Identifier: Apache-2.0
// Feed-forward parts and whole layers. Sources: the modelling code of each family in transformers
// (src/transformers/models/<type>), or published beside the weights (Step-3, Hunyuan-Large, Arctic,
// Grok-1).
#include "sim/input/hf_config_layers.h"

#include <algorithm>

namespace moesim {
namespace {

constexpr std::int64_t kMaxLayers = 10000;

/// Feed-forward parts of every layer.
class FeedForwards {
 public:
  FeedForwards(HfConfigReader& config, const HfFamily& family, std::int64_t hidden,
               std::int64_t layers)
      : config_(config), family_(family), num_layers_(layers) {
    const std::int64_t width =
        config.integer({"intermediate_size", "ffn_config/ffn_hidden_size", "d_ff"}, 0);
    dense_.width = config.integer({"intermediate_size_mlp"}, width);
    dense_.has_bias = config.flag({"mlp_bias"}, false);
    dense_.gated = config.text({"mlp_hidden_act"}, "silu") != "relu2";
    moe_.experts = config.integer({"n_routed_experts", "num_experts", "num_local_experts",
                                   "moe_num_experts", "ffn_config/moe_num_experts"},
                                  0);
    if (moe_.experts > 1) {
      read_moe(hidden, width);
      read_pattern();
    } else if (dense_.width == 0) {
      config.required({"intermediate_size"});
    }
  }

  std::pair<FfnSpec, std::string> of(std::int64_t i) const {
    if (moe_.experts <= 1 || !has_experts(i)) {
      return {dense_, "dense"};
    }
    if (i < num_hash_layers_ ||
        (!mlp_types_.empty() && mlp_types_[static_cast<std::size_t>(i)] == "hash_moe")) {
      FfnSpec hashed = moe_;
      hashed.router.kind = RouterKind::hash;
      hashed.router.has_bias = false;
      return {hashed, "hash"};
    }
    return {moe_, "moe"};
  }

 private:
  void read_moe(std::int64_t hidden, std::int64_t width) {
    moe_.kind = FfnKind::moe;
    moe_.gated = dense_.gated;
    moe_.has_bias = family_.family == "gpt-oss";
    moe_.top_k =
        config_.required({"num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k",
                          "moe_top_k", "num_selected_experts", "ffn_config/moe_top_k"});
    config_.find({"experts_per_token"});  // gpt-oss repeats it
    moe_.width = config_.integer({"moe_intermediate_size"}, width);
    moe_.expert_dim = config_.integer({"moe_latent_size", "routed_expert_hidden_size"}, 0);
    read_shared(width);
    if (config_.flag({"use_residual"},
                     false)) {  // Arctic: a dense path as wide as the hidden state
      moe_.residual_width = hidden;
    }
    RouterSpec& router = moe_.router;
    router.kind = family_.router;
    router.has_bias = family_.router_bias || config_.flag({"use_routing_bias"}, false);
    if (config_.text({"scoring_func"}, "") == "sigmoid" &&
        router.kind == RouterKind::softmax_top_k) {
      router.kind = router.has_bias ? RouterKind::sigmoid_bias : RouterKind::sigmoid_top_k;
    }
    const std::string method = config_.text({"topk_method"}, "");
    const std::int64_t groups = config_.integer({"n_group", "num_expert_group"}, 1);
    const std::int64_t chosen = config_.integer({"topk_group"}, 1);
    if (method != "greedy" && groups > 1) {
      router.groups = groups;
      router.groups_chosen = chosen;
    }
  }

  void read_shared(std::int64_t width) {
    const std::int64_t own_width =
        config_.integer({"shared_expert_intermediate_size", "share_expert_dim",
                         "shared_intermediate_size", "moe_shared_expert_intermediate_size"},
                        0);
    const std::int64_t count = config_.integer(
        {"n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"},
        own_width > 0 || is_llama_4() ? 1 : 0);
    if (count == 0 || (family_.family == "hunyuan" && !config_.flag({"use_mixed_mlp_moe"}, true))) {
      return;
    }
    moe_.shared_experts = count;
    // Llama 4 and Hunyuan give a shared expert the width of intermediate_size.
    moe_.shared_width = own_width > 0                                 ? own_width
                        : is_llama_4() || family_.family == "hunyuan" ? width
                                                                      : moe_.width;
    moe_.shared_gate = family_.family == "qwen";
  }

  bool is_llama_4() const { return family_.model_type.starts_with("llama4"); }

  void read_pattern() {
    mlp_types_ = config_.texts({"mlp_layer_types"});
    if (mlp_types_.size() < static_cast<std::size_t>(num_layers_)) {
      mlp_types_.clear();
    }
    num_hash_layers_ = config_.integer({"num_hash_layers"}, 0);
    first_dense_ = config_.integer({"first_k_dense_replace", "moe_layer_num_skipped"}, 0);
    const Json* frequency = config_.find({"moe_layer_freq"});
    if (frequency != nullptr && frequency->is_array()) {
      flags_ = config_.integers({"moe_layer_freq"});
    } else {
      every_ = config_.integer({"moe_layer_freq"}, 1);
    }
    mlp_only_ = config_.integers({"mlp_only_layers"});
    enumerated_ = config_.integers({"moe_layers_enum", "moe_layers"});
    // Every k-th layer, the last of each k.
    last_of_ = config_.integer({"decoder_sparse_step", "interleave_moe_layer_step",
                                "moe_layer_interval", "moe_layer_frequency"},
                               1);
    start_ = config_.integer({"moe_layer_start_index"}, 0);
    end_ = config_.integer({"moe_layer_end_index"}, num_layers_ - 1);
    period_ = std::max<std::int64_t>(1, config_.integer({"expert_layer_period"}, 1));
    offset_ = config_.integer({"expert_layer_offset"}, 0);
    every_ = std::max<std::int64_t>(1, every_);
    last_of_ = std::max<std::int64_t>(1, last_of_);
  }

  bool has_experts(std::int64_t i) const {
    const auto at = static_cast<std::size_t>(i);
    if (!mlp_types_.empty()) {
      return mlp_types_[at] != "dense";
    }
    if (!enumerated_.empty()) {
      return std::find(enumerated_.begin(), enumerated_.end(), i) != enumerated_.end();
    }
    if (!flags_.empty()) {
      return at < flags_.size() && flags_[at] != 0;
    }
    return i >= first_dense_ && i % every_ == 0 && (i + 1) % last_of_ == 0 && i >= start_ &&
           i <= end_ && i % period_ == offset_ % period_ &&
           std::find(mlp_only_.begin(), mlp_only_.end(), i) == mlp_only_.end();
  }

  HfConfigReader& config_;
  const HfFamily& family_;
  std::int64_t num_layers_;
  FfnSpec dense_;
  FfnSpec moe_;
  std::vector<std::string> mlp_types_;
  std::vector<std::int64_t> flags_;
  std::vector<std::int64_t> mlp_only_;
  std::vector<std::int64_t> enumerated_;
  std::int64_t num_hash_layers_ = 0;
  std::int64_t first_dense_ = 0;
  std::int64_t every_ = 1;
  std::int64_t last_of_ = 1;
  std::int64_t start_ = 0;
  std::int64_t end_ = 0;
  std::int64_t period_ = 1;
  std::int64_t offset_ = 0;
};

/// Nemotron-H: one sublayer a layer, M Mamba-2, * attention, E experts, - dense.
std::vector<LayerClass> nemotron_layers(HfConfigReader& config, const HfFamily& family,
                                        std::int64_t hidden) {
  std::string pattern = config.text({"hybrid_override_pattern"}, "");
  for (const std::string& type : config.texts({"layers_block_type"})) {
    pattern += type == "mamba" || type == "linear_attention"     ? 'M'
               : type == "attention" || type == "full_attention" ? '*'
               : type == "moe"                                   ? 'E'
                                                                 : '-';
  }
  config.find({"num_hidden_layers"});
  if (pattern.empty() || pattern.size() > kMaxLayers) {
    config.problem("hybrid_override_pattern", "is missing or too long",
                   "allowed: one of M, *, E, - per layer");
    return {};
  }
  const auto layers = static_cast<std::int64_t>(pattern.size());
  const std::vector<HfMixer> mixers = hf_mixers(config, family, hidden, layers);
  FeedForwards ffns(config, family, hidden, layers);
  AttentionSpec mamba;
  mamba.kind = AttentionKind::state_space;
  mamba.recurrence = Recurrence::mamba2;
  mamba.heads = config.required({"mamba_num_heads"});
  mamba.head_dim = config.required({"mamba_head_dim"});
  mamba.state_dim = config.required({"ssm_state_size"});
  mamba.state_groups = config.integer({"n_groups"}, 1);
  mamba.conv_width = config.integer({"conv_kernel"}, 4);
  config.find({"expand", "use_conv_bias", "mamba_proj_bias", "mamba_hidden_act"});
  std::vector<LayerClass> result;
  for (std::int64_t i = 0; i < layers; ++i) {
    LayerClass layer;
    layer.norms = 1;
    layer.attention.kind = AttentionKind::none;
    layer.ffn.kind = FfnKind::none;
    switch (pattern[static_cast<std::size_t>(i)]) {
      case 'M':
        layer.name = "mamba none";
        layer.attention = mamba;
        break;
      case '*':
        layer.name = "attention none";
        layer.attention = mixers[static_cast<std::size_t>(i)].spec;
        break;
      case 'E':
      case '-':
        layer.ffn = ffns.of(i).first;
        layer.name = layer.ffn.kind == FfnKind::moe ? "none moe" : "none dense";
        break;
      default:
        config.problem("hybrid_override_pattern",
                       std::string("\"") + pattern[static_cast<std::size_t>(i)] + "\" is no layer",
                       "allowed: M, *, E, -");
        return {};
    }
    result.push_back(std::move(layer));
  }
  return result;
}

}  // namespace

std::vector<LayerClass> hf_layers(HfConfigReader& config, const HfFamily& family,
                                  std::int64_t hidden) {
  if (family.model_type == "nemotron_h") {
    return nemotron_layers(config, family, hidden);
  }
  const std::int64_t layers =
      config.required({"num_hidden_layers", "n_layers", "n_layer", "num_layers"}, kMaxLayers);
  const std::vector<HfMixer> mixers = hf_mixers(config, family, hidden, layers);
  FeedForwards ffns(config, family, hidden, layers);
  // Arctic's dense path has a norm of its own; Kimi-K3's attention residuals have two vectors each.
  const std::int64_t extra_norms = (config.flag({"parallel_attn_mlp_res"}, false) ? 1 : 0) +
                                   (config.has({"attn_res_block_size"}) ? 4 : 0);
  std::vector<LayerClass> result;
  for (std::int64_t i = 0; i < layers; ++i) {
    LayerClass layer;
    const HfMixer& mixer = mixers[static_cast<std::size_t>(i)];
    const auto [ffn, ffn_word] = ffns.of(i);
    layer.name = mixer.word + " " + ffn_word;
    layer.norms = family.norms + extra_norms;
    layer.attention = mixer.spec;
    layer.ffn = ffn;
    result.push_back(std::move(layer));
  }
  return result;
}

}  // namespace moesim

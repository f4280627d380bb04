// SPDX-License-Identifier: Apache-2.0
// Token mixers of a configured model: softmax, windowed, latent, compressed, linear, state-space.
// Sources: the modelling code of each family in transformers (src/transformers/models/<type>), or
// published beside the weights (Step-3, Hunyuan-Large, MiniMax-M1).
#include <algorithm>
#include <set>

#include "sim/input/hf_config_layers.h"

namespace moesim {
namespace {

/// Token mixers of every layer.
class Mixers {
 public:
  Mixers(HfConfigReader& config, const HfFamily& family, std::int64_t hidden, std::int64_t layers)
      : config_(config), family_(family), hidden_(hidden), num_layers_(layers) {
    heads_ = config.required({"num_attention_heads", "n_heads", "n_head", "num_heads"});
    is_mla_ = config.integer({"kv_lora_rank"}, 0) > 0;
    layer_types_ = config.texts({"layer_types"});
    if (!layer_types_.empty() && layer_types_.size() != static_cast<std::size_t>(num_layers_)) {
      config.problem("layer_types",
                     "has " + std::to_string(layer_types_.size()) + " entries for " +
                         std::to_string(num_layers_) + " layers",
                     "allowed: one entry per layer");
      layer_types_.clear();
    }
    read_softmax();
    read_windows();
    read_recurrent();
    read_compressed();
  }

  /// The mixer of layer `i` and its word in the layer's name.
  std::pair<AttentionSpec, std::string> of(std::int64_t i) {
    if (family_.family == "jamba") {
      const bool is_attention = i % attention_period_ == attention_offset_ % attention_period_;
      return is_attention ? std::pair{softmax_, "attention"} : std::pair{recurrent_, "mamba"};
    }
    if (!ratios_.empty()) {
      return compressed(i);
    }
    if (is_recurrent(i)) {
      return {recurrent_, recurrent_word_};
    }
    AttentionSpec spec = softmax_;
    if (shares_kv_every_ > 1 && i % shares_kv_every_ != 0) {
      spec.shares_kv = true;
      return {spec, "shared_kv"};
    }
    if (is_windowed(i)) {
      spec.window = window_;
      spec.window_is_chunk = is_chunked_;
      return {spec, is_chunked_ ? "chunked" : "window"};
    }
    return {spec, "full"};
  }

 private:
  void read_softmax() {
    AttentionSpec& a = softmax_;
    a.heads = heads_;
    if (is_mla_) {
      a.kind = AttentionKind::mla;
      a.kv_heads = heads_;
      config_.find({"num_key_value_heads"});  // equal to heads in these files, and without meaning
      config_.find({"head_dim"});             // likewise; the parts below say it
      config_.find({"qk_head_dim"});
      a.kv_lora_rank = config_.integer({"kv_lora_rank"}, 0);
      a.q_lora_rank = config_.integer({"q_lora_rank"}, 0);
      a.rope_dim = config_.integer({"qk_rope_head_dim"}, 0);
      a.nope_dim = config_.required({"qk_nope_head_dim"});
      a.value_dim = config_.required({"v_head_dim"});
    } else {
      a.kv_heads = config_.integer(
          {"num_key_value_heads", "num_attention_groups", "attn_config/kv_n_heads"}, heads_);
      const std::int64_t usual = heads_ > 0 ? hidden_ / heads_ : 0;
      a.head_dim = config_.integer({"head_dim", "attention_head_dim", "kv_channels"}, usual);
      a.value_dim = config_.integer({"v_head_dim"}, 0);
      a.q_lora_rank = config_.integer({"share_q_dim"}, 0);
    }
    const bool bias = config_.flag({"attention_bias", "use_bias"}, false);
    a.qkv_bias = config_.flag({"qkv_bias"}, family_.qkv_bias || bias);
    // GLM-4.5 and Qwen2 give the bias to q, k and v only.
    a.output_bias = bias && (family_.family == "gpt-oss" || family_.family == "phi" ||
                             family_.family == "llama");
    a.sinks = family_.family == "gpt-oss";
    const bool norm = config_.flag({"use_qk_norm"}, family_.qk_norm != QkNorm::none);
    a.qk_norm = norm && family_.family != "llama";  // Llama 4 normalises without weights
    a.qk_norm_is_wide = a.qk_norm && (family_.qk_norm == QkNorm::wide ||
                                      config_.text({"qk_norm_type"}, "") == "per_layer");
    config_.find({"qk_norm_type"});
    config_.find({"mla_use_nope"});  // positions without a rotation: the same shapes
    a.output_gate = config_.flag({"attn_output_gate", "mla_use_output_gate"},
                                 family_.model_type == "qwen3_next");
    if (config_.has({"index_topk"}) && is_mla_) {
      a.indexer =
          IndexerSpec{config_.required({"index_n_heads"}), config_.required({"index_head_dim"}),
                      config_.required({"index_topk"})};
    }
    shares_kv_every_ =
        config_.flag({"use_cla"}, false) ? config_.integer({"cla_share_factor"}, 1) : 1;
  }

  void read_windows() {
    const bool use = config_.flag({"use_sliding_window"}, true);
    const std::int64_t sliding = config_.integer({"sliding_window"}, 0);
    window_ = use ? sliding : 0;
    // Qwen slides from layer `max_window_layers` on, where it slides at all.
    window_from_ = use && family_.family == "qwen" ? config_.integer({"max_window_layers"}, 0) : 0;
    config_.find({"max_window_layers"});
    const std::int64_t context =
        config_.integer({"max_position_embeddings"}, 0, std::int64_t{1} << 30);
    if (window_ > 0 && context > 0 && window_ >= context) {
      config_.note("sliding_window covers the whole context and is left out");
      window_ = 0;
    }
    if (family_.family == "llama" && config_.has({"attention_chunk_size"})) {
      is_chunked_ = true;
      window_ = config_.integer({"attention_chunk_size"}, 0);
      without_rope_ = config_.integers({"no_rope_layers"});
      rope_interval_ = std::max<std::int64_t>(1, config_.integer({"no_rope_layer_interval"}, 4));
    }
  }

  bool is_windowed(std::int64_t i) const {
    if (window_ == 0 || i < window_from_) {
      return false;
    }
    if (is_chunked_ && layer_types_.empty()) {  // layers without rotary embedding see everything
      const auto at = static_cast<std::size_t>(i);
      return at < without_rope_.size() ? without_rope_[at] == 1 : (i + 1) % rope_interval_ != 0;
    }
    if (!layer_types_.empty()) {
      const std::string& type = layer_types_[static_cast<std::size_t>(i)];
      return type == "sliding_attention" || type == "chunked_attention";
    }
    return family_.family != "gpt-oss" || i % 2 == 0;  // gpt-oss alternates, window first
  }

  void read_recurrent() {
    AttentionSpec& r = recurrent_;
    if (config_.has({"linear_num_value_heads"})) {
      recurrent_word_ = "linear";
      r.kind = AttentionKind::linear;
      r.recurrence = Recurrence::gated_delta;
      r.heads = config_.required({"linear_num_value_heads"});
      r.kv_heads = config_.required({"linear_num_key_heads"});
      r.head_dim = config_.required({"linear_key_head_dim"});
      r.value_dim = config_.required({"linear_value_head_dim"});
      r.conv_width = config_.integer({"linear_conv_kernel_dim"}, 4);
      full_every_ = std::max<std::int64_t>(1, config_.integer({"full_attention_interval"}, 4));
    } else if (config_.has({"linear_attn_config/kda_layers"})) {
      recurrent_word_ = "linear";
      r.kind = AttentionKind::linear;
      r.recurrence = Recurrence::kimi_delta;
      r.heads = config_.required({"linear_attn_config/num_heads"});
      r.kv_heads = r.heads;
      r.head_dim = config_.required({"linear_attn_config/head_dim"});
      r.value_dim = r.head_dim;
      r.conv_width = config_.integer({"linear_attn_config/short_conv_kernel_size"}, 4);
      r.output_gate = config_.flag({"linear_attn_config/use_full_rank_gate"}, false);
      for (const std::int64_t layer : config_.integers({"linear_attn_config/kda_layers"})) {
        delta_layers_.insert(layer - 1);  // counted from 1
      }
    } else if (config_.has({"attn_type_list"}) || family_.model_type == "minimax") {
      recurrent_word_ = "lightning";
      r.kind = AttentionKind::linear;
      r.recurrence = Recurrence::lightning;
      r.heads = heads_;
      r.kv_heads = heads_;
      r.head_dim = softmax_.head_dim;
      r.value_dim = softmax_.head_dim;
      attention_flags_ = config_.integers({"attn_type_list"});  // 0: lightning, 1: softmax
    } else if (family_.family == "jamba") {
      r.kind = AttentionKind::state_space;
      r.recurrence = Recurrence::mamba1;
      r.inner_dim = config_.integer({"mamba_expand"}, 2) * hidden_;
      r.state_dim = config_.integer({"mamba_d_state"}, 16);
      r.conv_width = config_.integer({"mamba_d_conv"}, 4);
      const Json* rank = config_.find({"mamba_dt_rank"});
      r.dt_rank = rank != nullptr && rank->is_text()
                      ? (hidden_ + 15) / 16
                      : config_.integer({"mamba_dt_rank"}, (hidden_ + 15) / 16);
      attention_period_ = std::max<std::int64_t>(1, config_.integer({"attn_layer_period"}, 8));
      attention_offset_ = config_.integer({"attn_layer_offset"}, 4);
      config_.find({"mamba_conv_bias"});
      config_.find({"mamba_proj_bias"});
    }
  }

  bool is_recurrent(std::int64_t i) const {
    const auto at = static_cast<std::size_t>(i);
    if (recurrent_.recurrence == Recurrence::none) {
      return false;
    }
    if (!layer_types_.empty()) {
      return layer_types_[at] == "linear_attention";
    }
    if (!attention_flags_.empty()) {
      return at < attention_flags_.size() && attention_flags_[at] == 0;
    }
    if (recurrent_.recurrence == Recurrence::kimi_delta) {
      return delta_layers_.contains(i);
    }
    return recurrent_.recurrence == Recurrence::gated_delta && (i + 1) % full_every_ != 0;
  }

  void read_compressed() {
    if (family_.model_type != "deepseek_v4") {
      return;
    }
    ratios_ = config_.integers({"compress_ratios"});
    config_.find({"compress_rates"});
    config_.find({"compress_rope_theta"});
    for (const std::string& type : layer_types_) {
      if (ratios_.size() < layer_types_.size()) {
        ratios_.push_back(type == "compressed_sparse_attention"    ? 4
                          : type == "heavily_compressed_attention" ? 128
                                                                   : 0);
      }
    }
    if (ratios_.size() < static_cast<std::size_t>(num_layers_)) {
      config_.problem("compress_ratios", "does not name every layer",
                      "allowed: one entry per layer (0, 4 or 128), or layer_types");
      ratios_.assign(static_cast<std::size_t>(num_layers_), 0);
    }
    AttentionSpec& a = softmax_;
    a.kind = AttentionKind::compressed;
    a.kv_heads = 1;
    a.value_dim = 0;
    a.sinks = true;
    a.window = window_;
    a.q_lora_rank = config_.required({"q_lora_rank"});
    a.output_groups = config_.required({"o_groups"});
    a.output_rank = config_.required({"o_lora_rank"});
    indexer_ = IndexerSpec{config_.required({"index_n_heads"}),
                           config_.required({"index_head_dim"}), config_.required({"index_topk"})};
  }

  std::pair<AttentionSpec, std::string> compressed(std::int64_t i) const {
    AttentionSpec spec = softmax_;
    const std::int64_t ratio = ratios_[static_cast<std::size_t>(i)];
    spec.compression = std::max<std::int64_t>(1, ratio);
    if (ratio == 4) {  // overlapping windows of twice the stride, behind an indexer
      spec.compression_overlaps = true;
      spec.indexer = indexer_;
    }
    return {spec, ratio <= 1 ? "window" : ratio == 4 ? "csa" : "hca"};
  }

  HfConfigReader& config_;
  const HfFamily& family_;
  std::int64_t hidden_;
  std::int64_t num_layers_;
  std::int64_t heads_ = 0;
  bool is_mla_ = false;
  AttentionSpec softmax_;
  AttentionSpec recurrent_;
  std::string recurrent_word_;
  std::vector<std::string> layer_types_;
  std::int64_t window_ = 0;
  std::int64_t window_from_ = 0;
  bool is_chunked_ = false;
  std::vector<std::int64_t> without_rope_;
  std::int64_t rope_interval_ = 4;
  std::int64_t full_every_ = 4;
  std::set<std::int64_t> delta_layers_;
  std::vector<std::int64_t> attention_flags_;
  std::int64_t attention_period_ = 1;
  std::int64_t attention_offset_ = 0;
  std::int64_t shares_kv_every_ = 1;
  std::vector<std::int64_t> ratios_;
  IndexerSpec indexer_;
};

}  // namespace

std::vector<HfMixer> hf_mixers(HfConfigReader& config, const HfFamily& family, std::int64_t hidden,
                               std::int64_t layers) {
  Mixers mixers(config, family, hidden, layers);
  std::vector<HfMixer> result;
  for (std::int64_t i = 0; i < layers; ++i) {
    auto [spec, word] = mixers.of(i);
    result.push_back({std::move(spec), std::move(word)});
  }
  return result;
}

}  // namespace moesim

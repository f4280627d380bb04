// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/layer_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace moesim {
namespace {

constexpr double kActivationBytes = 2.0;  // bf16
constexpr double kNormPasses =
    4.0;  // fused residual add + norm: read x and residual, write residual and normed
constexpr double kChunk =
    64.0;  // chunk of chunked linear attention (Yang et al. 2024, arXiv:2406.06484)

/// Streams `values_per_token` bf16 values for each row.
TemplateOp stream_op(OpKind kind, double values_per_token, Rows rows = Rows::tokens,
                     double row_share = 1) {
  return {kind, rows, row_share, ElementwiseOp{Bytes(values_per_token * kActivationBytes), 1}};
}

TemplateOp gemm_op(OpKind kind, double n, double k, NumberFormat weights, Rows rows = Rows::tokens,
                   double row_share = 1) {
  return {kind, rows, row_share, GemmOp{0, n, k, weights}};
}

class AttentionOps {
 public:
  AttentionOps(LayerTemplate& out, const AttentionSpec& spec, const LayerContext& context)
      : out_(out),
        spec_(spec),
        scenario_(context.scenario),
        hidden_(context.hidden),
        tensor_(static_cast<double>(scenario_.ways.tensor)),
        weights_(weight_format(scenario_, TensorClass::attention)),
        kv_cache_(scenario_.spec.precision.kv_cache) {}

  void add() {
    switch (spec_.kind) {
      case AttentionKind::standard:
        add_standard();
        break;
      case AttentionKind::mla:
        add_latent();
        break;
      case AttentionKind::compressed:
        add_compressed();
        break;
      case AttentionKind::linear:
      case AttentionKind::state_space:
        add_recurrent();
        break;
      case AttentionKind::none:
        break;
    }
  }

 private:
  double heads() const { return std::max(1.0, static_cast<double>(spec_.heads) / tensor_); }
  double kv_heads() const {
    return std::max(1.0, static_cast<double>(spec_.kv_heads) / tensor_);
  }  // replicated beyond kv_heads

  /// Tokens that a query reads at most, 0 without a limit.
  double window() const {
    const double limit = visible_limit(spec_);
    return std::isfinite(limit) ? limit : 0.0;
  }

  void add_attention(Rows rows, Op op, double context_share = 1.0) {
    out_.before.push_back({OpKind::attention, rows, 1, std::move(op), context_share});
  }

  void project(double n, double k, Rows rows = Rows::tokens) {
    out_.before.push_back(gemm_op(OpKind::attention_projection, n, k, weights_, rows));
  }

  void add_standard() {
    const double dim = static_cast<double>(spec_.head_dim);
    const double value_dim =
        static_cast<double>(spec_.value_dim > 0 ? spec_.value_dim : spec_.head_dim);
    const double own_kv = spec_.shares_kv ? 0.0 : kv_heads() * (dim + value_dim);
    if (spec_.q_lora_rank > 0) {  // the down-projection is replicated on every tensor rank
      const double rank = static_cast<double>(spec_.q_lora_rank);
      project(rank + own_kv, hidden_);
      project(heads() * dim, rank);
    } else {
      project(heads() * dim * (spec_.output_gate ? 2.0 : 1.0) + own_kv, hidden_);
    }
    // Rotary embedding (with the optional head norms fused) and the write into the cache.
    out_.before.push_back(stream_op(OpKind::attention, 2.0 * (heads() * dim + own_kv)));
    AttentionDecodeOp decode;
    decode.heads = heads();
    decode.kv_heads = kv_heads();
    decode.head_dim = (dim + value_dim) / 2.0;
    decode.window = window();
    decode.kv_cache = kv_cache_;
    add_attention(Rows::decode_tokens, decode);
    AttentionPrefillOp prefill;
    prefill.heads = heads();
    prefill.kv_heads = kv_heads();
    prefill.head_dim = (dim + value_dim) / 2.0;
    prefill.window = window();
    prefill.kv_cache = kv_cache_;
    add_attention(Rows::prefill_tokens, prefill);
    project(hidden_, heads() * value_dim);
  }

  void add_latent() {
    const double nope = static_cast<double>(spec_.nope_dim);
    const double rope = static_cast<double>(spec_.rope_dim);
    const double value = static_cast<double>(spec_.value_dim);
    const double latent = static_cast<double>(spec_.kv_lora_rank);
    const double q_rank = static_cast<double>(spec_.q_lora_rank);
    const bool absorbed_prefill = scenario_.spec.runtime.mla_prefill_absorbed;
    // Down-projections are replicated on every tensor rank: the latent is not split by heads.
    if (q_rank > 0) {
      project(q_rank + latent + rope, hidden_);
      out_.before.push_back(stream_op(OpKind::norm, 2.0 * (q_rank + latent)));
      project(heads() * (nope + rope), q_rank);
    } else {
      project(heads() * (nope + rope) + latent + rope, hidden_);
      out_.before.push_back(stream_op(OpKind::norm, 2.0 * latent));
    }
    out_.before.push_back(stream_op(OpKind::attention, 2.0 * (heads() * rope + rope + latent)));
    if (spec_.indexer) {
      add_indexer();
    }

    const auto add_absorbed_projections = [&](Rows rows) {
      out_.before.push_back({OpKind::attention_projection, rows, 1,
                             BatchedGemmOp{heads(), 0, latent, nope, NumberFormat::bf16}});
      out_.before.push_back({OpKind::attention_projection, rows, 1,
                             BatchedGemmOp{heads(), 0, value, latent, NumberFormat::bf16}});
    };
    MlaDecodeOp decode;
    decode.heads = heads();
    decode.rope_dim = rope;
    decode.latent_dim = latent;
    decode.window = window();
    decode.kv_cache = kv_cache_;
    add_absorbed_projections(Rows::decode_tokens);
    add_attention(Rows::decode_tokens, decode);
    MlaPrefillOp prefill;
    prefill.heads = heads();
    prefill.nope_dim = nope;
    prefill.rope_dim = rope;
    prefill.value_dim = value;
    prefill.latent_dim = latent;
    prefill.absorbed = absorbed_prefill;
    prefill.window = window();
    prefill.kv_cache = kv_cache_;
    if (absorbed_prefill) {
      add_absorbed_projections(Rows::prefill_tokens);
    } else {
      project(heads() * (nope + value), latent,
              Rows::prefill_tokens);  // keys and values expanded from the latent
    }
    add_attention(Rows::prefill_tokens, prefill);
    project(hidden_, heads() * value);
  }

  /// DeepSeek-V3.2's indexer: a small MQA over the whole context picks the tokens that attention
  /// reads. Source: DeepSeek-V3.2-Exp technical report, section 2.1
  /// (https://github.com/deepseek-ai/DeepSeek-V3.2-Exp).
  void add_indexer() {
    const IndexerSpec& indexer = *spec_.indexer;
    const double width = static_cast<double>(indexer.heads * indexer.head_dim);
    const double rank = spec_.q_lora_rank > 0 ? static_cast<double>(spec_.q_lora_rank) : hidden_;
    project(width, rank);
    project(static_cast<double>(indexer.head_dim + indexer.heads), hidden_);
    add_indexer_scores(1.0);
  }

  /// Scores of every query against one indexer key per `ratio` tokens: half the FLOPs of an
  /// attention (no values), keys only: half its bytes.
  void add_indexer_scores(double ratio) {
    const IndexerSpec& indexer = *spec_.indexer;
    AttentionDecodeOp decode;
    decode.heads = static_cast<double>(indexer.heads) / 2.0;
    decode.kv_heads = 0.5;
    decode.head_dim = static_cast<double>(indexer.head_dim);
    decode.kv_cache = NumberFormat::fp8;
    out_.before.push_back({OpKind::attention, Rows::decode_tokens, 1, decode, 1.0 / ratio});
    AttentionPrefillOp prefill;
    prefill.heads = static_cast<double>(indexer.heads) / 2.0 / ratio;
    prefill.kv_heads = 0.5 / ratio;
    prefill.head_dim = static_cast<double>(indexer.head_dim);
    prefill.kv_cache = NumberFormat::fp8;
    out_.before.push_back({OpKind::attention, Rows::prefill_tokens, 1, prefill});
  }

  /// DeepSeek-V4's attention: every token stores one vector that is key and value of all heads,
  /// kept for a window, and one more per `compression` tokens for ever; an indexer may pick among
  /// those. Both parts are reads of one shared vector, as of an MLA latent without rotary part.
  /// Prompts meet 1 / compression of the entries: their heads are scaled, which keeps the FLOPs
  /// exact. Source: DeepSeek-V4 report, section 2.3.
  void add_compressed() {
    const double dim = static_cast<double>(spec_.head_dim);
    const double q_rank = static_cast<double>(spec_.q_lora_rank);
    const double ratio = static_cast<double>(spec_.compression);
    const double entries_wide = spec_.compression_overlaps ? 2.0 : 1.0;
    const double compressor = spec_.compression > 1 ? 2.0 * entries_wide * dim : 0.0;
    project(q_rank + dim + compressor, hidden_);  // queries, shared key-value, pooling: replicated
    out_.before.push_back(stream_op(OpKind::norm, 2.0 * (q_rank + dim) + compressor));
    project(heads() * dim, q_rank);
    out_.before.push_back(stream_op(OpKind::attention, 2.0 * (heads() + 1.0) * dim));
    add_shared_vector_attention(1.0, static_cast<double>(spec_.window.value_or(0)));
    if (spec_.compression > 1) {
      double limit = 0.0;
      if (spec_.indexer) {
        const double width = static_cast<double>(spec_.indexer->heads * spec_.indexer->head_dim);
        project(width, q_rank);
        project(static_cast<double>(spec_.indexer->heads) +
                    2.0 * entries_wide * static_cast<double>(spec_.indexer->head_dim),
                hidden_);
        add_indexer_scores(ratio);
        limit = static_cast<double>(spec_.indexer->top_k);
      }
      add_shared_vector_attention(ratio, limit);
    }
    const double group_ranks = std::max(1.0, static_cast<double>(spec_.output_groups) / tensor_) *
                               static_cast<double>(spec_.output_rank);
    const double groups = std::max(1.0, static_cast<double>(spec_.output_groups) / tensor_);
    out_.before.push_back({OpKind::attention_projection, Rows::tokens, 1,
                           BatchedGemmOp{groups, 0, static_cast<double>(spec_.output_rank),
                                         heads() * dim / groups, weights_}});
    project(hidden_, group_ranks);
  }

  /// Attention over one entry per `ratio` tokens, at most `limit` of them (0: all).
  void add_shared_vector_attention(double ratio, double limit) {
    MlaDecodeOp decode;
    decode.heads = heads();
    decode.rope_dim = 0;
    decode.latent_dim = static_cast<double>(spec_.head_dim);
    decode.window = limit;
    decode.kv_cache = kv_cache_;
    add_attention(Rows::decode_tokens, decode, 1.0 / ratio);
    MlaPrefillOp prefill;
    prefill.heads = heads() / ratio;
    prefill.nope_dim = static_cast<double>(spec_.head_dim);
    prefill.rope_dim = 0;
    prefill.value_dim = static_cast<double>(spec_.head_dim);
    prefill.latent_dim = static_cast<double>(spec_.head_dim);
    prefill.absorbed = true;
    prefill.window = limit * ratio;
    prefill.kv_cache = kv_cache_;
    add_attention(Rows::prefill_tokens, prefill);
  }

  /// Linear attention and state-space layers: projections, convolution, and a state that is read
  /// and written once per decoded token; prompts are processed in chunks, as a windowed attention
  /// of two chunks. An estimate: no such kernel is calibrated.
  void add_recurrent() {
    double key_width = static_cast<double>(spec_.kv_heads * spec_.head_dim) / tensor_;
    double value_width = static_cast<double>(spec_.heads * spec_.value_dim) / tensor_;
    double state = static_cast<double>(spec_.heads * spec_.head_dim * spec_.value_dim) / tensor_;
    double inputs = 2.0 * key_width + 2.0 * value_width;  // q, k, v and the output gate
    if (spec_.kind == AttentionKind::state_space) {
      value_width = static_cast<double>(spec_.inner_dim > 0 ? spec_.inner_dim
                                                            : spec_.heads * spec_.head_dim) /
                    tensor_;
      key_width = static_cast<double>(spec_.state_dim * spec_.state_groups);
      state = value_width * static_cast<double>(spec_.state_dim);
      inputs = 2.0 * value_width + 2.0 * key_width;
    }
    project(inputs, hidden_);
    out_.before.push_back(
        stream_op(OpKind::attention, 2.0 * (2.0 * key_width + value_width)));  // convolution
    // fp32 state: 4 bytes read and written = 4 bf16 values per element.
    out_.before.push_back(stream_op(OpKind::attention, 4.0 * state, Rows::decode_tokens));
    AttentionPrefillOp chunked;
    chunked.heads = std::max(1.0, heads());
    chunked.kv_heads = chunked.heads;
    chunked.head_dim = std::max(1.0, (key_width + value_width) / (2.0 * chunked.heads));
    chunked.window = 2.0 * kChunk;
    out_.before.push_back({OpKind::attention, Rows::prefill_tokens, 1, chunked});
    project(hidden_, value_width);
  }

  LayerTemplate& out_;
  const AttentionSpec& spec_;
  const Scenario& scenario_;
  double hidden_;
  double tensor_;
  NumberFormat weights_;
  NumberFormat kv_cache_;
};

/// A dense gated or plain feed-forward of `width` columns on this rank.
void add_dense(std::vector<TemplateOp>& out, OpKind kind, double hidden, double width, bool gated,
               NumberFormat weights, double row_share) {
  out.push_back(
      gemm_op(kind, (gated ? 2.0 : 1.0) * width, hidden, weights, Rows::tokens, row_share));
  out.push_back(stream_op(kind, (gated ? 3.0 : 2.0) * width, Rows::tokens, row_share));
  out.push_back(gemm_op(kind, hidden, width, weights, Rows::tokens, row_share));
}

void add_experts(LayerTemplate& out, const FfnSpec& ffn, const LayerContext& context) {
  const Scenario& scenario = context.scenario;
  const ParallelWays& ways = scenario.ways;
  const bool has_exchange = ways.data > 1;
  const double tensor = static_cast<double>(ways.tensor);
  // With an exchange a rank owns tokens / tensor; without, every rank has every token and the
  // shared experts are split instead.
  const double share = has_exchange ? 1.0 / tensor : 1.0;
  const double split = has_exchange ? 1.0 : tensor;
  const double hidden = context.hidden;

  out.before.push_back(gemm_op(OpKind::router, static_cast<double>(ffn.experts), hidden,
                               NumberFormat::bf16, Rows::tokens, share));
  out.before.push_back(
      {OpKind::router, Rows::tokens, share,
       RoutingOp{0, static_cast<double>(ffn.experts), static_cast<double>(ffn.top_k)}});

  if (ffn.expert_dim > 0) {  // tokens travel and are worked on in a narrower space
    const NumberFormat format = weight_format(scenario, TensorClass::shared_experts);
    const double narrow = static_cast<double>(ffn.expert_dim);
    out.before.push_back(
        gemm_op(OpKind::shared_experts, narrow, hidden, format, Rows::tokens, share));
    out.before.push_back(
        gemm_op(OpKind::shared_experts, hidden, narrow, format, Rows::tokens, share));
  }
  if (ffn.shared_experts > 0) {
    const double width = static_cast<double>(ffn.shared_experts * ffn.shared_width) / split;
    add_dense(out.shared, OpKind::shared_experts, hidden, width, ffn.gated,
              weight_format(scenario, TensorClass::shared_experts), share);
  }
  if (ffn.residual_width > 0) {
    add_dense(out.shared, OpKind::dense_ffn, hidden,
              static_cast<double>(ffn.residual_width) / split, ffn.gated,
              weight_format(scenario, TensorClass::dense_ffn), share);
  }

  double mean_width = static_cast<double>(ffn.width);
  if (!ffn.expert_sizes.empty()) {
    double total = 0;
    for (const ExpertSize& size : ffn.expert_sizes) {
      total += static_cast<double>(size.count * size.width);
    }
    mean_width = total / static_cast<double>(ffn.experts);
  }
  TemplateExperts experts;
  experts.prototype.hidden = ffn.expert_dim > 0 ? static_cast<double>(ffn.expert_dim) : hidden;
  experts.prototype.width = mean_width;
  experts.prototype.top_k = static_cast<double>(ffn.top_k);
  experts.prototype.experts = static_cast<double>(ffn.experts);
  experts.prototype.tensor_ways = static_cast<double>(ways.expert_tensor);
  experts.prototype.expert_ways = static_cast<double>(ways.expert);
  experts.prototype.gated = ffn.gated;
  experts.prototype.weights = expert_format(scenario);
  experts.prototype.cold_weights =
      scenario.spec.precision.cold_experts.value_or(experts.prototype.weights);
  experts.has_exchange = has_exchange;
  experts.tokens_share = share;
  const bool fp8_experts = experts.prototype.weights == NumberFormat::fp8_block ||
                           experts.prototype.weights == NumberFormat::fp8;
  experts.dispatch_format = scenario.spec.precision.dispatch.value_or(
      fp8_experts ? NumberFormat::fp8_block : NumberFormat::bf16);
  experts.combine_format = scenario.spec.precision.combine;
  experts.first_moe_layer = context.first_moe_layer;
  out.experts = experts;

  const Bytes token = Bytes(hidden * kActivationBytes);
  if (has_exchange && ways.expert_tensor > 1) {
    out.after_ffn.push_back({CollectiveOp::reduce_scatter, ways.expert_tensor,
                             token * static_cast<double>(ways.expert_tensor)});
  }
  if (has_exchange && ways.tensor > 1) {
    out.after_ffn.push_back({CollectiveOp::all_gather, ways.tensor, token});
  }
  if (!has_exchange) {
    out.after_ffn.push_back({CollectiveOp::all_reduce, ways.gpus, token});
  }
}

}  // namespace

NumberFormat weight_format(const Scenario& scenario, TensorClass tensors) {
  const PrecisionSpec& precision = scenario.spec.precision;
  const WeightFormats& published = scenario.model->weights;
  switch (tensors) {
    case TensorClass::attention:
      return precision.attention.value_or(precision.weights.value_or(published.attention));
    case TensorClass::dense_ffn:
      return precision.dense_ffn.value_or(precision.weights.value_or(published.dense_ffn));
    case TensorClass::shared_experts:
      return precision.shared_experts.value_or(
          precision.weights.value_or(published.shared_experts));
    case TensorClass::embeddings:
      return precision.embeddings.value_or(precision.weights.value_or(published.embeddings));
  }
  return published.attention;
}

NumberFormat expert_format(const Scenario& scenario) {
  const PrecisionSpec& precision = scenario.spec.precision;
  return precision.experts.value_or(
      precision.weights.value_or(scenario.model->weights.routed_experts));
}

double expert_bytes_per_element(const Scenario& scenario) {
  const PrecisionSpec& precision = scenario.spec.precision;
  const double hot = bytes_per_element(expert_format(scenario));
  const double cold = precision.cold_experts ? bytes_per_element(*precision.cold_experts) : hot;
  return hot + precision.cold_fraction * (cold - hot);
}

double visible_limit(const AttentionSpec& attention) {
  double limit = std::numeric_limits<double>::infinity();
  if (attention.window) {
    const double window = static_cast<double>(*attention.window);
    limit = attention.window_is_chunk ? window / 2.0
                                      : window;  // a query in a chunk sees half of it on average
  }
  if (attention.indexer) {
    limit = std::min(limit, static_cast<double>(attention.indexer->top_k));
  }
  return limit;
}

LayerTemplate layer_template(const LayerClass& layer, const LayerContext& context) {
  const Scenario& scenario = context.scenario;
  const ParallelWays& ways = scenario.ways;
  LayerTemplate out;
  out.name = layer.name;
  out.count = layer.count;
  if (layer.attention.kind != AttentionKind::none) {
    out.before.push_back(stream_op(OpKind::norm, kNormPasses * context.hidden));
    AttentionOps(out, layer.attention, context).add();
    const bool scatter = layer.ffn.kind == FfnKind::moe && ways.data > 1;
    if (ways.tensor > 1) {
      out.after_attention.push_back(
          {scatter ? CollectiveOp::reduce_scatter : CollectiveOp::all_reduce, ways.tensor,
           Bytes(context.hidden * kActivationBytes)});
    }
  }
  if (layer.ffn.kind == FfnKind::none) {
    return out;
  }
  const double norm_share = layer.ffn.kind == FfnKind::moe && ways.data > 1
                                ? 1.0 / static_cast<double>(ways.tensor)
                                : 1.0;
  out.before.push_back(
      stream_op(OpKind::norm, kNormPasses * context.hidden, Rows::tokens, norm_share));
  if (layer.ffn.kind == FfnKind::moe) {
    add_experts(out, layer.ffn, context);
  } else {
    add_dense(out.after, OpKind::dense_ffn, context.hidden,
              static_cast<double>(layer.ffn.width) / static_cast<double>(ways.tensor),
              layer.ffn.gated, weight_format(scenario, TensorClass::dense_ffn), 1.0);
    if (ways.tensor > 1) {
      out.after_ffn.push_back(
          {CollectiveOp::all_reduce, ways.tensor, Bytes(context.hidden * kActivationBytes)});
    }
  }
  return out;
}

}  // namespace moesim

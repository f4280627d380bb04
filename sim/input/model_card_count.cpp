// SPDX-License-Identifier: Apache-2.0
#include "sim/input/model_card_count.h"

#include <algorithm>
#include <cmath>

namespace moesim {
namespace {

double num(std::int64_t value) { return static_cast<double>(value); }

/// Weights of a feed-forward network of inner width `width` between vectors of `dim` elements.
double ffn_weights(double dim, double width, const FfnSpec& ffn) {
  const double in_matrices = ffn.gated ? 2.0 : 1.0;
  const double biases = ffn.has_bias ? in_matrices * width + dim : 0.0;
  return (in_matrices + 1.0) * dim * width + biases;
}

double standard_parameters(double hidden, const AttentionSpec& a) {
  const double q = num(a.heads * a.head_dim);
  const double k = num(a.kv_heads * a.head_dim);
  const double v = num(a.kv_heads * a.value_dim);
  const double out = num(a.heads * a.value_dim);
  const double rank = num(a.q_lora_rank);
  double sum = rank > 0.0 ? hidden * rank + rank + rank * q : hidden * q;
  sum += out * hidden + (a.output_bias ? hidden : 0.0);
  sum += a.output_gate ? hidden * out : 0.0;
  sum += a.sinks ? num(a.heads) : 0.0;
  if (!a.shares_kv) {
    sum += hidden * (k + v);
  }
  sum += a.qkv_bias ? q + (a.shares_kv ? 0.0 : k + v) : 0.0;
  if (a.qk_norm) {
    sum += a.qk_norm_is_wide ? q + k : 2.0 * num(a.head_dim);
  }
  return sum;
}

double mla_parameters(double hidden, const AttentionSpec& a) {
  const double q = num(a.heads * (a.nope_dim + a.rope_dim));
  const double rank = num(a.q_lora_rank);
  const double latent = num(a.kv_lora_rank);
  double sum = rank > 0.0 ? hidden * rank + rank + rank * q : hidden * q;
  sum += hidden * (latent + num(a.rope_dim)) + latent;        // down-projection and its norm
  sum += latent * num(a.heads * (a.nope_dim + a.value_dim));  // up-projection of keys, values
  sum += num(a.heads * a.value_dim) * hidden;
  sum += a.output_gate ? hidden * num(a.heads * a.value_dim) : 0.0;
  sum += a.qkv_bias ? rank + latent + num(a.rope_dim) : 0.0;
  return sum;
}

/// Learned pooling of `a.compression` tokens into one entry of `dim` elements.
double compressor_parameters(double hidden, double dim, const AttentionSpec& a) {
  const double channels = (a.compression_overlaps ? 2.0 : 1.0) * dim;
  return 2.0 * hidden * channels + num(a.compression) * channels + dim;
}

double compressed_parameters(double hidden, const AttentionSpec& a) {
  const double dim = num(a.head_dim);
  const double rank = num(a.q_lora_rank);
  double sum = hidden * rank + rank + rank * num(a.heads) * dim;  // queries through a low rank
  sum += hidden * dim + dim;                                      // the shared key-value, its norm
  sum += num(a.heads) * dim * num(a.output_rank);                 // each group of heads to its rank
  sum += num(a.output_groups * a.output_rank) * hidden;
  sum += a.sinks ? num(a.heads) : 0.0;
  sum += a.compression > 1 ? compressor_parameters(hidden, dim, a) : 0.0;
  return sum;
}

double indexer_parameters(double hidden, const AttentionSpec& a) {
  const double dim = num(a.indexer->head_dim);
  const double from = a.q_lora_rank > 0 ? num(a.q_lora_rank) : hidden;
  // queries from the query latent, one weight a head, and one key: compressed, or per token with a
  // LayerNorm
  const double key = a.kind == AttentionKind::compressed ? compressor_parameters(hidden, dim, a)
                                                         : hidden * dim + 2.0 * dim;
  return from * num(a.indexer->heads) * dim + hidden * num(a.indexer->heads) + key;
}

/// Mixing weights of one hyper-connection: reads, writes and mixes `streams` residual streams.
double hyper_connection_parameters(double hidden, double streams) {
  const double mixes = (2.0 + streams) * streams;
  return streams > 1.0 ? mixes * streams * hidden + mixes + 3.0 : 0.0;
}

double linear_parameters(double hidden, const AttentionSpec& a) {
  const double keys = num(a.kv_heads * a.head_dim);
  const double values = num(a.heads * a.value_dim);
  const double conv = num(a.conv_width) * (2.0 * keys + values);
  const double projections = hidden * (2.0 * keys + values) + values * hidden;
  switch (a.recurrence) {
    case Recurrence::gated_delta:
      // z gate, two scalars (decay, beta) a head, A_log and dt_bias, a norm over a head's values
      return projections + hidden * values + hidden * 2.0 * num(a.heads) + conv +
             2.0 * num(a.heads) + num(a.value_dim);
    case Recurrence::kimi_delta: {
      // A low-rank gate (rank head_dim) for the decay and, unless it is full, for the output; one
      // beta a head, A_log, dt_bias, a norm.
      const double low_rank = hidden * num(a.head_dim) + num(a.head_dim) * values;
      return projections + low_rank + (a.output_gate ? hidden * values : low_rank) +
             hidden * num(a.heads) + conv + num(a.heads) + values + num(a.value_dim);
    }
    case Recurrence::lightning:
      return projections + hidden * values + values;  // output gate and a norm over all values
    default:
      MOESIM_CHECK(false, "a checked card has a linear recurrence here");
  }
}

double state_space_parameters(double hidden, const AttentionSpec& a) {
  const double state = num(a.state_dim);
  if (a.recurrence == Recurrence::mamba1) {
    const double inner = num(a.inner_dim);
    const double rank = num(a.dt_rank);
    // in, convolution with bias, x -> (dt, B, C), dt up with bias, A, D, out, norms of dt, B, C
    return hidden * 2.0 * inner + inner * (num(a.conv_width) + 1.0) + inner * (rank + 2.0 * state) +
           rank * inner + inner + inner * state + inner + inner * hidden + rank + 2.0 * state;
  }
  const double inner = num(a.heads * a.head_dim);
  const double shared = 2.0 * num(a.state_groups) * state;  // B and C
  // in -> (z, x, B, C, dt), convolution with bias over (x, B, C), A, D and dt bias, norm, out
  return hidden * (2.0 * inner + shared + num(a.heads)) +
         (inner + shared) * (num(a.conv_width) + 1.0) + 3.0 * num(a.heads) + inner + inner * hidden;
}

/// Elements that one layer caches per token.
double cached_elements(const AttentionSpec& a) {
  double elements = 0.0;
  if (a.kind == AttentionKind::mla) {
    elements = num(a.kv_lora_rank + a.rope_dim);
  } else if (a.kind == AttentionKind::standard && !a.shares_kv) {
    elements = num(a.kv_heads * (a.head_dim + a.value_dim));
  } else if (a.kind == AttentionKind::compressed) {
    elements = num(a.head_dim);
  }
  return elements;
}

/// Elements of the state and the convolution tail of one recurrent layer.
double state_elements(const AttentionSpec& a) {
  const double taps = std::max(num(a.conv_width) - 1.0, 0.0);
  if (a.kind == AttentionKind::linear) {
    const double keys = num(a.kv_heads * a.head_dim);
    const double values = num(a.heads * a.value_dim);
    return values * num(a.head_dim) + taps * (2.0 * keys + values);
  }
  if (a.recurrence == Recurrence::mamba1) {
    return num(a.inner_dim) * (num(a.state_dim) + taps);
  }
  if (a.recurrence == Recurrence::mamba2) {
    const double inner = num(a.heads * a.head_dim);
    return inner * num(a.state_dim) + taps * (inner + 2.0 * num(a.state_groups * a.state_dim));
  }
  return 0.0;
}

}  // namespace

ParameterKinds& ParameterKinds::add(const ParameterKinds& other, double times) {
  attention += times * other.attention;
  router += times * other.router;
  routed_experts += times * other.routed_experts;
  shared_experts += times * other.shared_experts;
  dense_ffn += times * other.dense_ffn;
  norms += times * other.norms;
  active_routed += times * other.active_routed;
  return *this;
}

double attention_parameters(const ModelCard& card, const AttentionSpec& a) {
  const double hidden = num(card.hidden);
  double sum = 0.0;
  switch (a.kind) {
    case AttentionKind::standard:
      sum = standard_parameters(hidden, a);
      break;
    case AttentionKind::mla:
      sum = mla_parameters(hidden, a);
      break;
    case AttentionKind::compressed:
      sum = compressed_parameters(hidden, a);
      break;
    case AttentionKind::linear:
      sum = linear_parameters(hidden, a);
      break;
    case AttentionKind::state_space:
      sum = state_space_parameters(hidden, a);
      break;
    case AttentionKind::none:
      break;
  }
  sum += a.indexer ? indexer_parameters(hidden, a) : 0.0;
  return a.cross_attention ? 2.0 * sum : sum;
}

double expert_parameters(const ModelCard& card, const FfnSpec& ffn) {
  const double dim = num(ffn.expert_dim > 0 ? ffn.expert_dim : card.hidden);
  if (ffn.expert_sizes.empty()) {
    return ffn_weights(dim, num(ffn.width), ffn);
  }
  double sum = 0.0;
  for (const ExpertSize& size : ffn.expert_sizes) {
    sum += num(size.count) * ffn_weights(dim, num(size.width), ffn);
  }
  return sum / num(ffn.experts);
}

ParameterKinds count_layer(const ModelCard& card, const LayerClass& layer) {
  const double hidden = num(card.hidden);
  const FfnSpec& ffn = layer.ffn;
  ParameterKinds kinds;
  kinds.attention = attention_parameters(card, layer.attention);
  kinds.norms = num(layer.norms) * hidden * (card.norm_has_bias ? 2.0 : 1.0);
  const double sublayers = (layer.attention.kind != AttentionKind::none ? 1.0 : 0.0) +
                           (ffn.kind != FfnKind::none ? 1.0 : 0.0);
  kinds.norms += sublayers * hyper_connection_parameters(hidden, num(card.residual_streams));
  if (ffn.kind == FfnKind::dense) {
    kinds.dense_ffn = ffn_weights(hidden, num(ffn.width), ffn);
  }
  if (ffn.kind == FfnKind::moe) {
    const double expert = expert_parameters(card, ffn);
    kinds.routed_experts = num(ffn.experts) * expert;
    kinds.active_routed = num(ffn.top_k) * expert;
    kinds.shared_experts =
        num(ffn.shared_experts) * ffn_weights(hidden, num(ffn.shared_width), ffn);
    kinds.shared_experts += ffn.expert_dim > 0 ? 2.0 * hidden * num(ffn.expert_dim) : 0.0;
    kinds.shared_experts +=
        ffn.residual_width > 0 ? ffn_weights(hidden, num(ffn.residual_width), ffn) : 0.0;
    kinds.router = ffn.router.has_gate ? hidden * num(ffn.experts) : 0.0;
    kinds.router += ffn.router.has_bias ? num(ffn.experts) : 0.0;
    kinds.router += ffn.shared_gate ? hidden : 0.0;
    kinds.router += ffn.residual_mix ? 2.0 * hidden + 2.0 : 0.0;
  }
  return kinds;
}

double ParameterCount::total_in(CountConvention convention) const {
  switch (convention) {
    case CountConvention::with_embeddings:
      return total;
    case CountConvention::without_input_embedding:
      return output_embedding > 0.0 ? total - input_embedding : total;
    case CountConvention::without_embeddings:
      return total - input_embedding - output_embedding;
  }
  MOESIM_CHECK(false, "every convention has a total");
}

double ParameterCount::active_in(CountConvention convention) const {
  return total_in(convention) - kinds.routed_experts + kinds.active_routed;
}

ParameterCount count_parameters(const ModelCard& card) {
  ParameterCount result;
  const double norm = num(card.hidden) * (card.norm_has_bias ? 2.0 : 1.0);
  for (const bool encoder : {true, false}) {
    for (const LayerClass& layer : encoder ? card.encoder_layers : card.layers) {
      const ParameterKinds kinds = count_layer(card, layer);
      result.classes.push_back({layer.name, encoder, layer.count, kinds});
      result.kinds.add(kinds, num(layer.count));
    }
  }
  if (card.has_final_norm) {
    result.kinds.norms += norm * (card.encoder_layers.empty() ? 1.0 : 2.0);
  }
  if (card.residual_streams > 1) {  // collapses the streams before the final norm
    const double streams = num(card.residual_streams);
    result.kinds.norms += streams * streams * num(card.hidden) + streams + 1.0;
  }
  const double table = num(card.vocabulary) * num(card.hidden);
  result.input_embedding = table + num(card.learned_positions) * num(card.hidden);
  result.output_embedding = card.tied_embeddings ? 0.0 : table;
  if (card.mtp) {
    const double hidden = num(card.hidden);
    result.mtp =
        num(card.mtp->depth) * (count_layer(card, card.mtp->layer).total() + 2.0 * hidden * hidden +
                                3.0 * norm + (card.mtp->own_embeddings ? 2.0 * table : 0.0));
  }
  result.total = result.kinds.total() + result.input_embedding + result.output_embedding;
  result.active_with_both_embeddings = result.active_in(CountConvention::with_embeddings);
  result.active_without_input_embedding =
      result.active_in(CountConvention::without_input_embedding);
  result.active_without_embeddings = result.active_in(CountConvention::without_embeddings);
  return result;
}

Bytes KvCacheSize::at(double context, double encoder_tokens) const {
  Bytes sum = state + per_token * context + per_encoder_token * encoder_tokens;
  for (const Windowed& layer : windowed) {
    sum += layer.per_token * std::min(context, num(layer.window));
  }
  return sum;
}

namespace {

void add_windowed(KvCacheSize& size, std::int64_t window, Bytes bytes) {
  auto at = std::lower_bound(
      size.windowed.begin(), size.windowed.end(), window,
      [](const KvCacheSize::Windowed& w, std::int64_t value) { return w.window < value; });
  if (at == size.windowed.end() || at->window != window) {
    at = size.windowed.insert(at, {window, Bytes(0)});
  }
  at->per_token += bytes;
}

}  // namespace

KvCacheSize kv_cache_size(const ModelCard& card, double bytes_per_element,
                          double state_bytes_per_element) {
  KvCacheSize size;
  for (const LayerClass& layer : card.layers) {
    const AttentionSpec& a = layer.attention;
    const double times = num(layer.count);
    const Bytes entry(times * cached_elements(a) * bytes_per_element);
    const Bytes index_key(a.indexer ? times * num(a.indexer->head_dim) *
                                          moesim::bytes_per_element(NumberFormat::fp8)
                                    : 0.0);
    size.state += Bytes(times * state_elements(a) * state_bytes_per_element);
    size.per_encoder_token += a.cross_attention ? entry : Bytes(0);
    if (a.kind == AttentionKind::compressed) {
      add_windowed(size, a.window.value_or(1), entry);
      if (a.compression > 1) {
        size.per_token += (entry + index_key) / num(a.compression);
      }
    } else if (a.window) {
      add_windowed(size, *a.window, entry + index_key);
    } else {
      size.per_token += entry + index_key;
    }
  }
  return size;
}

Bytes kv_bytes_per_token(const ModelCard& card, double bytes_per_element) {
  const KvCacheSize size = kv_cache_size(card, bytes_per_element);
  Bytes sum = size.per_token;
  for (const KvCacheSize::Windowed& layer : size.windowed) {
    sum += layer.per_token;
  }
  return sum;
}

bool CountCheck::agrees() const { return std::fabs(computed - published) <= allowed; }

std::vector<CountCheck> check_published_counts(const ModelCard& card) {
  const ParameterCount count = count_parameters(card);
  const PublishedCounts& published = card.published;
  const auto check = [](const char* what, const PrintedCount& printed, double computed) {
    return CountCheck{what, printed.value, computed,
                      std::max(0.02 * printed.value, 0.5 * printed.last_digit)};
  };
  std::vector<CountCheck> checks;
  if (published.total) {
    checks.push_back(check("total", *published.total,
                           count.total_in(published.total_convention) +
                               (published.total_includes_mtp ? count.mtp : 0.0)));
  }
  if (published.active) {
    checks.push_back(
        check("active", *published.active, count.active_in(published.active_convention)));
  }
  return checks;
}

}  // namespace moesim

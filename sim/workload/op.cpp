// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/op.h"

#include <algorithm>
#include <cmath>

namespace moesim {
namespace {

constexpr double kActivationBytes = 2.0;  // activations cross device memory in bf16

double tokens_bytes(double tokens, double width) { return tokens * width * kActivationBytes; }

OpWork work(const GemmOp& op) {
  return {Flops(2.0 * op.m * op.n * op.k),
          Bytes(op.n * op.k * bytes_per_element(op.weights) + tokens_bytes(op.m, op.k) +
                tokens_bytes(op.m, op.n)),
          compute_format(op.weights), op.m};
}

OpWork work(const MoeOp& op) {
  const double matrices = op.gated ? 3.0 : 2.0;
  const double width = op.width / op.tensor_ways;
  const double rows = op.load.assignments;
  // Each assignment reads its token, writes and reads the intermediate row (up and gate before the
  // activation), writes its output.
  const double activations = tokens_bytes(rows, 2.0 * op.hidden + (matrices + 1.0) * width);
  const double weights =
      ((op.load.active_experts - op.load.cold_experts) * bytes_per_element(op.weights) +
       op.load.cold_experts * bytes_per_element(op.cold_weights)) *
      matrices * op.hidden * width;
  return {Flops(2.0 * matrices * rows * op.hidden * width), Bytes(weights + activations),
          compute_format(op.weights), rows, rows};
}

OpWork work(const AttentionPrefillOp& op) {
  const double pairs = op.sequences * causal_pairs(op.new_tokens, op.cached_tokens, op.window);
  const double queries = op.sequences * op.new_tokens;
  const double seen = op.window > 0 ? std::min(op.cached_tokens, op.window) : op.cached_tokens;
  const double kv_row = 2.0 * op.kv_heads * op.head_dim;
  return {
      Flops(4.0 * pairs * op.heads * op.head_dim),
      Bytes(2.0 * tokens_bytes(queries, op.heads * op.head_dim) + tokens_bytes(queries, kv_row) +
            op.sequences * (seen + op.new_tokens) * kv_row * bytes_per_element(op.kv_cache)),
      NumberFormat::bf16, queries};
}

OpWork work(const AttentionDecodeOp& op) {
  const double queries = op.sequences * op.new_tokens;
  return {Flops(4.0 * queries * op.context * op.heads * op.head_dim),
          Bytes(op.sequences * op.context * 2.0 * op.kv_heads * op.head_dim *
                    bytes_per_element(op.kv_cache) +
                2.0 * tokens_bytes(queries, op.heads * op.head_dim)),
          NumberFormat::bf16, queries};
}

OpWork work(const MlaPrefillOp& op) {
  const double pairs = op.sequences * causal_pairs(op.new_tokens, op.cached_tokens, op.window);
  const double queries = op.sequences * op.new_tokens;
  const double context = op.sequences * (op.new_tokens + op.cached_tokens);
  const double latent_row = op.latent_dim + op.rope_dim;
  if (op.absorbed) {
    return {Flops(2.0 * pairs * op.heads * (2.0 * op.latent_dim + op.rope_dim)),
            Bytes(tokens_bytes(queries, op.heads * (latent_row + op.latent_dim)) +
                  context * latent_row * bytes_per_element(op.kv_cache)),
            NumberFormat::bf16, queries};
  }
  const double head = op.nope_dim + op.rope_dim + op.value_dim;
  return {Flops(2.0 * pairs * op.heads * head),
          Bytes(tokens_bytes(queries, op.heads * head) + tokens_bytes(context, op.heads * head)),
          NumberFormat::bf16, queries};
}

OpWork work(const MlaDecodeOp& op) {
  const double queries = op.sequences * op.new_tokens;
  const double latent_row = op.latent_dim + op.rope_dim;
  return {Flops(2.0 * queries * op.context * op.heads * (2.0 * op.latent_dim + op.rope_dim)),
          Bytes(op.sequences * op.context * latent_row * bytes_per_element(op.kv_cache) +
                tokens_bytes(queries, op.heads * (latent_row + op.latent_dim))),
          NumberFormat::bf16, queries};
}

OpWork work(const BatchedGemmOp& op) {
  return {Flops(2.0 * op.batch * op.m * op.n * op.k),
          Bytes(op.batch *
                (op.n * op.k * bytes_per_element(op.weights) + tokens_bytes(op.m, op.k + op.n))),
          compute_format(op.weights), op.m};
}

OpWork work(const ElementwiseOp& op) {
  return {Flops(0), op.bytes, NumberFormat::bf16, op.bytes.value()};
}

OpWork work(const RoutingOp& op) {
  // Scores in fp32 once, ids (int32) and weights (fp32) out.
  return {Flops(0), Bytes(op.tokens * (4.0 * op.experts + 8.0 * op.top_k)), NumberFormat::fp32,
          op.tokens};
}

}  // namespace

std::span<const Choice<OpFamily>> choices_of(OpFamily) {
  static constexpr Choice<OpFamily> kChoices[] = {
      {OpFamily::gemm, "gemm", "dense matrix products"},
      {OpFamily::grouped_gemm, "grouped_gemm",
       "routed experts: permute, grouped products, activation, un-permute"},
      {OpFamily::attention_prefill, "attention_prefill",
       "softmax attention over prompts (MHA, GQA, MQA)"},
      {OpFamily::attention_decode, "attention_decode",
       "softmax attention of single tokens over a cache"},
      {OpFamily::mla_prefill, "mla_prefill", "latent attention over prompts"},
      {OpFamily::mla_decode, "mla_decode", "latent attention of single tokens over a cache"},
      {OpFamily::batched_gemm, "batched_gemm", "per-head projections of latent attention"},
      {OpFamily::elementwise, "elementwise", "norms, residuals, rotary embedding, quantisation"},
      {OpFamily::routing, "routing", "expert scores to top-k selections"},
  };
  return kChoices;
}

ExpertLoad ExpertLoad::of(std::span<const std::int32_t> tokens) {
  constexpr std::int32_t kTile = 64;
  ExpertLoad load;
  for (const std::int32_t count : tokens) {
    load.assignments += count;
    load.active_experts += count > 0 ? 1 : 0;
    load.hottest = std::max(load.hottest, static_cast<double>(count));
    load.padded += (count + kTile - 1) / kTile * kTile;
  }
  return load;
}

OpFamily family_of(const Op& op) {
  static constexpr OpFamily kFamilies[] = {
      OpFamily::gemm,
      OpFamily::grouped_gemm,
      OpFamily::attention_prefill,
      OpFamily::attention_decode,
      OpFamily::mla_prefill,
      OpFamily::mla_decode,
      OpFamily::batched_gemm,
      OpFamily::elementwise,
      OpFamily::routing,
  };
  return kFamilies[op.index()];
}

OpWork work_of(const Op& op) {
  return std::visit([](const auto& shape) { return work(shape); }, op);
}

double causal_pairs(double new_tokens, double cached_tokens, double window) {
  // Query i (0-based) sees cached + i + 1 keys, at most `window`.
  if (window <= 0 || cached_tokens + new_tokens <= window) {
    return new_tokens * cached_tokens + new_tokens * (new_tokens + 1.0) / 2.0;
  }
  const double growing =
      std::max(0.0, window - cached_tokens);  // queries whose view is not yet cut
  return growing * cached_tokens + growing * (growing + 1.0) / 2.0 +
         (new_tokens - growing) * window;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// One piece of work on one GPU: its shape, and from the shape its exact FLOPs and bytes. No time is
// known here.
//
// Shapes are those of one rank (after tensor and expert parallelism). A multiply-add counts two
// FLOPs. Bytes are the necessary traffic to device memory when nothing is re-read: every weight and
// cache element once, every activation in and out once. Counts are doubles because expected values
// (a rank's mean number of tokens) are as welcome as real ones.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "sim/base/number_format.h"
#include "sim/base/units.h"

namespace moesim {

/// Ops whose costs share one physical form and one set of efficiencies; errors within a family are
/// correlated.
enum class OpFamily : std::uint8_t {
  gemm,
  grouped_gemm,  ///< fused MoE: permute, both grouped GEMMs, activation, un-permute
  attention_prefill,
  attention_decode,
  mla_prefill,
  mla_decode,
  batched_gemm,  ///< MLA's per-head projections
  elementwise,   ///< norms, residuals, rotary embedding, quantisation
  routing,       ///< scores to top-k selections
};
inline constexpr std::size_t kNumOpFamilies = 9;
std::span<const Choice<OpFamily>> choices_of(OpFamily);

/// C[m,n] = A[m,k] x W[n,k]^T with weights stored as `weights`.
struct GemmOp {
  double m = 0;  ///< tokens
  double n = 0;  ///< outputs
  double k = 0;  ///< inputs
  NumberFormat weights = NumberFormat::bf16;
  bool operator==(const GemmOp&) const = default;
};

/// What the routing does to one rank's experts. Only sums enter the cost: the counts need not be
/// kept.
struct ExpertLoad {
  double assignments = 0;     ///< (token, expert) pairs computed on the rank
  double active_experts = 0;  ///< its experts with at least one token
  double cold_experts = 0;    ///< of these, stored in the op's `cold_weights`
  double hottest = 0;         ///< tokens of its busiest expert
  double padded =
      0;  ///< assignments with each expert's count rounded up to a tile of 64 rows (0: unknown)

  /// From the tokens of each local expert, `tokens` [experts of the rank].
  static ExpertLoad of(std::span<const std::int32_t> tokens);
  bool operator==(const ExpertLoad&) const = default;
};

/// How tokens reach the experts of a rank.
enum class ExpertLayout : std::uint8_t {
  resident,               ///< every token of the group is on the rank, which works on its own share
  dispatched,             ///< only selected tokens arrive, the rows of an expert in one run
  dispatched_low_latency  ///< only selected tokens arrive, into a block of fixed size an expert
};

/// The routed experts of one layer on one rank: two (plain) or three (gated) matrices of hidden x
/// width per expert.
struct MoeOp {
  double tokens = 0;  ///< tokens entering the expert-parallel group, all ranks together
  double hidden = 0;
  double width = 0;  ///< of a whole expert, before expert-tensor parallelism
  double top_k = 0;
  double experts = 0;      ///< of the whole model
  double tensor_ways = 1;  ///< each expert's width is split so many ways
  double expert_ways = 1;  ///< experts are spread over so many ranks
  bool gated = true;
  NumberFormat weights = NumberFormat::bf16;
  NumberFormat cold_weights = NumberFormat::bf16;  ///< storage only: they compute as `weights`
  ExpertLayout layout = ExpertLayout::resident;
  double arriving = 0;  ///< distinct tokens that a dispatch brings to the rank; 0 if resident
  ExpertLoad load;
  bool operator==(const MoeOp&) const = default;
};

/// Softmax attention of `sequences` sequences; heads are those of the rank.
struct AttentionPrefillOp {
  double sequences = 0;
  double new_tokens = 0;     ///< a sequence
  double cached_tokens = 0;  ///< a sequence, already in the cache
  double heads = 0;
  double kv_heads = 0;
  double head_dim = 0;
  double window = 0;  ///< 0: full causal attention
  NumberFormat kv_cache = NumberFormat::bf16;
  bool operator==(const AttentionPrefillOp&) const = default;
};

struct AttentionDecodeOp {
  double sequences = 0;
  double new_tokens = 1;  ///< a sequence: 1, or 1 + draft tokens to verify
  double context = 0;  ///< tokens that one query sees, mean over sequences, window already applied
  double heads = 0;
  double kv_heads = 0;
  double head_dim = 0;
  double window = 0;  ///< 0: none; kept for the cost model, `context` already respects it
  NumberFormat kv_cache = NumberFormat::bf16;
  bool operator==(const AttentionDecodeOp&) const = default;
};

/// Multi-head latent attention, the kernel without its projections.
/// expanded: 2*heads*(nope + rope + value) FLOPs a query-key pair; absorbed: 2*heads*(2*latent +
/// rope), PHYSICS: DeepSeek-V3 320 / 1088.
struct MlaPrefillOp {
  double sequences = 0;
  double new_tokens = 0;
  double cached_tokens = 0;
  double heads = 0;
  double nope_dim = 128;
  double rope_dim = 64;
  double value_dim = 128;
  double latent_dim = 512;
  bool absorbed = false;
  double window = 0;  ///< tokens a query reads at most (sparse attention behind an indexer); 0: all
  NumberFormat kv_cache = NumberFormat::bf16;
  bool operator==(const MlaPrefillOp&) const = default;
};

struct MlaDecodeOp {
  double sequences = 0;
  double new_tokens = 1;
  double context = 0;  ///< tokens that one query reads, `window` already applied
  double heads = 0;
  double rope_dim = 64;
  double latent_dim = 512;
  double window = 0;
  NumberFormat kv_cache = NumberFormat::bf16;
  bool operator==(const MlaDecodeOp&) const = default;
};

/// `batch` independent products [m,k] x [k,n] (MLA's absorbed projections, one a head).
struct BatchedGemmOp {
  double batch = 0;
  double m = 0;
  double n = 0;
  double k = 0;
  NumberFormat weights = NumberFormat::bf16;
  bool operator==(const BatchedGemmOp&) const = default;
};

/// Anything that only streams memory.
struct ElementwiseOp {
  Bytes bytes;
  double kernels = 1;  ///< launches that share these bytes
  bool operator==(const ElementwiseOp&) const = default;
};

/// Scores [tokens, experts] to top-k ids and weights.
struct RoutingOp {
  double tokens = 0;
  double experts = 0;
  double top_k = 0;
  bool operator==(const RoutingOp&) const = default;
};

using Op = std::variant<GemmOp, MoeOp, AttentionPrefillOp, AttentionDecodeOp, MlaPrefillOp,
                        MlaDecodeOp, BatchedGemmOp, ElementwiseOp, RoutingOp>;

/// What an op needs of a machine.
struct OpWork {
  Flops flops;
  Bytes bytes;
  NumberFormat format = NumberFormat::bf16;  ///< in which the FLOPs run
  double rows = 0;         ///< tokens or assignments; 0: nothing to do, no kernel runs
  double assignments = 0;  ///< rows that are permuted one by one (fused MoE), 0 for other ops
};

OpFamily family_of(const Op& op);
OpWork work_of(const Op& op);

/// Query-key pairs of causal attention: `new_tokens` queries after `cached_tokens`, each seeing at
/// most `window` (0: all).
double causal_pairs(double new_tokens, double cached_tokens, double window);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// A model split over GPUs, compiled once: the ops of one rank, layer class by layer class, with
// shapes that follow the batch.
//
// A step of any batch is evaluated from the template without building a graph (cost/step_cost); the
// graph of every rank and layer is expanded from it only for event fidelity (engine/step_graph).
// One MoE layer of one rank, left to right:
//
//     attention ops, router | dispatch | routed experts | combine        shared experts run beside
//     the exchange
//
// With one attention replica (data = 1) every rank holds all tokens, so the exchange is a closing
// all-reduce; with several, each rank sends its own tokens to the experts' ranks and gets them
// back. Tensor-parallel attention then ends in a reduce-scatter, so that a rank sends tokens /
// tensor of its replica's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/input/scenario.h"
#include "sim/workload/op.h"

namespace moesim {

/// What one attention replica (`tensor` GPUs) works on in one step; all replicas alike. Means may
/// be fractions.
struct StepBatch {
  double decode_sequences = 0;
  double decode_new_tokens = 1;  ///< a sequence: 1 + draft tokens
  double decode_context = 0;     ///< tokens cached a sequence, mean
  double prefill_sequences = 0;
  double prefill_new_tokens = 0;     ///< a sequence
  double prefill_cached_tokens = 0;  ///< a sequence

  double tokens() const {
    return decode_sequences * decode_new_tokens + prefill_sequences * prefill_new_tokens;
  }
  /// Rows of the LM head: every decode token, the last token of each prompt.
  double logit_rows() const { return decode_sequences * decode_new_tokens + prefill_sequences; }
  /// The same with `1 / parts` of the sequences.
  StepBatch split(double parts) const;
};

/// The batch of one replica that the scenario's workload asks for.
StepBatch batch_of(const Scenario& scenario);

/// What an op is for: the rows of the breakdown.
enum class OpKind : std::uint8_t {
  embedding,
  norm,
  attention_projection,
  attention,
  router,
  dispatch,
  experts,
  combine,
  shared_experts,
  dense_ffn,
  tensor_sync,
  lm_head,
  host,
  expert_swap,
};
inline constexpr std::size_t kNumOpKinds = 14;
std::span<const Choice<OpKind>> choices_of(OpKind);

/// Which number of the batch sets an op's rows.
enum class Rows : std::uint8_t { tokens, decode_tokens, prefill_tokens, logits };

/// One compute op whose shape follows the batch.
struct TemplateOp {
  OpKind kind = OpKind::norm;
  Rows rows = Rows::tokens;
  double row_share = 1;      ///< the rank works on this share of its replica's rows
  Op prototype;              ///< batch-dependent members are filled by `bind`
  double context_share = 1;  ///< attention: cache entries per cached token (compressed attention)

  /// The op for `batch`; an op without rows is returned with zero rows.
  Op bind(const StepBatch& batch) const;
};

/// A collective among the tensor ranks, bytes in proportion to the replica's tokens.
struct TemplateSync {
  CollectiveOp op = CollectiveOp::all_reduce;
  std::int64_t ranks = 1;
  Bytes bytes_per_token;
};

/// The routed experts of a layer class.
struct TemplateExperts {
  MoeOp prototype;            ///< `tokens` and `load` are filled per step
  bool has_exchange = false;  ///< tokens travel to experts (several attention replicas)
  double tokens_share = 1;    ///< share of a replica's tokens that one rank sends
  NumberFormat dispatch_format = NumberFormat::bf16;
  NumberFormat combine_format = NumberFormat::bf16;
  std::int64_t first_moe_layer =
      0;  ///< index among the model's MoE layers of the class's first layer
};

/// `count` layers that cost the same, apart from their routing.
struct LayerTemplate {
  std::string name;
  std::int64_t count = 1;
  std::vector<TemplateOp> before;  ///< attention, norms, router: before tokens leave
  std::vector<TemplateSync> after_attention;
  std::vector<TemplateOp> shared;  ///< may run beside the exchange
  std::vector<TemplateOp> after;   ///< dense feed-forward (no experts in the class)
  std::vector<TemplateSync> after_ffn;
  std::optional<TemplateExperts> experts;
};

struct StepTemplate {
  std::vector<LayerTemplate> layers;
  std::vector<TemplateOp> first;  ///< embedding
  std::vector<TemplateOp> last;   ///< final norm, LM head
  ParallelWays ways;
  std::int64_t num_moe_layers = 0;
  std::int64_t experts = 0;  ///< routed experts of a MoE layer, 0 for a dense model
  std::int64_t top_k = 0;
  double hidden = 0;
};

StepTemplate compile_step(const Scenario& scenario);

}  // namespace moesim

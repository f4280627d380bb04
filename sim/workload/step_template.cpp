// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/step_template.h"

#include <algorithm>
#include <cmath>

#include "sim/workload/layer_ops.h"

namespace moesim {
namespace {

double rows_of(Rows rows, const StepBatch& batch) {
  switch (rows) {
    case Rows::tokens:
      return batch.tokens();
    case Rows::decode_tokens:
      return batch.decode_sequences * batch.decode_new_tokens;
    case Rows::prefill_tokens:
      return batch.prefill_sequences * batch.prefill_new_tokens;
    case Rows::logits:
      return batch.logit_rows();
  }
  return 0;
}

double limited(double context, double window) {
  return window > 0 ? std::min(context, window) : context;
}

/// Fills the batch-dependent members of each shape.
struct Binder {
  const StepBatch& batch;
  double rows;
  double context_share;

  void operator()(GemmOp& op) const { op.m = rows; }
  void operator()(MoeOp& op) const { op.tokens = rows; }
  void operator()(BatchedGemmOp& op) const { op.m = rows; }
  void operator()(ElementwiseOp& op) const { op.bytes *= rows; }
  void operator()(RoutingOp& op) const { op.tokens = rows; }
  void operator()(AttentionDecodeOp& op) const {
    op.sequences = rows > 0 ? batch.decode_sequences : 0;
    op.new_tokens = batch.decode_new_tokens;
    op.context = limited(batch.decode_context * context_share, op.window);
  }
  void operator()(MlaDecodeOp& op) const {
    op.sequences = rows > 0 ? batch.decode_sequences : 0;
    op.new_tokens = batch.decode_new_tokens;
    op.context = limited(batch.decode_context * context_share, op.window);
  }
  void operator()(AttentionPrefillOp& op) const { bind_prefill(op); }
  void operator()(MlaPrefillOp& op) const { bind_prefill(op); }

  template <class PrefillOp>
  void bind_prefill(PrefillOp& op) const {
    op.sequences = rows > 0 ? batch.prefill_sequences : 0;
    op.new_tokens = batch.prefill_new_tokens;
    op.cached_tokens = batch.prefill_cached_tokens * context_share;
  }
};

}  // namespace

std::span<const Choice<OpKind>> choices_of(OpKind) {
  static constexpr Choice<OpKind> kChoices[] = {
      {OpKind::embedding, "embedding", "token embeddings"},
      {OpKind::norm, "norm", "norms and residual sums"},
      {OpKind::attention_projection, "attention_projection",
       "query, key, value and output products"},
      {OpKind::attention, "attention", "attention over the cache, rotary embedding"},
      {OpKind::router, "router", "expert scores and top-k"},
      {OpKind::dispatch, "dispatch", "tokens to the experts' GPUs"},
      {OpKind::experts, "experts", "routed experts, on the busiest GPU of each layer"},
      {OpKind::combine, "combine", "expert outputs back to their tokens"},
      {OpKind::shared_experts, "shared_experts", "experts that every token passes"},
      {OpKind::dense_ffn, "dense_ffn", "feed-forward layers without experts"},
      {OpKind::tensor_sync, "tensor_sync", "collectives of tensor parallelism"},
      {OpKind::lm_head, "lm_head", "hidden state to vocabulary"},
      {OpKind::host, "host", "scheduling and sampling on the host"},
      {OpKind::expert_swap, "expert_swap", "GPUs wait for experts on their way from the host"},
  };
  return kChoices;
}

StepBatch StepBatch::split(double parts) const {
  StepBatch part = *this;
  part.decode_sequences /= parts;
  part.prefill_sequences /= parts;
  return part;
}

StepBatch batch_of(const Scenario& scenario) {
  const WorkloadSpec& workload = scenario.spec.workload;
  const double gpus_per_replica =
      static_cast<double>(scenario.ways.gpus) / static_cast<double>(scenario.ways.data);
  StepBatch batch;
  if (workload.phase != Phase::prefill) {
    batch.decode_sequences = workload.batch_per_gpu * gpus_per_replica;
    batch.decode_new_tokens = 1.0 + workload.draft_tokens;
    batch.decode_context = workload.context_tokens;
  }
  if (workload.phase != Phase::decode) {
    batch.prefill_sequences =
        (workload.phase == Phase::mixed ? workload.prefills_per_gpu : workload.batch_per_gpu) *
        gpus_per_replica;
    batch.prefill_new_tokens = workload.prompt_tokens;
    batch.prefill_cached_tokens = workload.cached_prompt_tokens;
  }
  return batch;
}

Op TemplateOp::bind(const StepBatch& batch) const {
  Op op = prototype;
  std::visit(Binder{batch, rows_of(rows, batch) * row_share, context_share}, op);
  return op;
}

StepTemplate compile_step(const Scenario& scenario) {
  const ModelCard& model = *scenario.model;
  StepTemplate step;
  step.ways = scenario.ways;
  step.hidden = static_cast<double>(model.hidden);
  for (const LayerClass& layer : model.layers) {
    const LayerContext context{scenario, step.hidden, step.num_moe_layers};
    step.layers.push_back(layer_template(layer, context));
    if (layer.ffn.kind == FfnKind::moe) {
      step.num_moe_layers += layer.count;
      step.experts = layer.ffn.experts;
      step.top_k = layer.ffn.top_k;
    }
  }
  // The embedding and the head are split over the tensor ranks; under data-parallel attention each
  // replica has its own.
  const double vocabulary =
      static_cast<double>(model.vocabulary) / static_cast<double>(scenario.ways.tensor);
  step.first.push_back(
      {OpKind::embedding, Rows::tokens, 1, ElementwiseOp{Bytes(2.0 * 2.0 * step.hidden), 1}});
  step.last.push_back(
      {OpKind::norm, Rows::logits, 1, ElementwiseOp{Bytes(4.0 * 2.0 * step.hidden), 1}});
  step.last.push_back(
      {OpKind::lm_head, Rows::logits, 1,
       GemmOp{0, vocabulary, step.hidden, weight_format(scenario, TensorClass::embeddings)}});
  return step;
}

}  // namespace moesim

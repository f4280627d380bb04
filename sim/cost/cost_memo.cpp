// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/cost_memo.h"

namespace moesim {
namespace {

template <class... Values>
void add_all(MemoKey& key, const Values&... values) {
  (key.add(static_cast<double>(values)), ...);
}

/// A curve's address names it, and its fit tells it from one that took its place in memory.
void add_curve(MemoKey& key, const CostCurve* curve) {
  key.add(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(curve)));
  if (curve == nullptr) {
    return;
  }
  for (const double parameter : curve->parameters) {
    key.add(parameter);
  }
  add_all(key, curve->record.rows, curve->record.median_ape, curve->record.band_coverage,
          curve->shared_uncertainty);
}

void add_op(MemoKey& key, const GemmOp& op) {
  add_all(key, op.m, op.n, op.k, static_cast<int>(op.weights));
}
void add_op(MemoKey& key, const MoeOp& op) {
  add_all(key, op.tokens, op.hidden, op.width, op.top_k, op.experts, op.tensor_ways, op.expert_ways,
          op.gated, static_cast<int>(op.weights), static_cast<int>(op.cold_weights),
          static_cast<int>(op.layout), op.arriving, op.load.assignments, op.load.active_experts,
          op.load.cold_experts, op.load.hottest, op.load.padded);
}
void add_op(MemoKey& key, const AttentionPrefillOp& op) {
  add_all(key, op.sequences, op.new_tokens, op.cached_tokens, op.heads, op.kv_heads, op.head_dim,
          op.window, static_cast<int>(op.kv_cache));
}
void add_op(MemoKey& key, const AttentionDecodeOp& op) {
  add_all(key, op.sequences, op.new_tokens, op.context, op.heads, op.kv_heads, op.head_dim,
          op.window, static_cast<int>(op.kv_cache));
}
void add_op(MemoKey& key, const MlaPrefillOp& op) {
  add_all(key, op.sequences, op.new_tokens, op.cached_tokens, op.heads, op.nope_dim, op.rope_dim,
          op.value_dim, op.latent_dim, op.absorbed, op.window, static_cast<int>(op.kv_cache));
}
void add_op(MemoKey& key, const MlaDecodeOp& op) {
  add_all(key, op.sequences, op.new_tokens, op.context, op.heads, op.rope_dim, op.latent_dim,
          op.window, static_cast<int>(op.kv_cache));
}
void add_op(MemoKey& key, const BatchedGemmOp& op) {
  add_all(key, op.batch, op.m, op.n, op.k, static_cast<int>(op.weights));
}
void add_op(MemoKey& key, const ElementwiseOp& op) { add_all(key, op.bytes.value(), op.kernels); }
void add_op(MemoKey& key, const RoutingOp& op) { add_all(key, op.tokens, op.experts, op.top_k); }

}  // namespace

MemoKey& MemoKey::add(const Op& op) {
  add(static_cast<std::uint64_t>(op.index()));
  std::visit([this](const auto& shape) { add_op(*this, shape); }, op);
  return *this;
}

MemoKey& MemoKey::add(const CurvePick& pick, const DevicePeaks& peaks) {
  static_assert(sizeof(void*) != 8 || sizeof(CurvePick) == 56,
                "a new member of CurvePick that moves estimates belongs into this key");
  add_curve(*this, pick.curve);
  add_curve(*this, pick.absmax);
  add_curve(*this, pick.low_latency);
  add_all(*this, static_cast<int>(pick.basis), pick.with_residual, pick.as_local_experts,
          pick.shared_error, pick.least_own_error);
  for (const double rate : peaks.flops_per_s) {
    add(rate);
  }
  add_all(*this, peaks.bytes_per_s, peaks.multiprocessors, peaks.l2_bytes);
  return *this;
}

CostMemo& CostMemo::of_thread() {
  static thread_local CostMemo memo;
  return memo;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/op_features.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace moesim {
namespace {

constexpr std::string_view kGemmNames[] = {"log_m",       "log_n",     "log_k",     "log_nk",
                                           "log_mn",      "log_mk",    "log_mnk",   "log_n_by_k",
                                           "log_balance", "tiles_128", "fill_128",  "fill_256",
                                           "fill_64",     "row_fill",  "alignment", "log_law"};
constexpr std::string_view kMoeNames[] = {
    "log_tokens",    "log_rows",      "log_active", "log_rows_per_expert", "hottest_by_mean",
    "row_fill",      "log_width",     "width_fill", "log_hidden",          "log_local_experts",
    "log_tiles",     "log_out_tiles", "log_law",    "log_balance",         "log_weights_by_l2",
    "log_mean_load", "gated",         "log_experts"};
constexpr std::string_view kPrefillNames[] = {
    "log_sequences",  "log_queries",     "log_heads",          "log_group",
    "log_head_width", "log_window",      "log_tiles",          "fill",
    "row_fill",       "log_tokens",      "log_sequence_heads", "log_law",
    "log_balance",    "log_bytes_by_l2", "cached_share",       "log_kv_heads"};
constexpr std::string_view kDecodeNames[] = {
    "log_sequences",  "log_context", "log_heads",          "log_kv_heads", "log_group",
    "log_head_width", "window",      "log_blocks",         "fill",         "log_bytes_by_l2",
    "log_law",        "log_balance", "log_sequence_heads", "log_walk"};
constexpr std::string_view kBatchedNames[] = {"log_batch",   "log_m",    "log_n_by_k", "log_mb",
                                              "log_balance", "row_fill", "log_law"};
constexpr std::string_view kStreamNames[] = {"log_bytes", "log_kernels", "log_rows", "log_columns"};

/// Share of its last wave that `tiles` fill.
float fill(double tiles, double processors) {
  const double waves = tiles / processors;
  return static_cast<float>(waves / ceil_of(waves));
}

double tiles_of(const GemmOp& op, double rows, double columns) {
  return ceil_of(op.m / rows) * ceil_of(op.n / columns);
}

/// log2 of the largest power of two (at most 256) that divides a whole number of rows.
float alignment(double m) {
  const auto rows = static_cast<std::uint64_t>(m);
  return rows == 0 ? 8.0F : static_cast<float>(std::min(8, std::countr_zero(rows)));
}

void fill_features(const GemmOp& op, const DevicePeaks& device, double peak, double law, float* x) {
  const float m = fast_log2(op.m);
  const float n = fast_log2(op.n);
  const float k = fast_log2(op.k);
  const double bytes = op.n * op.k * bytes_per_element(op.weights) + op.m * op.k + op.m * op.n * 2;
  const double tiles = tiles_of(op, 128, 128);
  x[0] = m;
  x[1] = n;
  x[2] = k;
  x[3] = n + k;
  x[4] = m + n;
  x[5] = m + k;
  x[6] = m + n + k;
  x[7] = n - k;
  x[8] = fast_log2(op.m * op.n * op.k * 2.0 / bytes * device.bytes_per_s / peak);
  x[9] = fast_log2(tiles / device.multiprocessors);
  x[10] = fill(tiles, device.multiprocessors);
  x[11] = fill(tiles_of(op, 128, 256), device.multiprocessors);
  x[12] = fill(tiles_of(op, 64, 128), device.multiprocessors);
  x[13] = static_cast<float>(op.m / (ceil_of(op.m / 128.0) * 128.0));
  x[14] = alignment(op.m);
  x[15] = fast_log2(law);
}

void fill_features(const MoeOp& op, const DevicePeaks& device, double peak, double law, float* x) {
  const double width = op.width / op.tensor_ways;
  const double active = std::max(op.load.active_experts, 0.03);
  const double rows = std::max(op.load.assignments, 0.03);
  const double padded = op.load.padded > 0 ? op.load.padded : rows + 32.0 * active;
  const double mean = rows / active;
  const double matrices = op.gated ? 3.0 : 2.0;
  const double row_tiles = std::max(active, (2.0 * padded - rows) / 128.0);
  const double weights = active * matrices * op.hidden * width * bytes_per_element(op.weights);
  x[0] = fast_log2(op.tokens);
  x[1] = fast_log2(rows);
  x[2] = fast_log2(active);
  x[3] = fast_log2(mean);
  x[4] = static_cast<float>(std::min(64.0, op.load.hottest / mean));
  x[5] = static_cast<float>(rows / std::max(1.0, padded));
  x[6] = fast_log2(width);
  x[7] = static_cast<float>(width / (ceil_of(width / 128.0) * 128.0));
  x[8] = fast_log2(op.hidden);
  x[9] = fast_log2(op.experts / op.expert_ways);
  x[10] = fast_log2(row_tiles * ceil_of((matrices - 1.0) * width / 128.0) / device.multiprocessors);
  x[11] = fast_log2(row_tiles * ceil_of(op.hidden / 128.0) / device.multiprocessors);
  x[12] = fast_log2(law);
  x[13] = fast_log2(2.0 * matrices * rows * op.hidden * width / peak * device.bytes_per_s /
                    std::max(weights, 1.0));
  x[14] = fast_log2(weights / std::max(device.l2_bytes, 1.0));
  x[15] = fast_log2(op.tokens * op.top_k / op.experts);
  x[16] = op.gated ? 1.0F : 0.0F;
  x[17] = fast_log2(op.experts);
}

void prefill_features(double sequences, double queries, double cached, double heads,
                      double kv_heads, double width, double window, const OpWork& work,
                      const DevicePeaks& device, double peak, double law, float* x) {
  const double tiles = sequences * heads * ceil_of(queries / 128.0);
  x[0] = fast_log2(sequences);
  x[1] = fast_log2(queries);
  x[2] = fast_log2(heads);
  x[3] = fast_log2(heads / kv_heads);
  x[4] = fast_log2(width);
  x[5] = window > 0 ? fast_log2(window) : 30.0F;
  x[6] = fast_log2(tiles / device.multiprocessors);
  x[7] = fill(tiles, device.multiprocessors);
  x[8] = static_cast<float>(queries / (ceil_of(queries / 128.0) * 128.0));
  x[9] = fast_log2(sequences * queries);
  x[10] = fast_log2(sequences * heads);
  x[11] = fast_log2(law);
  x[12] =
      fast_log2(std::max(work.flops.value(), 1.0) / peak * device.bytes_per_s / work.bytes.value());
  x[13] = fast_log2(work.bytes.value() / std::max(device.l2_bytes, 1.0));
  x[14] = static_cast<float>(cached / (cached + queries));
  x[15] = fast_log2(kv_heads);
}

void fill_features(const AttentionPrefillOp& op, const DevicePeaks& device, double peak, double law,
                   float* x) {
  prefill_features(op.sequences, op.new_tokens, op.cached_tokens, op.heads, op.kv_heads,
                   op.head_dim, op.window, work_of(Op(op)), device, peak, law, x);
}

void fill_features(const MlaPrefillOp& op, const DevicePeaks& device, double peak, double law,
                   float* x) {
  prefill_features(op.sequences, op.new_tokens, op.cached_tokens, op.heads,
                   op.absorbed ? 1.0 : op.heads, op.nope_dim + op.rope_dim, 0.0, work_of(Op(op)),
                   device, peak, law, x);
}

void decode_features(double sequences, double context, double heads, double kv_heads, double width,
                     double window, double key_bytes, double flops, const DevicePeaks& device,
                     double peak, double law, float* x) {
  const double blocks = sequences * kv_heads;
  const double bytes = std::max(blocks * context * key_bytes, 1.0);
  x[0] = fast_log2(sequences);
  x[1] = fast_log2(std::max(context, 1.0));
  x[2] = fast_log2(heads);
  x[3] = fast_log2(kv_heads);
  x[4] = fast_log2(heads / kv_heads);
  x[5] = fast_log2(width);
  x[6] = window > 0 ? fast_log2(window) : 30.0F;
  x[7] = fast_log2(blocks / device.multiprocessors);
  x[8] = fill(blocks, device.multiprocessors);
  x[9] = fast_log2(bytes / std::max(device.l2_bytes, 1.0));
  x[10] = fast_log2(law);
  x[11] = fast_log2(std::max(flops, 1.0) / peak * device.bytes_per_s / bytes);
  x[12] = fast_log2(sequences * heads);
  x[13] =
      fast_log2(std::max(context, 1.0) * std::max(1.0, ceil_of(blocks / device.multiprocessors)));
}

void fill_features(const AttentionDecodeOp& op, const DevicePeaks& device, double peak, double law,
                   float* x) {
  const double queries = op.sequences * op.new_tokens;
  decode_features(op.sequences, op.context, op.heads * op.new_tokens, op.kv_heads, op.head_dim,
                  op.window, 2.0 * op.head_dim * bytes_per_element(op.kv_cache),
                  4.0 * queries * op.context * op.heads * op.head_dim, device, peak, law, x);
}

void fill_features(const MlaDecodeOp& op, const DevicePeaks& device, double peak, double law,
                   float* x) {
  const double row = op.latent_dim + op.rope_dim;
  const double heads = op.heads * op.new_tokens;
  decode_features(
      op.sequences, op.context, heads, 1.0, row, 0.0, row * bytes_per_element(op.kv_cache),
      2.0 * op.sequences * heads * op.context * (row + op.latent_dim), device, peak, law, x);
}

void fill_features(const BatchedGemmOp& op, const DevicePeaks& device, double peak, double law,
                   float* x) {
  const OpWork work = work_of(Op(op));
  x[0] = fast_log2(op.batch);
  x[1] = fast_log2(op.m);
  x[2] = fast_log2(op.n / op.k);
  x[3] = fast_log2(op.m * op.batch);
  x[4] = fast_log2(work.flops.value() / peak * device.bytes_per_s / work.bytes.value());
  x[5] = static_cast<float>(op.m / (ceil_of(op.m / 64.0) * 64.0));
  x[6] = fast_log2(law);
}

void fill_features(const ElementwiseOp& op, const DevicePeaks&, double, double, float* x) {
  x[0] = fast_log2(std::max(op.bytes.value(), 1.0));
  x[1] = fast_log2(std::max(op.kernels, 1.0));
  x[2] = 0;
  x[3] = 0;
}

void fill_features(const RoutingOp& op, const DevicePeaks&, double, double, float* x) {
  x[0] = fast_log2(std::max(op.tokens * op.experts, 1.0));
  x[1] = 0;
  x[2] = fast_log2(op.tokens);
  x[3] = fast_log2(op.experts);
}

}  // namespace

std::span<const std::string_view> feature_names(OpFamily family) {
  switch (family) {
    case OpFamily::gemm:
      return kGemmNames;
    case OpFamily::grouped_gemm:
      return kMoeNames;
    case OpFamily::attention_prefill:
    case OpFamily::mla_prefill:
      return kPrefillNames;
    case OpFamily::attention_decode:
    case OpFamily::mla_decode:
      return kDecodeNames;
    case OpFamily::batched_gemm:
      return kBatchedNames;
    case OpFamily::elementwise:
    case OpFamily::routing:
      return kStreamNames;
  }
  return kStreamNames;
}

void op_features(const Op& op, const DevicePeaks& device, NumberFormat arithmetic,
                 double law_seconds, FeatureVector& features) {
  const double peak = device.peak(arithmetic);
  std::visit(
      [&](const auto& shape) { fill_features(shape, device, peak, law_seconds, features.data()); },
      op);
}

float fast_log2(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const int exponent = static_cast<int>((bits >> 52) & 0x7ff) - 1023;
  const double mantissa =
      std::bit_cast<double>((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
  // log2(1 + f) = s * (2 / ln 2) * (1 + s^2/3 + s^4/5 + s^6/7), s = f / (2 + f) <= 1/3: the first
  // term left out is below (1/3)^9 * 2.9 / 9 = 1.6e-5.
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double q = s * s;
  return static_cast<float>(exponent +
                            2.8853900817779268 * s * (1.0 + q * (1.0 / 3 + q * (0.2 + q / 7.0))));
}

double fast_exp(double x) {
  const double steps = x * 1.4426950408889634;
  const auto n = static_cast<std::int64_t>(steps + (steps < 0 ? -0.5 : 0.5));
  const double r = x - static_cast<double>(n) * 0.6931471805599453;
  // |r| <= 0.347: the first term left out is below 0.347^9 / 9! = 2e-10.
  const double series =
      1.0 +
      r * (1.0 +
           r * (1.0 / 2 +
                r * (1.0 / 6 + r * (1.0 / 24 +
                                    r * (1.0 / 120 + r * (1.0 / 720 + r * (1.0 / 5040 +
                                                                           r * (1.0 / 40320))))))));
  return series * std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52);
}

}  // namespace moesim

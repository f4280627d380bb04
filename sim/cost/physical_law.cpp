// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/physical_law.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

using Values = std::span<const double>;

// Shared names: the first five parameters mean the same in every family.
constexpr LawParameter kStartup = {"startup_s", "time of an empty op", 5e-6, 1e-8, 1e-3};
constexpr LawParameter kCompute = {"compute_fraction", "of the peak, at full tiles", 0.7, 1e-3, 3};
constexpr LawParameter kMemory = {"memory_fraction", "of the bandwidth, at full load", 0.8, 1e-6,
                                  100};
constexpr LawParameter kOverlap = {"overlap_loss", "0: arithmetic and memory overlap, 1: they add",
                                   0.3, 1e-3, 1};
constexpr LawParameter kRamp = {"ramp", "slow-down of memory when blocks are as few as processors",
                                0.1, 1e-4, 20};
constexpr LawParameter kL2Size = {"l2_scale", "working sets of l2 * scale hit half as much", 1,
                                  0.05, 20};
constexpr LawParameter kL2Gain = {"l2_gain", "share of memory time that full L2 hits save", 0.5,
                                  1e-3, 0.95};
constexpr LawParameter kWaves = {"wave_share", "1: a part-filled wave costs a whole one", 0.5, 1e-3,
                                 1};
constexpr LawParameter kPadding = {"padding_share", "of a tile's padding that costs time", 0.8,
                                   1e-3, 2.5};

constexpr LawParameter kGemm[] = {
    kStartup,
    kCompute,
    kMemory,
    kOverlap,
    {"small_tile_loss", "slow-down of 64 x 64 tiles against 128 x 256", 0.3, 1e-3, 5},
    {"activation_passes", "extra passes over the activations (dynamic quantisation)", 1, 1e-3, 20},
    kRamp,
    {"split_s", "extra start of a product whose inner dimension is split over blocks", 2e-6, 1e-8,
     1e-4, 0},
    {"split_depth", "inner elements that a split keeps at least", 512, 32, 16384, 1e9}};

// Weights of experts stream at 0.78-0.83 of the bandwidth, 0.92-0.94 at best (the tables' own best
// rows). Without this bound a fit to one GPU trades bandwidth for padded arithmetic, since both
// follow the number of active experts; carried to a GPU with another bandwidth it then misses.
constexpr LawParameter kStreaming = {"memory_fraction", "of the bandwidth, at full load", 0.8, 1e-3,
                                     0.95};

constexpr LawParameter kMoe[] = {
    {"startup_s", "time of an empty op", 3e-5, 1e-6, 2e-4},
    kCompute,
    kStreaming,
    kOverlap,
    kPadding,
    kRamp,
    {"row_traffic", "passes over each permuted row", 1, 1e-3, 60},
    {"token_traffic", "passes over each token of the group", 1, 1e-3, 60},
    {"score_traffic", "passes over the router's scores", 1, 1e-3, 150},
    {"selection_s", "per token and selected expert", 1e-10, 1e-13, 2e-8},
    kWaves,
    {"expert_s", "per expert of the model", 1e-8, 1e-12, 2e-7},
    kL2Size,
    kL2Gain};

constexpr LawParameter kPrefill[] = {
    kStartup,
    kCompute,
    kMemory,
    kOverlap,
    kPadding,
    kWaves,
    {"head_fixed_width", "head width at which half the arithmetic rate is reached", 16, 1e-2, 500},
    {"tile_s", "fixed cost of one 128-row tile on its processor", 1e-7, 1e-10, 1e-5},
    {"packing_share", "1: rows of a tile are tokens x heads of a key-value head, 0: tokens", 0.2,
     1e-3, 1, 0}};

constexpr LawParameter kDecode[] = {
    kStartup,
    kCompute,
    kMemory,
    kOverlap,
    kRamp,
    kL2Size,
    kL2Gain,
    {"block_s", "fixed cost of one block (sequence and key-value head) on its processor", 1e-7,
     1e-10, 1e-5},
    {"serial_s", "per cached token that one block walks through", 1e-9, 1e-13, 1e-6},
    {"split_tokens", "cached tokens below which a sequence is not split", 512, 16, 16384},
    {"alone_fraction", "of the peak, when each query head walks through its keys alone", 0.05, 1e-4,
     3, 1e9},
    {"alone_blocks", "1: such a head is a block of its own, 0: heads share their group's", 0.3,
     1e-3, 1, 0}};

/// Query heads of one key-value head that decode kernels still serve from one pass over the keys;
/// alone (1) or above, some stacks let each query head read its keys for itself. Source: 4-10 x
/// steps of the TensorRT-LLM tables between groups of 32 and 48 (aiconfigurator, commit 095f58a).
constexpr double kLargestGroup = 32;

constexpr LawParameter kBatched[] = {
    kStartup,
    kCompute,
    kMemory,
    kOverlap,
    {"activation_passes", "extra passes over the activations (dynamic quantisation)", 0.5, 1e-3,
     20},
    kRamp};

constexpr LawParameter kStream[] = {kStartup, kMemory, kL2Size, kL2Gain};

constexpr LawParameter kRouting[] = {
    kStartup,
    kMemory,
    kL2Size,
    kL2Gain,
    {"token_s", "per token, whatever its experts", 1e-9, 1e-13, 1e-3},
    {"selection_s", "per token and selected expert", 1e-10, 1e-13, 1e-3}};

double padded_to(double x, double tile) { return ceil_of(x / tile) * tile; }

/// Part-filled last wave: blocks over processors, rounded up by `share`; at least one wave's worth.
double wave_factor(double blocks, double processors, double share) {
  const double waves = std::max(blocks / processors, 1e-3);
  return 1.0 + share * (std::min(ceil_of(waves) / waves, 64.0) - 1.0);
}

double overlapped(double tc, double tm, double loss) {
  return std::max(tc, tm) + loss * std::min(tc, tm);
}

double l2_miss(double working_set, double l2_bytes, double scale, double gain) {
  if (l2_bytes <= 0) {
    return 1.0;
  }
  const double x = working_set / (l2_bytes * scale);
  return 1.0 - gain / (1.0 + x * x * x);
}

double law(const GemmOp& op, const DevicePeaks& device, double peak, Values p) {
  struct Tile {
    double rows, columns, loss;
    double per_row = 1.0 / rows, per_column = 1.0 / columns;  // exact: powers of two
  };
  // loss: share of small_tile_loss, 1 at 64 x 64 and 0 at 128 x 256, by operand reuse.
  static constexpr Tile kTiles[] = {{64, 128, 0.6},  {128, 128, 0.3}, {128, 256, 0.0},
                                    {256, 128, 0.0}, {64, 64, 1.0},   {64, 256, 0.4}};
  const double processors = device.multiprocessors;
  const double depth_seconds = processors * 2.0 * op.k / (p[1] * peak);
  const double reduce_seconds = op.m * op.n * 8.0 / device.bytes_per_s;
  const double depth_splits = op.k / p[8];
  double compute = 1e300;
  double blocks = 1;
  for (const Tile& tile : kTiles) {
    const double tiles = ceil_of(op.m * tile.per_row) * ceil_of(op.n * tile.per_column);
    const double tile_seconds = tile.rows * tile.columns * (1.0 + p[4] * tile.loss) * depth_seconds;
    const double time = ceil_of(tiles / processors) * tile_seconds;
    if (time < compute) {
      compute = time;
      blocks = tiles;
    }
    // Few tiles and a deep product: each tile's depth is shared by several blocks, whose partial
    // sums are written, read and added.
    if (2.0 * tiles > processors || depth_splits < 2.0) {
      continue;
    }
    const double splits = floor_of(std::min(processors / tiles, depth_splits));
    if (splits >= 2.0) {
      const double split_time = tile_seconds / splits + p[7] + splits * reduce_seconds;
      if (split_time < compute) {
        compute = split_time;
        blocks = tiles * splits;
      }
    }
  }
  const double activation = bytes_per_element(compute_format(op.weights));
  const double bytes =
      op.n * op.k * bytes_per_element(op.weights) + op.m * op.k * activation + op.m * op.n * 2.0;
  const double memory =
      bytes / (p[2] * device.bytes_per_s) * (1.0 + p[6] * std::min(1.0, 16.0 / (blocks + 16.0)));
  const double quantise = activation < 2.0 ? p[5] * op.m * op.k * 2.0 / device.bytes_per_s : 0.0;
  return p[0] + overlapped(compute, memory, p[3]) + quantise;
}

double law(const MoeOp& op, const DevicePeaks& device, double peak, Values p) {
  const double width = op.width / op.tensor_ways;
  const double input_matrices = op.gated ? 2.0 : 1.0;
  const double weight_bytes = bytes_per_element(op.weights);
  const ExpertLoad& load = op.load;
  const double padded =
      load.padded > 0 ? load.padded : load.assignments + 32.0 * load.active_experts;
  const double rows = load.assignments + p[4] * (padded - load.assignments);
  const double row_tiles = std::max(load.active_experts, (2.0 * padded - load.assignments) / 128.0);
  const double miss =
      l2_miss(load.active_experts * (input_matrices + 1.0) * op.hidden * width * weight_bytes,
              device.l2_bytes, p[12], p[13]);
  double seconds = p[0];
  const double columns[2] = {input_matrices * width, op.hidden};
  const double depth[2] = {op.hidden, width};
  for (int product = 0; product < 2; ++product) {
    const double n = padded_to(columns[product], 128.0);
    const double k = padded_to(depth[product], 64.0);
    const double tiles = row_tiles * n / 128.0;
    const double waves = std::min(wave_factor(tiles, device.multiprocessors, p[10]), 8.0);
    const double compute = 2.0 * rows * n * k * waves / (p[1] * peak);
    const double blocks = std::max(1.0, load.active_experts * n / 128.0);
    const double weights = load.active_experts * columns[product] * depth[product] * weight_bytes;
    const double memory =
        weights * miss * (1.0 + p[5] * device.multiprocessors / blocks) /
            (p[2] * device.bytes_per_s) +
        p[6] * load.assignments * (columns[product] + depth[product]) * 2.0 / device.bytes_per_s;
    seconds += overlapped(compute, memory, p[3]);
  }
  return seconds +
         (p[7] * op.tokens * op.hidden * 2.0 + p[8] * op.tokens * op.experts * 4.0) /
             device.bytes_per_s +
         p[9] * op.tokens * op.top_k + p[11] * op.experts;
}

/// Attention over prompts: `pair_flops` and `row_bytes` are what one query-key pair and one token
/// of one head cost.
double prefill_law(double sequences, double queries, double cached, double heads, double group,
                   double window, double head_width, double flops_per_pair, double bytes,
                   const DevicePeaks& device, double peak, Values p) {
  const double alone_tiles = ceil_of(queries / 128.0);
  const double tiles_per_head =
      alone_tiles + p[8] * (ceil_of(queries * group / 128.0) / group - alone_tiles);
  const double padded_queries = queries + p[4] * (128.0 * tiles_per_head - queries);
  const double keys = window > 0 ? window + p[4] * 128.0 : 0.0;
  const double pairs = causal_pairs(padded_queries, cached, keys);
  const double tiles = sequences * heads * tiles_per_head;
  const double waves = wave_factor(tiles, device.multiprocessors, p[5]);
  const double rate = p[1] * peak * head_width / (head_width + p[6]);
  const double compute = sequences * heads * pairs * flops_per_pair * waves / rate +
                         p[7] * ceil_of(tiles / device.multiprocessors);
  return p[0] + overlapped(compute, bytes / (p[2] * device.bytes_per_s), p[3]);
}

double law(const AttentionPrefillOp& op, const DevicePeaks& device, double peak, Values p) {
  const double bytes = work_of(Op(op)).bytes.value();
  return prefill_law(op.sequences, op.new_tokens, op.cached_tokens, op.heads,
                     op.heads / op.kv_heads, op.window, op.head_dim, 4.0 * op.head_dim, bytes,
                     device, peak, p);
}

double law(const MlaPrefillOp& op, const DevicePeaks& device, double peak, Values p) {
  const double width =
      op.absorbed ? 2.0 * op.latent_dim + op.rope_dim : op.nope_dim + op.rope_dim + op.value_dim;
  const double bytes = work_of(Op(op)).bytes.value();
  return prefill_law(op.sequences, op.new_tokens, op.cached_tokens, op.heads, 1.0, 0.0, width,
                     2.0 * width, bytes, device, peak, p);
}

/// Attention of single tokens: `groups` blocks a sequence, `group_heads` query heads each; `alone`
/// heads walk through their keys one by one (0: all share).
double decode_law(double sequences, double groups, double group_heads, double alone, double context,
                  double key_bytes, double other_bytes, double flops_per_pair,
                  const DevicePeaks& device, double peak, Values p) {
  const double processors = device.multiprocessors;
  const double blocks = sequences * (groups + p[11] * std::max(0.0, alone - groups));
  const double splits = std::max(1.0, std::min(context / p[9], ceil_of(2.0 * processors / blocks)));
  const double units = blocks * splits;
  const double rounds = ceil_of(units / processors);
  const double cache = sequences * groups * context * key_bytes;
  const double grouped =
      sequences * groups * context * padded_to(group_heads, 8.0) * flops_per_pair / (p[1] * peak);
  const double compute =
      std::max(grouped, sequences * alone * context * flops_per_pair / (p[10] * peak));
  const double memory = (cache + other_bytes) / (p[2] * device.bytes_per_s) *
                        (1.0 + p[4] * processors / (units + processors)) *
                        l2_miss(cache, device.l2_bytes, p[5], p[6]);
  return p[0] + overlapped(compute, memory, p[3]) + p[7] * rounds + p[8] * context / splits;
}

double law(const AttentionDecodeOp& op, const DevicePeaks& device, double peak, Values p) {
  const double queries = op.sequences * op.new_tokens;
  const double group = op.heads / op.kv_heads;
  const double alone = group > 1.0 && group <= kLargestGroup ? 0.0 : op.heads * op.new_tokens;
  return decode_law(op.sequences, op.kv_heads, op.new_tokens * group, alone, op.context,
                    2.0 * op.head_dim * bytes_per_element(op.kv_cache),
                    queries * op.heads * op.head_dim * 4.0, 4.0 * op.head_dim, device, peak, p);
}

double law(const MlaDecodeOp& op, const DevicePeaks& device, double peak, Values p) {
  const double row = op.latent_dim + op.rope_dim;
  const double queries = op.sequences * op.new_tokens;
  const double groups = ceil_of(op.heads * op.new_tokens / 64.0);
  return decode_law(op.sequences, groups, std::min(64.0, op.heads * op.new_tokens), 0.0, op.context,
                    row * bytes_per_element(op.kv_cache) / groups,
                    queries * op.heads * (row + op.latent_dim) * 2.0, 2.0 * (row + op.latent_dim),
                    device, peak, p);
}

double law(const BatchedGemmOp& op, const DevicePeaks& device, double peak, Values p) {
  const double tiles = op.batch * ceil_of(op.m / 64.0) * ceil_of(op.n / 128.0);
  const double compute = 2.0 * op.batch * padded_to(op.m, 16.0) * op.n * op.k / (p[1] * peak);
  const double activation = bytes_per_element(compute_format(op.weights));
  const double bytes = op.batch * (op.n * op.k * bytes_per_element(op.weights) +
                                   op.m * op.k * activation + op.m * op.n * 2.0);
  const double memory = bytes / (p[2] * device.bytes_per_s) *
                        (1.0 + p[5] * device.multiprocessors / (tiles + device.multiprocessors));
  const double quantise =
      activation < 2.0 ? p[4] * op.batch * op.m * op.k * 2.0 / device.bytes_per_s : 0.0;
  return p[0] + overlapped(compute, memory, p[3]) + quantise;
}

double stream_law(double bytes, double kernels, const DevicePeaks& device, Values p) {
  return p[0] * kernels +
         bytes / (p[1] * device.bytes_per_s) * l2_miss(bytes, device.l2_bytes, p[2], p[3]);
}

double law(const ElementwiseOp& op, const DevicePeaks& device, double, Values p) {
  return stream_law(op.bytes.value(), op.kernels, device, p);
}

double law(const RoutingOp& op, const DevicePeaks& device, double, Values p) {
  return stream_law(work_of(Op(op)).bytes.value(), 1.0, device, p) + p[4] * op.tokens +
         p[5] * op.tokens * op.top_k;
}

}  // namespace

double DevicePeaks::peak(NumberFormat format) const {
  const NumberFormat eight_bit = format == NumberFormat::fp8_block ? NumberFormat::fp8 : format;
  const NumberFormat candidates[] = {format,
                                     eight_bit,
                                     compute_format(format),
                                     NumberFormat::bf16,
                                     NumberFormat::fp16,
                                     NumberFormat::fp32};
  for (const NumberFormat candidate : candidates) {
    if (flops_per_s[static_cast<std::size_t>(candidate)] > 0) {
      return flops_per_s[static_cast<std::size_t>(candidate)];
    }
  }
  return 1e12;
}

std::span<const LawParameter> law_parameters(OpFamily family) {
  switch (family) {
    case OpFamily::gemm:
      return kGemm;
    case OpFamily::grouped_gemm:
      return kMoe;
    case OpFamily::attention_prefill:
    case OpFamily::mla_prefill:
      return kPrefill;
    case OpFamily::attention_decode:
    case OpFamily::mla_decode:
      return kDecode;
    case OpFamily::batched_gemm:
      return kBatched;
    case OpFamily::elementwise:
      return kStream;
    case OpFamily::routing:
      return kRouting;
  }
  return kStream;
}

double law_seconds(const Op& op, const DevicePeaks& device, NumberFormat arithmetic,
                   std::span<const double> values) {
  const double peak = device.peak(arithmetic);
  return std::visit([&](const auto& shape) { return law(shape, device, peak, values); }, op);
}

}  // namespace moesim

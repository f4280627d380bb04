// SPDX-License-Identifier: Apache-2.0
// Cost of fitted curves: one prediction with its band (goal >= 2 M/s on one core), loading a file
// (goal <= 5 ms).
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "sim/base/random.h"
#include "sim/cost/cost_curve.h"

namespace {

using namespace moesim;

const char* const kFile = "/hardware_profiles/curves/h100_sxm.trtllm-1.3.0rc20.json";

/// Ops of a decode step of shapes that differ: products, attention, fused MoE.
std::vector<Op> mixed_ops() {
  RandomStream random(5, "bench/curves");
  const auto pick = [&](double low, std::uint64_t steps) {
    return low * static_cast<double>(1 + random.below(steps));
  };
  std::vector<Op> ops;
  for (int i = 0; i < 256; ++i) {
    ops.push_back(GemmOp{pick(1, 512), pick(256, 64), pick(256, 32), NumberFormat::fp8_block});
    ops.push_back(GemmOp{pick(1, 512), pick(256, 64), pick(256, 32)});
    ops.push_back(AttentionDecodeOp{pick(1, 128), 1, pick(64, 128), 32, 8, 128});
    MoeOp moe;
    moe.tokens = pick(16, 256);
    moe.hidden = 7168;
    moe.width = 2048;
    moe.top_k = 8;
    moe.experts = 256;
    moe.expert_ways = 32;
    moe.weights = NumberFormat::fp8_block;
    moe.load = {moe.tokens / 4, 8, moe.tokens / 16, moe.tokens / 4 + 256};
    ops.push_back(moe);
  }
  return ops;
}

void curve_predictions(benchmark::State& state) {
  const CurveSet set = CurveSet::load(std::string(MOESIM_SOURCE_DIR) + kFile);
  const std::vector<Op> ops = mixed_ops();
  std::size_t next = 0;
  for (auto _ : state) {
    const Op& op = ops[next++ % ops.size()];
    benchmark::DoNotOptimize(set.find(op)->estimate(op, set.peaks));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(curve_predictions);

void curve_file_load(benchmark::State& state) {
  const std::string path = std::string(MOESIM_SOURCE_DIR) + kFile;
  for (auto _ : state) {
    benchmark::DoNotOptimize(CurveSet::load(path));
  }
}
BENCHMARK(curve_file_load)->Unit(benchmark::kMillisecond);

}  // namespace

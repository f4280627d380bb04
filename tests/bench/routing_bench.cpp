// SPDX-License-Identifier: Apache-2.0
// Routed selections a second on one core, and the price of building and reading load profiles.
#include <benchmark/benchmark.h>

#include "sim/moe/token_routing_profile.h"

namespace {

using moesim::GateShape;
using moesim::RoutingKind;

constexpr GateShape kPlain256 = {.experts = 256, .top_k = 8};
constexpr GateShape kDeepSeekV3 = {.experts = 256, .top_k = 8, .groups = 8, .groups_chosen = 4};

moesim::RoutingSpec gumbel(const GateShape& gate, double sigma) {
  return {.kind = RoutingKind::gumbel, .gate = gate, .sigma = sigma, .seed = 1};
}

void draw_sets(benchmark::State& state, const GateShape& gate, double sigma) {
  const moesim::LayerRouting routing(gumbel(gate, sigma), 0);
  constexpr std::int64_t kTokens = 65536;
  std::uint64_t draw = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(routing.draw_tokens(kTokens, draw++).data());
  }
  state.counters["selections_per_s"] = benchmark::Counter(
      static_cast<double>(kTokens * gate.top_k), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(draw_sets, gumbel_256_top8_sigma_0_7, kPlain256, 0.7);
BENCHMARK_CAPTURE(draw_sets, gumbel_256_top8_sigma_1_1, kPlain256, 1.1);
BENCHMARK_CAPTURE(draw_sets, group_limited_256_top8_sigma_1_1, kDeepSeekV3, 1.1);

void draw_counts_of_128_ranks(benchmark::State& state) {
  const moesim::LayerRouting routing(gumbel(kPlain256, 0.7), 0);
  const std::vector<std::int64_t> sources(128, 128);
  std::uint64_t draw = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(routing.draw_counts(sources, draw++).totals.data());
  }
}
BENCHMARK(draw_counts_of_128_ranks)->Unit(benchmark::kMicrosecond);

void build_layer(benchmark::State& state, const GateShape& gate) {
  const moesim::ExpertMap map = moesim::ExpertMap::contiguous(256, 128, 8);
  for (auto _ : state) {
    const moesim::LayerLoads loads(
        std::make_shared<const moesim::LayerRouting>(gumbel(gate, 0.7), 0), map);
    benchmark::DoNotOptimize(loads.at(16384).hottest_rank_load);
  }
}
BENCHMARK_CAPTURE(build_layer, plain, kPlain256)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(build_layer, group_limited, kDeepSeekV3)->Unit(benchmark::kMicrosecond);

void read_cached_profile(benchmark::State& state) {
  const moesim::RoutingProfiles profiles(gumbel(kPlain256, 0.7), 1,
                                         moesim::ExpertMap::contiguous(256, 128, 8));
  double tokens = 3000.0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(profiles.at(0, tokens).hottest_rank_load);
    tokens = tokens < 16000.0 ? tokens + 7.0 : 3000.0;
  }
}
BENCHMARK(read_cached_profile);

}  // namespace

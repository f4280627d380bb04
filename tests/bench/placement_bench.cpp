// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "sim/base/random.h"
#include "sim/moe/placement.h"

namespace {

// DeepSeek-V3's size: 58 layers of 256 experts, 288 slots on 32 GPUs; lognormal loads (sigma 1
// gives a max/mean near the 12 that was reported for DeepSeek-R1).
moesim::PlacementRequest deepseek_v3_request() {
  moesim::PlacementRequest request;
  for (std::uint64_t layer = 0; layer < 58; ++layer) {
    moesim::RandomStream random(1, "placement_bench", layer);
    request.weights.emplace_back();
    for (int e = 0; e < 256; ++e) {
      request.weights.back().push_back(
          static_cast<double>(static_cast<long>(10000.0 * moesim::portable_exp(random.normal()))));
    }
  }
  request.slots = 288;
  request.gpus = 32;
  return request;
}

void place(benchmark::State& state, const char* policy) {
  const moesim::PlacementRequest request = deepseek_v3_request();
  double balancedness = 0.0;
  for (auto _ : state) {
    const moesim::Placement placement = moesim::place_experts(request, policy);
    balancedness = 0.0;
    for (const double layer : placement.balancedness) {
      balancedness += layer / 58.0;
    }
    benchmark::DoNotOptimize(balancedness);
  }
  state.counters["balancedness"] = balancedness;
}
BENCHMARK_CAPTURE(place, eplb, "eplb")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, lpt, "lpt")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, best, "best")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, activated, "activated")->Unit(benchmark::kMillisecond);

}  // namespace

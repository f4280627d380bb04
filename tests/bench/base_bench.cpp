// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "sim/base/random.h"

namespace {

void uniform_draw(benchmark::State& state) {
  moesim::RandomStream stream(1, "bench");
  for (auto _ : state) {
    benchmark::DoNotOptimize(stream.uniform());
  }
}
BENCHMARK(uniform_draw);

}  // namespace

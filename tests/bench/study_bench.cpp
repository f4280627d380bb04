// SPDX-License-Identifier: Apache-2.0
// Configurations of a sweep a second on one thread (goal: 50,000, hence 100,000 on two cores):
// setters, validity, closed form, memory and every metric of each point.
#include <benchmark/benchmark.h>

#include <string>

#include "sim/study/plan.h"
#include "sim/study/sweep.h"

namespace {

using namespace moesim;

const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(MOESIM_SOURCE_DIR);
  return library;
}

void sweep_configurations(benchmark::State& state) {
  const std::string path = std::string(MOESIM_SOURCE_DIR) + "/scenarios/quickstart.json";
  const SweepSpace space(
      load_scenario_spec(path),
      {"/communication/overlap=serial,two_batch", "/workload/context_tokens=1000:8000:64",
       "/workload/batch_per_gpu=1:512:512"},
      SweepMode::cartesian);
  const PointEvaluator evaluator(space, cards(), path, state.range(0) != 0);
  std::uint64_t first = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(evaluator.evaluate({first, 256}));
    first = (first + 256) % (space.num_points() - 256);
  }
  state.SetItemsProcessed(state.iterations() * 256);
}
BENCHMARK(sweep_configurations)->ArgName("with_json")->Arg(0)->Arg(1);

/// What the planner evaluates: a compiled layout at many batch limits.
void plan_configurations(benchmark::State& state) {
  ServiceRequest service;
  service.model = "deepseek_v3";
  service.load = {.requests_per_s = 10, .prompt_tokens = 2000, .output_tokens = 500};
  const PoolModel model(service, PoolRole::decode,
                        {"cluster_h100_ib400", 32, 1, OverlapRule::two_batch}, cards(), 1);
  double batch = 1;
  bool fits = false;
  for (auto _ : state) {
    benchmark::DoNotOptimize(model.generating(batch, 0, fits));
    batch = batch >= 512 ? 1 : batch + 1;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(plan_configurations);

}  // namespace

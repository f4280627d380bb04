// SPDX-License-Identifier: Apache-2.0
// Serving runs: requests simulated a second, set-up included (goals: 60,000 for one dense replica,
// 1,000 for DeepSeek-V3 on 128 GPUs, one hour of 1,152 GPUs in 20 s).
#include <benchmark/benchmark.h>

#include <string>

#include "sim/run/simulate.h"

namespace {

using namespace moesim;

const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(MOESIM_SOURCE_DIR);
  return library;
}

ScenarioSpec serving_spec(const std::string& model, const std::string& cluster) {
  ScenarioSpec spec;
  spec.model = model;
  spec.cluster = cluster;
  spec.fidelity = Fidelity::event;
  spec.workload.kind = WorkloadKind::serving;
  return spec;
}

ScenarioSpec deepseek(std::int64_t nodes) {
  ScenarioSpec spec = serving_spec("deepseek_v3", "cluster_h800_ib400");
  spec.nodes = nodes;
  spec.parallelism.expert = nodes * 8;
  spec.routing.kind = RoutingModel::gumbel;
  spec.routing.sigma = 0.7;
  spec.communication.overlap = OverlapRule::two_batch;
  spec.workload.prompt_tokens = 1024;
  spec.workload.lengths = LengthLaw::lognormal;
  return spec;
}

void run(benchmark::State& state, const ScenarioSpec& spec, double requests) {
  const Scenario scenario = resolve(spec, cards(), "");
  for (auto _ : state) {
    benchmark::DoNotOptimize(simulate(scenario));
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(requests) * state.iterations());
}

void serving_dense_one_replica(benchmark::State& state) {
  ScenarioSpec spec = serving_spec("llama_3_1_8b", "cluster_h100_ib400");
  spec.gpus_per_node = 1;
  spec.workload.requests_per_s = 4;
  spec.workload.prompt_tokens = 256;
  spec.workload.output_tokens = 64;
  spec.workload.requests = 10000;
  run(state, spec, 10000);
}
BENCHMARK(serving_dense_one_replica)->Unit(benchmark::kMillisecond);

void serving_deepseek_v3_128_gpus(benchmark::State& state) {
  ScenarioSpec spec = deepseek(16);
  spec.workload.concurrency = 4096;
  spec.workload.requests = 10000;
  spec.workload.output_tokens = 512;
  run(state, spec, 10000);
}
BENCHMARK(serving_deepseek_v3_128_gpus)->Unit(benchmark::kMillisecond);

void serving_hour_of_1152_gpus(benchmark::State& state) {
  ScenarioSpec spec = deepseek(4);
  spec.serving.instances = 36;
  spec.serving.engine = EnginePreset::sglang;
  spec.workload.arrivals = ArrivalProcess::diurnal;
  spec.workload.requests_per_s = 100;
  spec.workload.rate_amplitude = 0.6;
  spec.workload.rate_period_s = 3600;
  spec.workload.duration_s = 3600;
  run(state, spec, 360000);
}
BENCHMARK(serving_hour_of_1152_gpus)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace

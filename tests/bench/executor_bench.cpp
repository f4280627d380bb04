// SPDX-License-Identifier: Apache-2.0
// A step the size of DeepSeek-V3 decode on 128 devices: 61 layers, 13 compute tasks, dispatch and
// combine per layer, two micro-batches in turns; 234,240 tasks, 244 groups of 128. Durations are
// arbitrary: only the shape counts.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "sim/base/random.h"
#include "sim/engine/executor.h"

namespace {

using moesim::SimTime;
using moesim::TaskId;

moesim::TaskGraph decode_step(double compute_share) {
  constexpr std::uint32_t kDevices = 128;
  constexpr int kLayers = 61;
  constexpr int kMicroBatches = 2;
  moesim::TaskGraphBuilder builder(kDevices,
                                   {{"compute", moesim::StreamClass::compute},
                                    {"communication", moesim::StreamClass::communication}});
  builder.reserve(kDevices * kLayers * kMicroBatches * 15, kDevices * kLayers * kMicroBatches * 16);
  const moesim::KindId attention = builder.add_kind("attention");
  const moesim::KindId experts = builder.add_kind("experts");
  const moesim::KindId all_to_all = builder.add_kind("all_to_all", compute_share);
  moesim::RandomStream random(1, "executor_bench");
  std::vector<TaskId> last(kDevices * kMicroBatches);
  std::vector<TaskId> members(kDevices);
  bool is_first = true;
  for (int layer = 0; layer < kLayers; ++layer) {
    for (std::size_t batch = 0; batch < kMicroBatches; ++batch) {
      const auto add = [&](std::uint32_t device, bool is_compute, moesim::KindId kind) {
        const TaskId task = builder.add_task(
            {.device = device,
             .stream = moesim::StreamId{static_cast<std::uint8_t>(is_compute ? 0 : 1)},
             .kind = kind,
             .duration =
                 SimTime(static_cast<std::int64_t>(10'000'000 + random.below(10'000'000)))});
        TaskId& before = last[device * kMicroBatches + batch];
        if (!is_first) {
          builder.add_dependency(before, task);
        }
        before = task;
        return task;
      };
      for (const auto& [count, kind] : {std::pair{9, attention}, std::pair{4, experts}}) {
        for (std::uint32_t device = 0; device < kDevices; ++device) {
          for (int i = 0; i < count; ++i) {
            is_first = layer == 0 && i == 0 && kind == attention;
            add(device, true, kind);
          }
          is_first = false;
          members[device] = add(device, false, all_to_all);
        }
        builder.add_group(members);
      }
    }
  }
  return std::move(builder).build();
}

void report(benchmark::State& state, const moesim::TaskGraph& graph) {
  state.counters["tasks"] = static_cast<double>(graph.num_tasks());
  state.counters["per_task"] = benchmark::Counter(
      static_cast<double>(graph.num_tasks()),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void executor_build(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(decode_step(0.0));
  }
}
BENCHMARK(executor_build)->Unit(benchmark::kMillisecond);

void executor_run(benchmark::State& state) {
  const moesim::TaskGraph graph = decode_step(0.0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(moesim::execute(graph).makespan);
  }
  report(state, graph);
}
BENCHMARK(executor_run)->Unit(benchmark::kMillisecond);

void executor_run_with_compute_shares(benchmark::State& state) {
  const moesim::TaskGraph graph = decode_step(20.0 / 132.0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(moesim::execute(graph).makespan);
  }
  report(state, graph);
}
BENCHMARK(executor_run_with_compute_shares)->Unit(benchmark::kMillisecond);

void executor_run_with_jitter(benchmark::State& state) {
  const moesim::TaskGraph graph = decode_step(0.0);
  moesim::ExecutionOptions options;
  options.jitter_cv = {0.05, 0.1, 0.1};
  for (auto _ : state) {
    benchmark::DoNotOptimize(moesim::execute(graph, options).makespan);
  }
  report(state, graph);
}
BENCHMARK(executor_run_with_jitter)->Unit(benchmark::kMillisecond);

void executor_run_with_timeline(benchmark::State& state) {
  const moesim::TaskGraph graph = decode_step(0.0);
  moesim::ExecutionOptions options;
  options.record_timeline = true;
  for (auto _ : state) {
    benchmark::DoNotOptimize(moesim::execute(graph, options).timeline.spans.size());
  }
  report(state, graph);
}
BENCHMARK(executor_run_with_timeline)->Unit(benchmark::kMillisecond);

}  // namespace

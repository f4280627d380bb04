// SPDX-License-Identifier: Apache-2.0
// Cost of a step: closed form (goal >= 20,000 estimates a second on one core) and every rank as
// events (goal < 0.5 s).
#include <benchmark/benchmark.h>

#include <string>

#include "sim/engine/step_graph.h"
#include "sim/input/scenario.h"

namespace {

using namespace moesim;

Scenario quickstart(double sigma) {
  static const CardLibrary cards = CardLibrary::open(MOESIM_SOURCE_DIR);
  const std::string path = std::string(MOESIM_SOURCE_DIR) + "/scenarios/quickstart.json";
  ScenarioSpec spec = load_scenario_spec(path);
  spec.routing.sigma = sigma;
  return resolve(spec, cards, path);
}

void step_closed_form(benchmark::State& state) {
  const Scenario scenario = quickstart(static_cast<double>(state.range(0)) / 10.0);
  const StepCostModel model(scenario, routing_of(scenario));
  StepBatch batch = batch_of(scenario);
  for (auto _ : state) {
    batch.decode_context += 1;  // as a serving run does, so that nothing can be remembered
    benchmark::DoNotOptimize(model.evaluate(batch));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(step_closed_form)->ArgName("sigma_x10")->Arg(0)->Arg(11);

void step_events_128_gpus(benchmark::State& state) {
  const Scenario scenario = quickstart(static_cast<double>(state.range(0)) / 10.0);
  const StepCostModel model(scenario, routing_of(scenario));
  const StepBatch batch = batch_of(scenario);
  std::uint64_t draw = 0;
  for (auto _ : state) {
    const StepExecution execution = execute_step(scenario, model, batch, draw++);
    state.counters["tasks"] = static_cast<double>(execution.num_tasks);
    benchmark::DoNotOptimize(execution.seconds);
  }
}
BENCHMARK(step_events_128_gpus)
    ->ArgName("sigma_x10")
    ->Arg(0)
    ->Arg(11)
    ->Unit(benchmark::kMillisecond);

}  // namespace

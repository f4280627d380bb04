// SPDX-License-Identifier: Apache-2.0
// Serving scenarios with a few keys changed, and runs of them down to the single request.
#pragma once

#include <functional>

#include "sim/serving/serving_loop.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim::testing {

using Edit = std::function<void(ScenarioSpec&)>;

/// Llama-3.1-8B on one H100.
inline Scenario dense(const Edit& edit) {
  ScenarioSpec spec;
  spec.model = "llama_3_1_8b";
  spec.cluster = "cluster_h100_ib400";
  spec.gpus_per_node = 1;
  spec.fidelity = Fidelity::event;
  spec.workload.kind = WorkloadKind::serving;
  spec.workload.prompt_tokens = 512;
  spec.workload.output_tokens = 128;
  edit(spec);
  return resolve(spec, cards(), "");
}

/// Mixtral 8x7B on eight H100, attention data-parallel, experts shared: eight ranks in step.
inline Scenario ranks_in_step(const Edit& edit) {
  return dense([&](ScenarioSpec& spec) {
    spec.model = "mixtral_8x7b";
    spec.gpus_per_node = 8;
    spec.parallelism.expert = 8;
    spec.routing.kind = RoutingModel::gumbel;
    spec.routing.sigma = 0.15;
    edit(spec);
  });
}

/// The same in a closed loop of long prompts of many lengths, so that they come one by one;
/// TensorRT-LLM's rules, prompts wait for each other at most `steps`.
inline Scenario prompts_that_wait(std::int64_t steps, Fidelity fidelity = Fidelity::event) {
  return ranks_in_step([&](ScenarioSpec& spec) {
    spec.fidelity = fidelity;
    spec.workload.concurrency = 64;
    spec.workload.requests = 640;
    spec.workload.prompt_tokens = 4000;
    spec.workload.lengths = LengthLaw::range;
    spec.workload.length_ratio = 0.8;
    spec.serving.engine = EnginePreset::tensorrt_llm;
    spec.serving.prompt_wait_steps = steps;
  });
}

struct ServingRun {
  ServingPlan plan;
  ServingRecord record;
};

inline ServingRun run(const Scenario& scenario) {
  RequestStream stream(scenario);
  ServingRun run{serving_plan(scenario, stream), {}};
  run.record = run_serving(scenario, run.plan, stream);
  return run;
}

}  // namespace moesim::testing

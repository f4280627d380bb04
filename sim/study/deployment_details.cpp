// SPDX-License-Identifier: Apache-2.0
#include "sim/study/deployment_details.h"

#include "sim/cost/step_cost.h"
#include "sim/run/step_metrics.h"

namespace moesim {

DeploymentDetails deployment_details(const Scenario& scenario) {
  DeploymentDetails details;
  if (scenario.spec.workload.kind != WorkloadKind::step) {
    return details;
  }
  const StepCostModel model(scenario, routing_of(scenario));
  const StepTemplate& step = model.step_template();
  const std::int64_t layers = step.num_moe_layers == 0           ? 0
                              : model.loads().layers_are_alike() ? 1
                                                                 : step.num_moe_layers;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::span<const double> share = model.loads().layer(layer).rank_share();
    double sum = 0;
    for (const double one : share) {
      sum += one;
    }
    std::vector<double> row;
    for (const double one : share) {
      row.push_back(one / sum * static_cast<double>(share.size()));
    }
    details.rank_load.push_back(std::move(row));
  }
  if (scenario.spec.workload.phase == Phase::prefill) {
    return details;
  }
  for (int octave = -6; octave <= 3; ++octave) {
    Scenario other = scenario;
    double factor = 1;
    for (int i = 0; i < std::abs(octave); ++i) {
      factor *= octave < 0 ? 0.5 : 2.0;
    }
    other.spec.workload.batch_per_gpu *= factor;
    const StepBatch batch = batch_of(other);
    const double seconds = model.evaluate(batch).seconds.value();
    BatchPoint point;
    point.batch_per_gpu = other.spec.workload.batch_per_gpu;
    const double tokens = output_tokens(other, batch);
    point.tokens_per_s_per_gpu = tokens / seconds / static_cast<double>(other.ways.gpus);
    point.tokens_per_s_per_user =
        tokens / seconds / (batch.decode_sequences * static_cast<double>(other.ways.data));
    point.fits = memory_budget(other, step, batch).fits();
    details.batches.push_back(point);
  }
  return details;
}

}  // namespace moesim

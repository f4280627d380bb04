// SPDX-License-Identifier: Apache-2.0
#include "sim/study/deployment_details.h"

#include <algorithm>

#include "sim/cost/step_cost.h"
#include "sim/run/step_metrics.h"
#include "sim/serving/serving_loop.h"

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

namespace {

/// At most kShown points of the curve, ends included: the order statistics themselves.
LatencyCurve curve_of(const char* name, std::vector<double>& seconds) {
  constexpr std::size_t kShown = 400;
  LatencyCurve curve;
  curve.name = name;
  std::sort(seconds.begin(), seconds.end());
  const std::size_t count = seconds.size();
  const std::size_t shown = std::min(count, kShown);
  for (std::size_t i = 0; i < shown; ++i) {
    const std::size_t at = shown > 1 ? i * (count - 1) / (shown - 1) : 0;
    curve.seconds.push_back(seconds[at]);
    curve.shares.push_back(static_cast<double>(at + 1) / static_cast<double>(count));
  }
  return curve;
}

}  // namespace

std::vector<LatencyCurve> latency_curves(const Scenario& scenario) {
  const ScenarioSpec& spec = scenario.spec;
  if (spec.workload.kind != WorkloadKind::serving || spec.fidelity != Fidelity::event ||
      !spec.faults.empty() || !spec.background.empty()) {
    return {};
  }
  RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  const ServingRecord record = run_serving(scenario, plan, stream);
  std::vector<double> first;
  std::vector<double> token;
  std::vector<double> whole;
  for (auto i = static_cast<std::size_t>(spec.workload.warmup_requests); i < record.requests.size();
       ++i) {
    const RequestState& request = record.requests[i];
    if (request.finish_s < 0) {
      continue;
    }
    first.push_back(request.first_token_s - request.arrival_s);
    whole.push_back(request.finish_s - request.arrival_s);
    if (request.output > 1) {
      token.push_back((request.finish_s - request.first_token_s) /
                      static_cast<double>(request.output - 1));
    }
  }
  return {curve_of("ttft_s", first), curve_of("tpot_s", token), curve_of("latency_s", whole)};
}

}  // namespace moesim

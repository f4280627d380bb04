// SPDX-License-Identifier: Apache-2.0
#include "sim/study/front_validation.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>

#include "sim/base/quantity_text.h"
#include "sim/study/plan_pool.h"

namespace moesim {
namespace {

constexpr double kChunkTokens = 8192;  // of engines that do not say; vLLM's and TensorRT-LLM's own
// Above this share of a request's time the wait for the first token is no detail: the front takes
// every sequence as generating.
constexpr double kLongFirstToken = 0.1;

/// Why the row is no point of a front, or "".
std::string no_point(const ServingCase& item) {
  if (!item.left_out.empty()) {
    return item.left_out;
  }
  if (item.row.role == "pd") {
    return "two pools of given sizes: a front holds the best ratio";
  }
  switch (item.load.kind) {
    case LoadKind::offline:
      return "offline: the batch follows from memory and engine, it is not stated";
    case LoadKind::poisson:
      return "an arrival rate, not a batch";
    case LoadKind::closed_loop:
    case LoadKind::local_batch:
      break;
  }
  return "";
}

PoolRole role_of(const ServingCase& item) {
  return item.row.role == "prefill"  ? PoolRole::prefill
         : item.row.role == "decode" ? PoolRole::decode
                                     : PoolRole::aggregated;
}

ServiceRequest service_of(const ServingCase& item) {
  ServiceRequest service;
  service.model = item.spec.model;
  service.load.prompt_tokens = item.load.mean_input();
  service.load.output_tokens = std::max(1.0, item.load.mean_output());
  return service;
}

/// The row's layout as a step of the planner's pool.
ScenarioSpec step_spec(const ServingCase& item, const ServiceRequest& service, PoolRole role) {
  ScenarioSpec spec = item.spec;
  spec.fidelity = Fidelity::analytic;
  spec.serving = {};
  WorkloadSpec workload;
  workload.prompt_tokens = service.load.prompt_tokens;
  workload.output_tokens = service.load.output_tokens;
  workload.context_tokens = item.load.kind == LoadKind::local_batch
                                ? item.spec.workload.context_tokens
                                : service.load.prompt_tokens + 0.5 * service.load.output_tokens;
  workload.phase = role == PoolRole::prefill  ? Phase::prefill
                   : role == PoolRole::decode ? Phase::decode
                                              : Phase::mixed;
  workload.prefills_per_gpu = role == PoolRole::aggregated ? 1 : 0;
  spec.workload = workload;
  return spec;
}

struct Predicted {
  std::string failure;
  double per_gpu = 0;   ///< output, or input for prefill rows, tokens/s/GPU
  double per_user = 0;  ///< tokens/s
  double band = 1;      ///< of both: times and over
};

Predicted predict(const ServingCase& item, const CardLibrary& cards) {
  Predicted result;
  const PoolRole role = role_of(item);
  const ServiceRequest service = service_of(item);
  const Scenario scenario = resolve(step_spec(item, service, role), cards, item.row.id);
  const double gpus = static_cast<double>(scenario.ways.gpus);
  const double replica_gpus = gpus / static_cast<double>(scenario.ways.data);
  const PoolLayout layout = {item.spec.cluster, scenario.ways.gpus, scenario.ways.tensor,
                             item.spec.communication.overlap};
  const PoolModel model(service, role, layout, scenario, PlanRequest().model_error);
  bool fits = false;
  PoolPoint point;
  if (role == PoolRole::prefill) {
    const double prompts = item.load.batch_per_gpu / item.load.input_tokens * replica_gpus;
    point = model.reading(prompts, fits);
    result.per_gpu = point.prompt_requests_per_s * service.load.prompt_tokens / gpus;
    fits = point.memory_fraction <= 1;  // the row has no second pool to send its caches to
  } else {
    const double batch = item.load.kind == LoadKind::local_batch ? item.load.batch_per_gpu
                                                                 : item.load.concurrency / gpus;
    const double chunk = role == PoolRole::decode
                             ? 0
                             : static_cast<double>(item.spec.serving.max_batched_tokens.value_or(
                                   static_cast<std::int64_t>(kChunkTokens)));
    point = model.generating(batch, chunk, fits);
    result.per_gpu = role == PoolRole::decode
                         ? point.slot_requests_per_s * service.load.output_tokens / gpus
                         : limit_rate(point, service.load.output_tokens);
    result.per_user = 1.0 / point.step_s;
  }
  if (!fits) {
    result.failure = "the closed form finds no room for this batch";
  }
  result.band = std::exp(kHalfWidthOf80Percent * point.error.deviation());
  return result;
}

/// What the closed form does not see of a row outside its band.
std::string reason_of(const ServingCase& item, const FrontComparison& row) {
  const double off = row.predicted / row.measured - 1.0;
  std::string text = off > 0 ? "predicted " + plain_number_text(100 * off, 2) + "% too fast"
                             : "predicted " + plain_number_text(-100 * off, 2) + "% too slow";
  const double output = std::max(1.0, item.load.mean_output());
  const double first = item.row.ttft_s.value_or(0);
  const double generating = item.row.tpot_s.value_or(0) * output;
  if (!item.has_goal) {
    text += "; software of early 2025, or hardware without measured kernels";
  } else if (off > 0 && generating > 0 && first > kLongFirstToken * generating) {
    text += "; requests spend " + plain_number_text(100 * first / (first + generating), 2) +
            "% of their time before the first token, the front takes all as generating";
  } else if (off > 0) {
    text += "; scheduler and host time of the engine are not in the steps";
  } else {
    text +=
        "; kernels of this stack are faster than their curves, or prompts disturb less than in "
        "the mean step";
  }
  return text;
}

void compare(const ServingCase& item, const Predicted& predicted,
             std::vector<FrontComparison>& rows) {
  const auto add = [&](const char* quantity, const std::optional<double>& measured, double value) {
    FrontComparison row;
    row.group = item.family + ": " + quantity;
    row.row = item.row.id;
    const std::string why_not = predicted.failure;
    if (!why_not.empty()) {
      row.left_out = why_not;
    } else if (!measured || value <= 0) {
      return;
    } else {
      row.measured = *measured;
      row.predicted = value;
      row.low = value / predicted.band;
      row.high = value * predicted.band;
      row.basis = "estimate";
      if (*measured < *row.low || *measured > *row.high) {
        row.outside = reason_of(item, row);
      }
    }
    rows.push_back(std::move(row));
  };
  if (item.row.role == "prefill") {
    add("input tokens/s/GPU", item.row.input_rate, predicted.per_gpu);
    return;
  }
  add("tokens/s/GPU", item.output_rate, predicted.per_gpu);
  if (item.row.tpot_s) {
    add("tokens/s/user", 1.0 / *item.row.tpot_s, predicted.per_user);
  }
}

}  // namespace

FrontValidation validate_front(const std::vector<std::string>& folders, const CardLibrary& cards) {
  FrontValidation report;
  const std::vector<ServingMeasurement> measurements =
      read_serving_tables(folders, report.problems, report.absent);
  std::vector<ServingCase> cases(measurements.size());
  std::vector<Predicted> predicted(measurements.size());
  tbb::parallel_for(std::size_t{0}, measurements.size(), [&](std::size_t i) {
    cases[i] = serving_case(measurements[i], cards);
    predicted[i].failure = no_point(cases[i]);
    if (predicted[i].failure.empty()) {
      predicted[i] = predict(cases[i], cards);
    }
  });
  for (std::size_t i = 0; i < cases.size(); ++i) {
    compare(cases[i], predicted[i], report.rows);
  }
  std::stable_sort(
      report.rows.begin(), report.rows.end(),
      [](const FrontComparison& a, const FrontComparison& b) { return a.group < b.group; });
  return report;
}

}  // namespace moesim

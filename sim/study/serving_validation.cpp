// SPDX-License-Identifier: Apache-2.0
#include "sim/study/serving_validation.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "sim/cost/step_cost.h"
#include "sim/workload/memory_budget.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTables[] = {"serving_measurements.csv", "dense_serving_measurements.csv"};

PredictedValue plain(double value, Basis basis) {
  return {value, std::nullopt, std::nullopt, choice_name(basis)};
}

/// The largest share of the time wins.
Basis main_basis(const StepCost& cost) {
  const auto largest = std::max_element(cost.by_basis.begin(), cost.by_basis.end());
  return static_cast<Basis>(largest - cost.by_basis.begin());
}

/// Tokens of one engine step at most: what each engine takes by default or in InferenceX's scripts.
double token_budget(const ServingCase& measured) {
  switch (measured.software.engine) {
    case ServingEngine::sglang:
      return 32768;
    default:
      return 8192;
  }
}

/// A closed loop in its steady state: decode steps, of which some also carry a chunk of a prompt
/// (PHYSICS.md section 6).
ServingPrediction predict_closed_loop(const ServingCase& measured, const Scenario& scenario,
                                      const StepCostModel& model) {
  const MeasuredLoad& load = measured.load;
  const double replicas = static_cast<double>(scenario.ways.data);
  const double input = load.mean_input();
  const double output = load.mean_output();
  StepBatch decode;
  decode.decode_context = input + output / 2.0;
  decode.decode_sequences = 1;
  const MemoryBudget memory = memory_budget(scenario, model.step_template(), decode);
  ServingPrediction prediction;
  const double fitting = std::floor(memory.kv_cache_tokens / (input + output / 2.0));
  if (fitting < 1) {
    prediction.failure = "out of memory";
    return prediction;
  }
  const double wanted =
      load.kind == LoadKind::offline ? load.requests / replicas : load.concurrency / replicas;
  const double batch = std::min(wanted, fitting);
  decode.decode_sequences = std::max(1.0, std::ceil(batch));
  const StepCost decode_cost = model.evaluate(decode);
  const double chunk = std::min(input, token_budget(measured) - decode.decode_sequences);
  StepBatch mixed = decode;
  mixed.prefill_sequences = 1;
  mixed.prefill_new_tokens = chunk;
  const double mixed_s = model.evaluate(mixed).seconds.value();
  StepBatch prefill;
  prefill.prefill_sequences = 1;
  prefill.prefill_new_tokens = input;
  const double prefill_s = model.evaluate(prefill).seconds.value();
  const double chunks = std::ceil(input / chunk);
  const double decode_s = decode_cost.seconds.value();
  const double tpot = decode_s + (mixed_s - decode_s) * batch * chunks / output;
  const double ttft = prefill_s + decode_s / 2.0;
  const Basis basis = main_basis(decode_cost);
  prediction.tpot_s = plain(tpot, basis);
  if (load.kind == LoadKind::closed_loop) {
    prediction.ttft_s = plain(ttft, basis);
  }
  prediction.output_rate = plain(batch * output / (ttft + tpot * (output - 1)) * replicas /
                                     static_cast<double>(scenario.ways.gpus),
                                 basis);
  return prediction;
}

}  // namespace

ServingPrediction predict_serving(const ServingCase& measured, const CardLibrary& cards) {
  ScenarioSpec spec = measured.spec;
  const bool is_prefill = measured.row.role == "prefill";
  spec.workload.phase = is_prefill ? Phase::prefill : Phase::decode;
  if (measured.load.kind == LoadKind::closed_loop || measured.load.kind == LoadKind::offline) {
    const Scenario scenario = resolve(spec, cards, measured.row.id);
    const StepCostModel model(scenario, routing_of(scenario));
    return predict_closed_loop(measured, scenario, model);
  }
  ServingPrediction none;
  none.failure = "this kind of load is not simulated yet";
  return none;
}

ServingValidation validate_serving(const std::vector<std::string>& folders,
                                   const CardLibrary& cards) {
  ServingValidation report;
  const auto add = [&report](const std::string& group, const ServingCase& measured,
                             const std::optional<double>& value,
                             const std::optional<PredictedValue>& predicted,
                             const std::string& why_not) {
    ServingComparison row;
    row.group = group;
    row.row = measured.row.id;
    if (!why_not.empty()) {
      row.left_out = why_not;
    } else if (!value || !predicted) {
      return;
    } else {
      row.measured = *value;
      row.predicted = predicted->value;
      row.low = predicted->low;
      row.high = predicted->high;
      row.basis = predicted->basis;
    }
    report.rows.push_back(std::move(row));
  };
  for (const char* table : kTables) {
    bool found = false;
    for (const std::string& folder : folders) {
      for (const fs::path& path : {fs::path(folder) / table, fs::path(folder) / "e2e" / table}) {
        if (!fs::exists(path)) {
          continue;
        }
        found = true;
        Diagnostics problems;
        for (const ServingMeasurement& row : read_serving_measurements(path.string(), problems)) {
          const ServingCase measured = serving_case(row, cards);
          ServingPrediction predicted;
          std::string why_not = measured.left_out;
          if (why_not.empty()) {
            predicted = predict_serving(measured, cards);
            why_not = predicted.failure;
          }
          const std::string group = "zero-shot, " + measured.family;
          if (row.tpot_s) {
            add(group + ": tpot", measured, row.tpot_s, predicted.tpot_s, why_not);
          }
          if (measured.output_rate || row.output_rate) {
            add(group + ": output rate", measured, measured.output_rate, predicted.output_rate,
                why_not);
          }
          if (row.input_rate && row.role == "prefill") {
            add(group + ": input rate", measured, row.input_rate, predicted.input_rate, why_not);
          }
          if (row.ttft_s && measured.ttft_is_usable) {
            add(group + ": ttft", measured, row.ttft_s, predicted.ttft_s, why_not);
          }
        }
        report.problems.insert(report.problems.end(), problems.list().begin(),
                               problems.list().end());
      }
    }
    if (!found) {
      report.absent.push_back(std::string("e2e/") + table);
    }
  }
  std::stable_sort(
      report.rows.begin(), report.rows.end(),
      [](const ServingComparison& a, const ServingComparison& b) { return a.group < b.group; });
  return report;
}

}  // namespace moesim

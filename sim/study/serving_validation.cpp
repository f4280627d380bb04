// SPDX-License-Identifier: Apache-2.0
#include "sim/study/serving_validation.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "sim/run/simulate.h"
#include "sim/study/hidden_queue.h"
#include "sim/study/serving_calibration.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTables[] = {"serving_measurements.csv", "dense_serving_measurements.csv"};

// Series of one software that its efficiency set is fitted to, evenly among all of them: more move
// four numbers little and cost a simulation of each end, many times.
constexpr std::size_t kFittedSeries = 6;

/// The figure `name` of a result: its mean where it is a distribution.
std::optional<PredictedValue> figure(const SimulationResult& result, const std::string& name) {
  const NamedMetric* named = result.find(name);
  if (named == nullptr) {
    return std::nullopt;
  }
  const Metric* metric = std::get_if<Metric>(&named->value);
  if (const auto* distribution = std::get_if<Distribution>(&named->value)) {
    metric = &distribution->mean;
  }
  if (metric == nullptr) {
    return std::nullopt;
  }
  return PredictedValue{metric->value, metric->low, metric->high, choice_name(metric->basis)};
}

/// Adds the quantities of one case to the rows.
void compare_case(const std::string& variant, const ServingCase& item,
                  const ServingPrediction& predicted, bool is_lowest,
                  std::vector<ServingComparison>& rows) {
  const ServingMeasurement& row = item.row;
  std::string why_not = item.left_out.empty() ? predicted.failure : item.left_out;
  const auto add = [&](const char* quantity, const std::optional<double>& value,
                       const std::optional<PredictedValue>& prediction) {
    ServingComparison result;
    result.group = variant + ", " + item.family + ": " + quantity;
    result.row = row.id;
    if (!why_not.empty()) {
      result.left_out = why_not;
    } else if (!value || !prediction) {
      return;
    } else {
      result.measured = *value;
      result.predicted = prediction->value;
      result.low = prediction->low;
      result.high = prediction->high;
      result.basis = prediction->basis;
    }
    rows.push_back(std::move(result));
  };
  if (row.tpot_s) {
    add("tpot", row.tpot_s, predicted.tpot_s);
  }
  if (item.output_rate || row.output_rate) {
    add("output rate", item.output_rate, predicted.output_rate);
  }
  if (row.input_rate && row.role == "prefill") {
    add("input rate", row.input_rate, predicted.input_rate);
  }
  if (row.ttft_s) {
    why_not = why_not.empty() ? item.ttft_left_out : why_not;
    add("ttft", row.ttft_s, predicted.ttft_s);
    if (is_lowest && why_not.empty()) {
      add("ttft at low load", row.ttft_s, predicted.ttft_s);
    }
  }
}

/// Rows of one series in order of their concurrency.
using Series = std::vector<std::size_t>;

std::map<std::string, Series> series_of(const std::vector<ServingCase>& cases) {
  std::map<std::string, Series> series;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].left_out.empty() && cases[i].load.kind == LoadKind::closed_loop) {
      series[cases[i].series].push_back(i);
    }
  }
  for (auto& [name, rows] : series) {
    std::stable_sort(rows.begin(), rows.end(), [&cases](std::size_t a, std::size_t b) {
      return cases[a].load.concurrency < cases[b].load.concurrency;
    });
  }
  return series;
}

/// The calibrated variant: for every (machine, framework, version) with series of at least three.
void add_calibrated(const std::vector<ServingCase>& cases,
                    const std::map<std::string, Series>& series, const CardLibrary& cards,
                    ServingValidation& report) {
  std::map<std::string, std::vector<const Series*>> by_software;
  for (const auto& [name, rows] : series) {
    const ServingCase& first = cases[rows.front()];
    if (rows.size() >= 3 && first.software.engine != ServingEngine::unknown) {
      by_software[first.spec.cluster.substr(8) + " " + first.row.framework].push_back(&rows);
    }
  }
  for (const auto& [software, all] : by_software) {
    std::vector<const ServingCase*> ends;
    const std::size_t step = (all.size() + kFittedSeries - 1) / kFittedSeries;
    for (std::size_t i = 0; i < all.size(); i += step) {
      ends.push_back(&cases[all[i]->front()]);
      ends.push_back(&cases[all[i]->back()]);
    }
    const EfficiencySet set = fit_efficiency(ends, cards);
    char text[160];
    std::snprintf(
        text, sizeof text,
        "memory x %.3f, arithmetic x %.3f, step %+.3f ms, request %+.0f ms, fitted to %zu "
        "rows",
        set.memory, set.arithmetic, set.step_s * 1e3, set.request_s * 1e3, ends.size());
    report.notes.push_back(software + ": " + text);
    std::vector<std::size_t> between;
    for (const Series* rows : all) {
      between.insert(between.end(), rows->begin() + 1, rows->end() - 1);
    }
    std::vector<ServingPrediction> predictions(between.size());
    tbb::parallel_for(std::size_t{0}, between.size(), [&](std::size_t i) {
      const ServingCase& item = cases[between[i]];
      predictions[i] = predict_serving(item.spec, set, cards, item.row.id);
    });
    for (std::size_t i = 0; i < between.size(); ++i) {
      compare_case("calibrated", cases[between[i]], predictions[i], false, report.rows);
    }
  }
}

}  // namespace

ServingPrediction prediction_of(const SimulationResult& result) {
  ServingPrediction prediction;
  if (!result.feasibility.ok) {
    prediction.failure = result.feasibility.reasons.empty() ? "cannot be served"
                                                            : result.feasibility.reasons.front();
    return prediction;
  }
  prediction.tpot_s = figure(result, "tpot_s");
  prediction.ttft_s = figure(result, "ttft_s");
  prediction.output_rate = figure(result, "output_tokens_per_s_per_gpu");
  prediction.input_rate = figure(result, "input_tokens_per_s_per_gpu");
  return prediction;
}

ServingPrediction predict_serving(const ScenarioSpec& spec, const CardLibrary& cards,
                                  const std::string& name) {
  return prediction_of(simulate(resolve(spec, cards, name), {.what_ifs = false, .threads = 1}));
}

std::vector<ServingMeasurement> read_serving_tables(const std::vector<std::string>& folders,
                                                    std::vector<Diagnostic>& problems,
                                                    std::vector<std::string>& absent) {
  std::vector<ServingMeasurement> measurements;
  for (const char* table : kTables) {
    bool found = false;
    for (const std::string& folder : folders) {
      for (const fs::path& path : {fs::path(folder) / table, fs::path(folder) / "e2e" / table}) {
        if (!fs::exists(path)) {
          continue;
        }
        found = true;
        Diagnostics bad_cells;
        for (ServingMeasurement& row : read_serving_measurements(path.string(), bad_cells)) {
          measurements.push_back(std::move(row));
        }
        problems.insert(problems.end(), bad_cells.list().begin(), bad_cells.list().end());
      }
    }
    if (!found) {
      absent.push_back(std::string("e2e/") + table);
    }
  }
  return measurements;
}

ServingValidation validate_serving(const std::vector<std::string>& folders,
                                   const CardLibrary& cards) {
  ServingValidation report;
  const std::vector<ServingMeasurement> measurements =
      read_serving_tables(folders, report.problems, report.absent);
  std::vector<ServingCase> cases(measurements.size());
  std::vector<ServingPrediction> predictions(measurements.size());
  tbb::parallel_for(std::size_t{0}, measurements.size(), [&](std::size_t i) {
    cases[i] = serving_case(measurements[i], cards);
    if (cases[i].left_out.empty()) {
      predictions[i] = predict_serving(cases[i].spec, cards, cases[i].row.id);
      cases[i].left_out = predictions[i].failure;
    }
  });
  mark_hidden_queues(cases);
  const std::map<std::string, Series> series = series_of(cases);
  std::set<std::size_t> lowest;
  for (const auto& [name, rows] : series) {
    lowest.insert(rows.front());
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    compare_case("zero-shot", cases[i], predictions[i], lowest.count(i) != 0, report.rows);
  }
  add_calibrated(cases, series, cards, report);
  std::stable_sort(
      report.rows.begin(), report.rows.end(),
      [](const ServingComparison& a, const ServingComparison& b) { return a.group < b.group; });
  return report;
}

}  // namespace moesim

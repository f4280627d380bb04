// SPDX-License-Identifier: Apache-2.0
// Predicted against measured serving runs: `validate --suite serving`.
//
// Each row that the rule of serving_case takes is simulated from its scenario and compared in up to
// three quantities: time per output token, tokens a second and GPU, time to first token. Families
// are model x hardware. `zero-shot`: nothing measured end to end enters. `calibrated`: one
// efficiency set per (machine, framework, version), fitted on the lowest and highest concurrency of
// some of its series (rows that differ in concurrency only); judged on the concurrencies between.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sim/study/serving_case.h"

namespace moesim {

struct PredictedValue {
  double value = 0;
  std::optional<double> low;
  std::optional<double> high;
  std::string basis;
};

/// What a simulated run says about the quantities of a row; absent: not applicable.
struct ServingPrediction {
  std::optional<PredictedValue> tpot_s;
  std::optional<PredictedValue> ttft_s;
  std::optional<PredictedValue> output_rate;  ///< tokens a second and GPU
  std::optional<PredictedValue> input_rate;   ///< tokens a second and GPU
  std::string failure;                        ///< why there is none: out of memory ...
};

struct SimulationResult;

/// The quantities of a row that a result has.
ServingPrediction prediction_of(const SimulationResult& result);
/// Simulates a scenario as `moesim run` does. Throws InputError for files that it names.
ServingPrediction predict_serving(const ScenarioSpec& spec, const CardLibrary& cards,
                                  const std::string& name);

/// One quantity of one row beside its prediction, or the reason why there is none.
struct ServingComparison {
  std::string group;  ///< "zero-shot, deepseek_r1 on h200: tpot"
  std::string row;
  double measured = 0;
  double predicted = 0;
  std::optional<double> low;
  std::optional<double> high;
  std::string basis;
  std::string left_out;
};

struct ServingValidation {
  std::vector<ServingComparison> rows;  ///< sorted by group
  std::vector<Diagnostic> problems;     ///< bad cells: file, row, column
  std::vector<std::string> absent;      ///< tables that no folder holds
  std::vector<std::string> notes;       ///< the fitted efficiency sets
};

/// Rows of the serving tables below `folders` (DIR or DIR/e2e), bad cells to `problems`, tables
/// that no folder holds to `absent`.
std::vector<ServingMeasurement> read_serving_tables(const std::vector<std::string>& folders,
                                                    std::vector<Diagnostic>& problems,
                                                    std::vector<std::string>& absent);

/// Runs the suite over the tables that exist below `folders` (DIR or DIR/e2e).
ServingValidation validate_serving(const std::vector<std::string>& folders,
                                   const CardLibrary& cards);

}  // namespace moesim

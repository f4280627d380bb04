// SPDX-License-Identifier: Apache-2.0
// Predicted against measured kernel times: `validate --suite compute`.
//
// A row is predicted by the curve set of its system and software; when that stack has none, by
// another stack of the same system (same framework first). The group says which. Errors are
// relative to the measured time; a group is op x system x framework x dtype.
#pragma once

#include <string>
#include <vector>

#include "calibrate/calibration_rows.h"
#include "sim/base/json.h"
#include "sim/cost/cost_curve.h"

namespace moesim {

struct ValidationRow {
  std::string group;
  std::string file;
  std::int64_t file_row = 0;
  double measured = 0;   ///< seconds
  double predicted = 0;  ///< seconds
  double low = 0, high = 0;
  Basis basis = Basis::fitted;
  bool in_range = false;
  bool slow = false;
  std::string left_out;  ///< reason why it was not predicted; then only file, row and measured hold
};

struct ValidationGroup {
  std::string group;
  std::string predicted_by;  ///< curve set, "h100_sxm trtllm-1.3.0rc20"
  std::size_t n = 0;
  std::size_t left_out = 0;
  double mape = 0, median_ape = 0, p90_ape = 0;  ///< fractions
  double bias = 0;                               ///< median of predicted / measured - 1
  double band_coverage = 0;                      ///< share of rows inside their 80% band
  double band_half_width = 0;                    ///< median, fraction of the prediction
};

struct ComputeValidation {
  std::vector<ValidationGroup> groups;
  std::vector<ValidationRow> rows;   ///< only when asked for
  std::vector<Diagnostic> problems;  ///< bad cells: file, row, column
  std::vector<std::string> absent;   ///< what was looked for and not there
};

/// Curve sets of `given` (files, folders), then those shipped under `root`/hardware_profiles/curves
/// in order of file name; the first that fits a row predicts it. Throws InputError.
std::vector<CurveSet> load_curve_sets(const std::string& root,
                                      const std::vector<std::string>& given = {});

/// `folders`: sample files (.jsonl), or folders that hold SYSTEM/TABLE.FRAMEWORK-VERSION.csv[.gz]
/// or compute/SYSTEM/... below them.
ComputeValidation validate_compute(const std::vector<std::string>& folders,
                                   const std::vector<CurveSet>& sets, bool keep_rows);

/// Groups with the rows of known slow kernels left out as well end in " without slow rows".
Json to_json(const ComputeValidation& validation);

/// Statistics of one group's rows (those with `left_out` are only counted).
ValidationGroup summarise(const std::string& group, const std::vector<ValidationRow>& rows);

}  // namespace moesim

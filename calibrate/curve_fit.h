// SPDX-License-Identifier: Apache-2.0
// Fits one cost curve to its rows: law, residual trees, 80% band.
//
// The law's parameters minimise the mean |log(measured / law)| over a sample of rows (NLopt's
// Sbplx, in log space, inside each parameter's range); the trees then take what is smooth in the
// rest. Bands come from left-out rows only: cross-validated errors train trees of log |error|; the
// width of a fold's band is the one that held 80% of the rows of other folds whose scale was
// foreseen by trees without them (cross-conformal, nested): the coverage reported for left-out rows
// was not tuned on them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/boosted_trees.h"
#include "calibrate/calibration_rows.h"
#include "sim/cost/cost_curve.h"

namespace moesim {

struct CurveFitOptions {
  BoostingOptions boosting;
  int law_evaluations = 1500;   ///< of the objective, each over `law_rows`
  std::size_t law_rows = 2000;  ///< at most, drawn evenly
  double slow_cut = 0;          ///< rows this much (log) slower than the law train no trees; 0: all
};

/// Options that suit a family and a number of rows: fewer trees for small tables.
CurveFitOptions default_fit_options(OpFamily family, std::size_t num_rows);

/// What one left-out row was predicted to be.
struct LeftOut {
  double law_seconds = 0;  ///< 0: the row was in no fold
  double seconds = 0;
  double band = 0;  ///< half-width of the 80% band in log space
  bool in_range = false;
};

enum class FoldKey { shape, model };

struct CrossValidation {
  std::vector<LeftOut> rows;  ///< by row of the curve
  int folds = 0;
  std::vector<double> log_scales;  ///< by row: foreseen log |error|, by trees without its fold
};

/// Leaves out whole keys: four folds by shape, or by model one (a model of more than a twelfth of
/// them together). `folds_wanted` 0 means these.
CrossValidation cross_validate(const CurveRows& rows, const DevicePeaks& device,
                               const CurveFitOptions& options, FoldKey key, int folds_wanted = 0);

/// The curve of all rows, its band from `validation` (by shape).
CostCurve fit_curve(const CurveRows& rows, const DevicePeaks& device,
                    const CurveFitOptions& options, const CrossValidation& validation,
                    bool* converged = nullptr);

/// Parameters of the law only, over `indices`; `start` empty: the law's own starts. `converged`:
/// the descent ended by itself, not by its number of evaluations while still winning over 1%.
std::vector<double> fit_law(const CurveRows& rows, std::span<const std::uint32_t> indices,
                            const DevicePeaks& device, const CurveFitOptions& options,
                            std::span<const double> start, bool* converged = nullptr);

}  // namespace moesim

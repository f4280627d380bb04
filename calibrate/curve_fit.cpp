// SPDX-License-Identifier: Apache-2.0
#include "calibrate/curve_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "calibrate/quantile.h"
#include "calibrate/subplex.h"
#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr double kBandCoverage = 0.80;
// Half-width of ordinary rows over the median error: at a normal error's own scale this covers 67%,
// and rows with smaller or larger scales more, so that all together reach the 80%.
constexpr double kFloorOverMedian = 1.42;
constexpr double kSteepestSlope = 6;
constexpr int kMostRounds = 10;           // of the law's descent
constexpr double kSettledGain = 0.01;     // a further round that wins less than this is the end
constexpr double kSmallestError = 0.002;  // below the source's repeatability errors are all alike

struct LawObjective {
  const CurveRows* rows;
  const DevicePeaks* device;
  std::vector<std::uint32_t> indices;
  std::vector<double> values;
};

double mean_log_error(unsigned n, const double* x, double*, void* data) {
  auto& objective = *static_cast<LawObjective*>(data);
  objective.values.resize(n);
  for (unsigned i = 0; i < n; ++i) {
    objective.values[i] = portable_exp(x[i]);
  }
  double sum = 0;
  for (const std::uint32_t index : objective.indices) {
    const CalibrationRow& row = objective.rows->rows[index];
    sum += std::fabs(
        portable_log(row.seconds / law_seconds(row.op, *objective.device,
                                               objective.rows->arithmetic, objective.values)));
  }
  return sum / static_cast<double>(objective.indices.size());
}

/// Features of all rows under one law.
struct Design {
  std::size_t num_features = 0;
  std::vector<float> features;  // [rows][num_features]
  std::vector<double> law;      // [rows]
  std::vector<double> target;   // [rows] log(measured / law)
};

Design design_of(const CurveRows& rows, const DevicePeaks& device,
                 std::span<const double> parameters) {
  Design design;
  design.num_features = feature_names(rows.family).size();
  design.features.resize(rows.rows.size() * design.num_features);
  design.law.reserve(rows.rows.size());
  design.target.reserve(rows.rows.size());
  FeatureVector vector{};
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    const CalibrationRow& row = rows.rows[i];
    const double law = law_seconds(row.op, device, rows.arithmetic, parameters);
    op_features(row.op, device, rows.arithmetic, law, vector);
    std::copy_n(vector.begin(), design.num_features,
                design.features.begin() + static_cast<std::ptrdiff_t>(i * design.num_features));
    design.law.push_back(law);
    design.target.push_back(portable_log(row.seconds / law));
  }
  return design;
}

std::vector<std::uint32_t> without_slow(const Design& design, std::span<const std::uint32_t> rows,
                                        double cut) {
  std::vector<std::uint32_t> kept;
  for (const std::uint32_t row : rows) {
    if (cut <= 0 || design.target[row] <= cut) {
      kept.push_back(row);
    }
  }
  return kept.empty() ? std::vector<std::uint32_t>(rows.begin(), rows.end()) : kept;
}

/// Errors of left-out rows beside the error scale that was foreseen for them by trees which had not
/// seen them.
struct Band {
  std::vector<double> log_scales;
  std::vector<double> errors;
  double median_error = 0;
  double centre = 0;

  void finish() {
    median_error = std::max(kSmallestError, quantile(errors, 0.5));
    centre = quantile(log_scales, 0.5);
  }
};

double log_scale_of(const ResidualTrees& trees, const Design& design, std::size_t row) {
  return trees.evaluate(&design.features[row * design.num_features]);
}

/// Trees of log |error|; `errors` [rows] |log(measured / predicted)| of left-out rows.
ResidualTrees fit_band(const Design& design, std::span<const double> errors,
                       std::span<const std::uint32_t> rows) {
  std::vector<double> target(errors.size());
  for (const std::uint32_t row : rows) {
    target[row] = portable_log(errors[row] + kSmallestError);
  }
  BoostingOptions options;
  options.trees = std::clamp(static_cast<int>(rows.size() / 60), 12, 36);
  options.depth = 5;
  options.rate = 0.25;
  options.leaf_prior = 20;
  options.thresholds = 32;
  options.largest_clip = 3;
  return fit_boosted_trees(design.features, design.num_features, target, rows, options);
}

double coverage_of(const Band& band, const BandShape& shape) {
  double inside = 0;
  for (std::size_t i = 0; i < band.errors.size(); ++i) {
    inside += band.errors[i] <= shape.width(band.log_scales[i]) ? 1.0 : 0.0;
  }
  return inside / static_cast<double>(band.errors.size());
}

/// The flattest shape that covers `coverage` of the band's own rows: first a steeper rise of the
/// uncertain rows, then a higher floor.
BandShape shape_for(const Band& band, double coverage) {
  BandShape shape{kFloorOverMedian * band.median_error, 0.5, band.centre};
  const auto bisect = [&](double& value, double low, double high) {
    for (int step = 0; step < 30; ++step) {
      value = 0.5 * (low + high);
      (coverage_of(band, shape) < coverage ? low : high) = value;
    }
    value = high;
  };
  bisect(shape.slope, 0.5, kSteepestSlope);
  if (coverage_of(band, shape) < coverage) {
    bisect(shape.floor, shape.floor, 30.0 * shape.floor);
  }
  return shape;
}

std::vector<int> folds_of(const CurveRows& rows, FoldKey key, int wanted, int& folds) {
  std::vector<int> fold(rows.rows.size());
  // Keys are hashes: dealing them out in order is random, but balanced.
  std::set<std::uint64_t> distinct;
  for (const CalibrationRow& row : rows.rows) {
    distinct.insert(key == FoldKey::shape ? row.shape : row.model);
  }
  const std::vector<std::uint64_t> keys(distinct.begin(), distinct.end());
  const int usual = key == FoldKey::shape ? 4 : 12;
  folds = std::min(wanted > 0 ? wanted : usual, static_cast<int>(keys.size()));
  for (std::size_t i = 0; i < fold.size(); ++i) {
    const std::uint64_t own = key == FoldKey::shape ? rows.rows[i].shape : rows.rows[i].model;
    fold[i] =
        static_cast<int>(std::lower_bound(keys.begin(), keys.end(), own) - keys.begin()) % folds;
  }
  return fold;
}

}  // namespace

CurveFitOptions default_fit_options(OpFamily family, std::size_t num_rows) {
  CurveFitOptions options;
  options.boosting.trees = std::clamp(static_cast<int>(num_rows / 10), 15, 240);
  options.boosting.rate = 0.3;
  if (family == OpFamily::grouped_gemm) {
    // Shapes of other models lie far apart: gentler trees, and rows far above the law are other
    // kernels (README, "Derived here"), not a trend.
    options.boosting.rate = 0.15;
    options.boosting.leaf_prior = 30;
    options.slow_cut = 0.6;
  }
  return options;
}

std::vector<double> fit_law(const CurveRows& rows, std::span<const std::uint32_t> indices,
                            const DevicePeaks& device, const CurveFitOptions& options,
                            std::span<const double> start, bool* converged) {
  const auto parameters = law_parameters(rows.family);
  LawObjective objective{&rows, &device, {}, {}};
  const std::size_t stride =
      std::max<std::size_t>(1, indices.size() / std::max<std::size_t>(1, options.law_rows));
  // A stride that shares a factor with the table's own order would see one token count only.
  RandomStream random(7, "calibrate/law_rows");
  for (std::size_t i = 0; i < indices.size(); i += stride) {
    const std::size_t offset = std::min(indices.size() - 1, i + random.below(stride));
    objective.indices.push_back(indices[offset]);
  }
  std::vector<double> x;
  std::vector<double> low;
  std::vector<double> high;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    low.push_back(portable_log(parameters[i].low));
    high.push_back(portable_log(parameters[i].high));
    x.push_back(std::clamp(portable_log(start.empty() ? parameters[i].start : start[i]),
                           low.back() + 1e-3, high.back() - 1e-3));
  }
  nlopt::opt optimiser =
      subplex(mean_log_error, &objective, low, high, start.empty() ? 0.4 : 0.1,
              start.empty() ? options.law_evaluations : options.law_evaluations / 3);
  // A round that ends by its number of evaluations goes on while it still wins something.
  double error = mean_log_error(static_cast<unsigned>(x.size()), x.data(), nullptr, &objective);
  bool is_settled = false;
  for (int round = 0; round < kMostRounds && !is_settled; ++round) {
    const double before = error;
    is_settled =
        improve(optimiser, x, error) || (round > 0 && error > (1.0 - kSettledGain) * before);
    optimiser.set_initial_step(0.1);
  }
  if (converged != nullptr) {
    *converged = is_settled;
  }
  std::vector<double> values;
  for (const double value : x) {
    values.push_back(portable_exp(value));
  }
  return values;
}

CrossValidation cross_validate(const CurveRows& rows, const DevicePeaks& device,
                               const CurveFitOptions& options, FoldKey key, int folds_wanted) {
  CrossValidation result;
  result.rows.resize(rows.rows.size());
  const std::vector<int> fold = folds_of(rows, key, folds_wanted, result.folds);
  std::vector<std::uint32_t> all(rows.rows.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<double> common = fit_law(rows, all, device, options, {});
  std::vector<double> errors(rows.rows.size());
  std::vector<Design> designs;
  for (int left = 0; left < result.folds; ++left) {
    std::vector<std::uint32_t> train;
    std::copy_if(all.begin(), all.end(), std::back_inserter(train),
                 [&](std::uint32_t i) { return fold[i] != left; });
    if (train.empty() || train.size() == all.size()) {
      continue;  // one key only, or an empty fold
    }
    // The common start has seen the left-out rows, but only as a start of a descent over the
    // others.
    const std::vector<double> law = fit_law(rows, train, device, options, common);
    Design design = design_of(rows, device, law);
    const ResidualTrees trees =
        fit_boosted_trees(design.features, design.num_features, design.target,
                          without_slow(design, train, options.slow_cut), options.boosting);
    std::vector<FeatureRange> ranges(design.num_features, {1e30F, -1e30F});
    for (const std::uint32_t i : train) {
      for (std::size_t f = 0; f < ranges.size(); ++f) {
        const float value = design.features[i * design.num_features + f];
        ranges[f] = {std::min(ranges[f].low, value), std::max(ranges[f].high, value)};
      }
    }
    FeatureVector vector{};
    for (const std::uint32_t i : all) {
      if (fold[i] != left) {
        continue;
      }
      std::copy_n(&design.features[i * design.num_features], design.num_features, vector.begin());
      LeftOut& out = result.rows[i];
      out.law_seconds = design.law[i];
      out.seconds = design.law[i] * portable_exp(trees.evaluate(vector.data()));
      out.in_range = distance_outside(ranges, vector) <= 0;
      errors[i] = std::fabs(portable_log(rows.rows[i].seconds / out.seconds));
    }
  }
  // A fold's band may know nothing of the fold: its trees come from the other folds, and the width
  // that holds 80% of rows from pairs of folds, one to fit trees to, one to count rows in.
  const Design design = design_of(rows, device, common);
  const auto without = [&](int one, int two) {
    std::vector<std::uint32_t> kept;
    std::copy_if(all.begin(), all.end(), std::back_inserter(kept), [&](std::uint32_t i) {
      return fold[i] != one && fold[i] != two && result.rows[i].seconds > 0;
    });
    return kept;
  };
  std::map<std::pair<int, int>, ResidualTrees> pairs;
  result.log_scales.assign(rows.rows.size(), 0.0);
  for (int left = 0; left < result.folds; ++left) {
    const std::vector<std::uint32_t> others = without(left, left);
    if (others.empty()) {
      continue;
    }
    const ResidualTrees trees = fit_band(design, errors, others);
    Band band;
    for (int other = 0; other < result.folds; ++other) {
      const std::pair<int, int> both(std::min(left, other), std::max(left, other));
      if (other == left) {
        continue;
      }
      if (!pairs.contains(both)) {
        const std::vector<std::uint32_t> rest = without(left, other);
        // Two folds only: nothing is left beside the pair, the fold's own trees must do.
        pairs.emplace(both, rest.empty() ? trees : fit_band(design, errors, rest));
      }
      const ResidualTrees& known = pairs.at(both);
      for (const std::uint32_t i : others) {
        if (fold[i] == other) {
          band.log_scales.push_back(log_scale_of(known, design, i));
          band.errors.push_back(errors[i]);
        }
      }
    }
    band.finish();
    const BandShape shape = shape_for(band, kBandCoverage);
    for (const std::uint32_t i : all) {
      if (fold[i] == left && result.rows[i].seconds > 0) {
        result.log_scales[i] = log_scale_of(trees, design, i);
        result.rows[i].band = shape.width(result.log_scales[i]);
      }
    }
  }
  return result;
}

CostCurve fit_curve(const CurveRows& rows, const DevicePeaks& device,
                    const CurveFitOptions& options, const CrossValidation& validation,
                    bool* converged) {
  CostCurve curve;
  curve.family = rows.family;
  curve.format = rows.format;
  curve.variant = rows.variant;
  curve.arithmetic = rows.arithmetic;
  std::vector<std::uint32_t> all(rows.rows.size());
  std::iota(all.begin(), all.end(), 0);
  curve.parameters = fit_law(rows, all, device, options, {}, converged);
  const Design design = design_of(rows, device, curve.parameters);
  curve.residual = fit_boosted_trees(design.features, design.num_features, design.target,
                                     without_slow(design, all, options.slow_cut), options.boosting);
  curve.ranges.assign(design.num_features, {1e30F, -1e30F});
  for (const std::uint32_t i : all) {
    for (std::size_t f = 0; f < curve.ranges.size(); ++f) {
      const float value = design.features[i * design.num_features + f];
      curve.ranges[f] = {std::min(curve.ranges[f].low, value),
                         std::max(curve.ranges[f].high, value)};
    }
  }
  std::vector<std::uint32_t> left_out;
  std::vector<double> errors(all.size());
  std::vector<double> apes;
  std::vector<double> law_apes;
  std::vector<double> signed_errors;
  double inside = 0;
  for (const std::uint32_t i : all) {
    const LeftOut& out = validation.rows[i];
    if (out.seconds <= 0) {
      continue;
    }
    const double measured = rows.rows[i].seconds;
    left_out.push_back(i);
    const double error = portable_log(measured / out.seconds);
    errors[i] = std::fabs(error);
    signed_errors.push_back(error);
    apes.push_back(std::fabs(out.seconds / measured - 1.0));
    law_apes.push_back(std::fabs(out.law_seconds / measured - 1.0));
    inside += errors[i] <= out.band ? 1.0 : 0.0;
  }
  curve.record.rows = static_cast<double>(rows.rows.size());
  if (!left_out.empty()) {
    Band band;
    for (const std::uint32_t i : left_out) {
      band.log_scales.push_back(validation.log_scales[i]);
      band.errors.push_back(errors[i]);
    }
    band.finish();
    curve.band = fit_band(design, errors, left_out);
    curve.band_shape = shape_for(band, kBandCoverage);
    curve.record.law_median_ape = quantile(law_apes, 0.5);
    curve.record.median_ape = quantile(apes, 0.5);
    curve.record.p90_ape = quantile(apes, 0.9);
    curve.record.band_coverage = inside / static_cast<double>(left_out.size());
    // What all ops of the curve share is how far the middle of a whole fold is off: estimated by
    // the median error over all folds, not below the repeatability of the tables (0.5%).
    curve.shared_uncertainty = std::max(0.005, std::fabs(quantile(signed_errors, 0.5)));
  }
  return curve;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Fitted curves of one device with one software stack: seconds of an op, and how far off they may
// be.
//
//     seconds = law(op; parameters) * exp(residual trees(features))
//     80% band: seconds * exp(+-w),  w = band_scale * exp(band trees(features)) * (1 + distance
//     outside the data / 2)
//
// A curve belongs to an op family, the stored number format and a variant ("" the usual kernel,
// "fp8_math" attention that multiplies in fp8 ...). Curves are made by calibrate/ and read here
// from `hardware_profiles/curves/DEVICE.STACK.json`; evaluating needs no fitting code.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/base/json.h"
#include "sim/cost/cost_estimate.h"
#include "sim/cost/op_features.h"
#include "sim/cost/physical_law.h"
#include "sim/cost/residual_trees.h"

namespace moesim {

/// Smallest and largest value of a feature among the rows that a curve was fitted to.
struct FeatureRange {
  float low = 0;
  float high = 0;
};

struct CurveFitRecord {
  double rows = 0;            ///< rows the fit saw
  double law_median_ape = 0;  ///< left-out error of the law alone, fraction
  double median_ape = 0;      ///< left-out error of law and trees
  double p90_ape = 0;
  double band_coverage = 0;  ///< of left-out rows, fraction inside the 80% band
};

/// From the band trees' log error scale to a half-width: flat where errors are as small as usual or
/// smaller (they cannot be told apart there), rising as a power of the scale where they are larger.
struct BandShape {
  double floor = 1;   ///< half-width of ordinary rows, log space
  double slope = 1;   ///< power of the scale, at least 1
  double centre = 0;  ///< log scale from which the width rises

  double width(double log_scale) const;
};

struct CostCurve {
  OpFamily family = OpFamily::gemm;
  NumberFormat format = NumberFormat::bf16;
  std::string variant;
  NumberFormat arithmetic = NumberFormat::bf16;  ///< format of the tensor cores' inputs
  Basis basis = Basis::fitted;
  std::vector<double> parameters;  ///< in the order of law_parameters(family)
  ResidualTrees residual;
  ResidualTrees band;
  BandShape band_shape;
  double shared_uncertainty = 0;  ///< part of the band that all ops of this curve share
  /// Half-width that a transfer from another device adds (in quadrature, all of it shared).
  double transfer_uncertainty = 0;
  std::vector<FeatureRange> ranges;
  CurveFitRecord record;

  /// Cost: about 0.3 us.
  CostEstimate estimate(const Op& op, const DevicePeaks& device) const;
  /// Half-width of the 80% band in log space, without a transfer's part, and whether the features
  /// lie inside the data.
  double band_width(const FeatureVector& features, bool& in_range) const;
};

/// How many powers of two (or units, for a fill) the features lie outside their ranges, summed.
double distance_outside(const std::vector<FeatureRange>& ranges, const FeatureVector& features);

/// All curves of one device and software stack.
class CurveSet {
 public:
  CurveSet();

  std::string device;            ///< "h100_sxm"
  std::string software;          ///< "trtllm-1.3.0rc20"
  std::string source;            ///< repository, commit and files the rows came from
  std::string note;              ///< for transferred curves: from what
  std::string transferred_from;  ///< "h100_sxm.trtllm-1.3.0rc20"; "" for a measured device
  DevicePeaks peaks;

  void add(CostCurve curve);
  const std::vector<CostCurve>& curves() const { return curves_; }
  /// The curve of an op's family and stored format, or null. The variant must match.
  const CostCurve* find(OpFamily family, NumberFormat format, std::string_view variant = "") const;
  /// The usual kernel's curve for `op`, or null when this stack was not measured for it.
  const CostCurve* find(const Op& op) const {
    const int index = usual_[static_cast<std::size_t>(family_of(op))]
                            [static_cast<std::size_t>(stored_format(op))];
    return index < 0 ? nullptr : &curves_[static_cast<std::size_t>(index)];
  }

  Json to_json() const;
  /// Throws InputError naming `file` and the JSON pointer of each problem.
  static CurveSet from_json(const Json& json, const std::string& file);
  /// Reads a curve file or a transfer (cost/curve_transfer.h), whose base lies beside it.
  static CurveSet load(const std::string& path);

  /// Weights of products, cache of attention, bf16 of the rest.
  static NumberFormat stored_format(const Op& op);

 private:
  std::vector<CostCurve> curves_;
  std::array<std::array<int, 10>, kNumOpFamilies> usual_;  ///< index into curves_ or -1
};

}  // namespace moesim

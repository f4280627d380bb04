// SPDX-License-Identifier: Apache-2.0
// From measured tables and samples to the curve sets of one device: one set for each software
// stack.
//
// Every curve is cross-validated by shape before it is fitted to all rows; a curve that predicts
// left-out rows worse than the datasheet roofline is refused, with the figures. Tables of other
// systems than `system` are ignored. Work is spread over threads; the result does not depend on
// how many.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calibrate/calibration_rows.h"
#include "calibrate/curve_fit.h"
#include "calibrate/sample_rows.h"
#include "sim/cost/cost_curve.h"
#include "sim/input/hardware_profile.h"

namespace moesim {

struct DeviceFitOptions {
  int threads = 2;
  bool keep_good_rows = false;  ///< go on with the good rows of tables that have bad ones
  std::string source;           ///< who measured: repository, commit, licence; goes into the files
  /// Called after each curve (from any thread, one at a time); may be empty.
  std::function<void(const std::string& group, std::size_t done, std::size_t all)> progress;
};

/// One curve with the evidence behind it.
struct FittedCurve {
  CurveRows rows;
  CrossValidation validation;
  CostCurve curve;
  double roofline_median_ape = 0;
  std::string refused;  ///< why it is in no set; "" when it is
};

struct DeviceFit {
  SampledDevice sampled;            ///< what samples of our own kernels say beside times of ops
  DevicePeaks peaks;                ///< what the laws were scaled by
  bool has_datasheet = false;       ///< peaks are a profile's, not the samples' own best rates
  std::vector<CurveSet> sets;       ///< by software, in order of name
  std::vector<FittedCurve> curves;  ///< in order of tables
  std::vector<RejectedRow> rejected;
  std::vector<Diagnostic> problems;  ///< of the tables, when good rows were kept
};

/// `paths`: tables, folders of tables, samples (`.jsonl`). `device`: id of the device; its profile
/// gives the datasheet peaks, and may be null when samples of our own kernels say what the device
/// reaches. Throws InputError for unreadable input, for bad rows unless they are to be skipped, and
/// when nothing of the device is among the paths.
DeviceFit fit_device(const std::vector<std::string>& paths, const std::string& device,
                     const DeviceProfile* profile, const DeviceFitOptions& options);

/// Median |roofline / measured - 1| with the datasheet peaks: what a curve must beat.
double roofline_median_ape(const CurveRows& rows, const DevicePeaks& device);

}  // namespace moesim

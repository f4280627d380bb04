// SPDX-License-Identifier: Apache-2.0
#include "calibrate/device_fit.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "sim/cost/device_peaks.h"

namespace moesim {
namespace {

bool is_sample_file(const std::string& path) { return path.ends_with(".jsonl"); }

/// Adds the rows of every table of `system` below `path`.
void read_tables(const std::string& path, const std::string& system, const DevicePeaks& device,
                 Diagnostics& problems, DeviceFit& fit) {
  for (const std::string& file : find_measurement_tables(path)) {
    if (table_identity(file).system != system) {
      continue;
    }
    const MeasurementTable table = read_measurement_table(file, problems);
    const auto slow = read_slow_rows(std::filesystem::path(file).parent_path().string());
    for (CurveRows& rows : calibration_rows(table, device, slow, fit.rejected)) {
      FittedCurve fitted;
      fitted.rows = std::move(rows);
      fit.curves.push_back(std::move(fitted));
    }
  }
}

void fit_all(DeviceFit& fit, const DeviceFitOptions& options);

std::string percent(double fraction) {
  return std::to_string(static_cast<int>(std::lround(1000.0 * fraction) / 10)) + "." +
         std::to_string(std::lround(1000.0 * fraction) % 10) + "%";
}

// All trees of one software stack's file: 1,900 of 64 leaves, with thresholds and bands, take about
// 290 kB.
constexpr double kTreesOfASet = 1900;
// Below this even the five parameters of the simplest law follow single rows.
constexpr std::size_t kFewestRows = 6;

/// How much of a file's trees a curve deserves: kernels of many shapes leave more than the law,
/// small tables hold little to learn.
double tree_weight(const CurveRows& rows) {
  if (rows.rows.size() < 2500) {
    return 0.5;
  }
  switch (rows.family) {
    case OpFamily::attention_decode:
      return 2.2;
    case OpFamily::gemm:
      return 1.5;
    case OpFamily::grouped_gemm:
      return 1.4;
    default:
      return 0.9;
  }
}

void fit_one(FittedCurve& fitted, const DevicePeaks& device, bool has_datasheet,
             double share_of_set) {
  CurveFitOptions options = default_fit_options(fitted.rows.family, fitted.rows.rows.size());
  options.boosting.trees =
      std::min(options.boosting.trees, static_cast<int>(kTreesOfASet * share_of_set));
  fitted.validation = cross_validate(fitted.rows, device, options, FoldKey::shape);
  bool converged = false;
  fitted.curve = fit_curve(fitted.rows, device, options, fitted.validation, &converged);
  fitted.roofline_median_ape = roofline_median_ape(fitted.rows, device);
  if (!converged) {
    fitted.refused = "the fit did not converge: " + std::to_string(options.law_evaluations) +
                     " evaluations a round, and the last round still won over 1%";
  } else if (fitted.validation.folds < 2) {
    fitted.refused = "one shape only: nothing can be left out to judge the fit";
  } else if (fitted.rows.rows.size() < kFewestRows) {
    fitted.refused = std::to_string(fitted.rows.rows.size()) + " rows: at least " +
                     std::to_string(kFewestRows) + " are needed to judge the fit";
  } else if (has_datasheet && !(fitted.curve.record.median_ape < fitted.roofline_median_ape)) {
    fitted.refused = "left-out median error " + percent(fitted.curve.record.median_ape) +
                     " is not below the roofline's " + percent(fitted.roofline_median_ape);
  }
}

}  // namespace

double roofline_median_ape(const CurveRows& rows, const DevicePeaks& device) {
  std::vector<double> apes;
  for (const CalibrationRow& row : rows.rows) {
    const OpWork work = work_of(row.op);
    const double seconds = std::max(work.flops.value() / device.peak(rows.arithmetic),
                                    work.bytes.value() / device.bytes_per_s);
    apes.push_back(std::fabs(seconds / row.seconds - 1.0));
  }
  std::nth_element(apes.begin(), apes.begin() + static_cast<std::ptrdiff_t>(apes.size() / 2),
                   apes.end());
  return apes[apes.size() / 2];
}

DeviceFit fit_device(const std::vector<std::string>& paths, const std::string& device,
                     const DeviceProfile* profile, const DeviceFitOptions& options) {
  DeviceFit fit;
  std::vector<gpu::Sample> samples;
  std::string sample_file;
  bool has_tables = false;
  for (const std::string& path : paths) {
    if (is_sample_file(path)) {
      const std::vector<gpu::Sample> read = gpu::read_samples(path, true);
      samples.insert(samples.end(), read.begin(), read.end());
      sample_file += (sample_file.empty() ? "" : " + ") + path;
    } else {
      has_tables = true;
    }
  }
  if (profile != nullptr) {
    fit.peaks = device_peaks(*profile);
    fit.has_datasheet = true;
  } else if (has_tables || samples.empty()) {
    throw InputError("--device", "", "there is no device profile \"" + device + "\"",
                     "tables need the datasheet peaks of a profile: copy the nearest of "
                     "hardware_profiles/ and correct it");
  } else {
    fit.peaks = sample_peaks(samples);
  }
  Diagnostics problems;
  for (const std::string& path : paths) {
    if (!is_sample_file(path)) {
      read_tables(path, device, fit.peaks, problems, fit);
    }
  }
  SampleRows rows = sample_rows(samples, sample_file, device);
  fit.sampled = rows.device;
  fit.rejected.insert(fit.rejected.end(), rows.rejected.begin(), rows.rejected.end());
  for (CurveRows& curve : rows.curves) {
    FittedCurve fitted;
    fitted.rows = std::move(curve);
    fit.curves.push_back(std::move(fitted));
  }
  if (!options.keep_good_rows) {
    problems.throw_if_any();
  }
  fit.problems = problems.list();
  if (fit.curves.empty()) {
    throw InputError(paths.empty() ? "" : paths.front(), "", "holds no table of \"" + device + "\"",
                     device + "/TABLE.FRAMEWORK-VERSION.csv[.gz], or samples (.jsonl)");
  }
  fit_all(fit, options);
  std::map<std::string, CurveSet> sets;
  for (FittedCurve& fitted : fit.curves) {
    if (!fitted.refused.empty()) {
      continue;
    }
    CurveSet& set = sets[fitted.rows.software];
    set.device = device;
    set.software = fitted.rows.software;
    set.source = options.source;
    set.peaks = fit.peaks;
    set.add(fitted.curve);
  }
  for (auto& [software, set] : sets) {
    fit.sets.push_back(std::move(set));
  }
  return fit;
}

namespace {

void fit_all(DeviceFit& fit, const DeviceFitOptions& options) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::size_t done = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < fit.curves.size(); i = next++) {
      double of_set = 0;
      for (const FittedCurve& other : fit.curves) {
        of_set += other.rows.software == fit.curves[i].rows.software ? tree_weight(other.rows) : 0;
      }
      fit_one(fit.curves[i], fit.peaks, fit.has_datasheet,
              tree_weight(fit.curves[i].rows) / of_set);
      const std::lock_guard lock(mutex);
      ++done;
      if (options.progress) {
        options.progress(fit.curves[i].rows.group(), done, fit.curves.size());
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < options.threads; ++i) {
    threads.emplace_back(work);
  }
  work();
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
}  // namespace moesim

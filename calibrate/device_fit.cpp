// SPDX-License-Identifier: Apache-2.0
#include "calibrate/device_fit.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "calibrate/device_peaks.h"

namespace moesim {
namespace {

std::vector<std::string> tables_below(const std::vector<std::string>& paths,
                                      const std::string& system) {
  std::vector<std::string> found;
  for (const std::string& path : paths) {
    for (const std::string& table : find_measurement_tables(path)) {
      if (table_identity(table).system == system) {
        found.push_back(table);
      }
    }
  }
  if (found.empty()) {
    throw InputError(paths.empty() ? "" : paths.front(), "", "holds no table of \"" + system + "\"",
                     system + "/TABLE.FRAMEWORK-VERSION.csv[.gz]");
  }
  return found;
}

std::string percent(double fraction) {
  return std::to_string(static_cast<int>(std::lround(1000.0 * fraction) / 10)) + "." +
         std::to_string(std::lround(1000.0 * fraction) % 10) + "%";
}

// All trees of one software stack's file: 2,400 of 64 leaves take about 270 kB.
constexpr int kTreesOfASet = 2400;

void fit_one(FittedCurve& fitted, const DevicePeaks& device, int curves_of_set) {
  CurveFitOptions options = default_fit_options(fitted.rows.family, fitted.rows.rows.size());
  options.boosting.trees = std::min(options.boosting.trees, kTreesOfASet / curves_of_set);
  fitted.validation = cross_validate(fitted.rows, device, options, FoldKey::shape);
  fitted.curve = fit_curve(fitted.rows, device, options, fitted.validation);
  fitted.roofline_median_ape = roofline_median_ape(fitted.rows, device);
  if (fitted.validation.folds < 2) {
    fitted.refused = "one shape only: nothing can be left out to judge the fit";
  } else if (!(fitted.curve.record.median_ape < fitted.roofline_median_ape)) {
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

DeviceFit fit_device(const std::vector<std::string>& paths, const DeviceProfile& profile,
                     const DeviceFitOptions& options) {
  DeviceFit fit;
  const DevicePeaks device = device_peaks(profile);
  Diagnostics problems;
  for (const std::string& path : tables_below(paths, profile.id)) {
    const MeasurementTable table = read_measurement_table(path, problems);
    const auto slow = read_slow_rows(std::filesystem::path(path).parent_path().string());
    for (CurveRows& rows : calibration_rows(table, device, slow, fit.rejected)) {
      FittedCurve fitted;
      fitted.rows = std::move(rows);
      fit.curves.push_back(std::move(fitted));
    }
  }
  if (!options.keep_good_rows) {
    problems.throw_if_any();
  }
  fit.problems = problems.list();

  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::size_t done = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < fit.curves.size(); i = next++) {
      const auto of_set =
          std::count_if(fit.curves.begin(), fit.curves.end(), [&](const FittedCurve& other) {
            return other.rows.software == fit.curves[i].rows.software;
          });
      fit_one(fit.curves[i], device, static_cast<int>(of_set));
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

  std::map<std::string, CurveSet> sets;
  for (FittedCurve& fitted : fit.curves) {
    if (!fitted.refused.empty()) {
      continue;
    }
    CurveSet& set = sets[fitted.rows.software];
    set.device = profile.id;
    set.software = fitted.rows.software;
    set.source = options.source;
    set.peaks = device;
    set.add(fitted.curve);
  }
  for (auto& [software, set] : sets) {
    fit.sets.push_back(std::move(set));
  }
  return fit;
}

}  // namespace moesim

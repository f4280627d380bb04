// SPDX-License-Identifier: Apache-2.0
#include "calibrate/joint_fit.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <thread>
#include <tuple>

#include "calibrate/curve_fit.h"
#include "calibrate/quantile.h"
#include "calibrate/subplex.h"
#include "sim/base/error.h"
#include "sim/base/random.h"
#include "sim/cost/device_peaks.h"

namespace moesim {
namespace {

constexpr double kLawRows = 1500;    // of a group, drawn evenly
constexpr double kTreeRows = 12000;  // of a group
constexpr int kTrees = 130;          // as many as a curve of fused experts has
constexpr double kSlowCut = 0.6;     // rows so much (log) above the law are other kernels
constexpr int kRounds = 4;           // of the descent

using Parameters = std::array<double, kMaxLawParameters>;

/// Parameters at a device's clock: those in seconds count cycles.
Parameters at_clock(OpFamily family, std::span<const double> parameters, double clock_hz) {
  Parameters values{};
  const auto names = law_parameters(family);
  for (std::size_t i = 0; i < names.size(); ++i) {
    values[i] = names[i].name.ends_with("_s") ? parameters[i] * 1e9 / clock_hz : parameters[i];
  }
  return values;
}

/// Every so manieth row, from a random place in each stretch.
std::vector<std::size_t> drawn(std::size_t rows, double wanted, std::uint64_t stream) {
  const std::size_t stride =
      std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(rows) / wanted));
  RandomStream random(7, "calibrate/joint_rows", stream);
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < rows; i += stride) {
    indices.push_back(std::min(rows - 1, i + random.below(stride)));
  }
  return indices;
}

struct Objective {
  std::span<const JointRows> groups;
  std::vector<std::vector<std::size_t>> indices;  // [groups]
};

/// Mean over groups of the mean |log(measured / law)|.
double mean_log_error(unsigned n, const double* x, double*, void* data) {
  const auto& objective = *static_cast<const Objective*>(data);
  std::vector<double> parameters;
  for (unsigned i = 0; i < n; ++i) {
    parameters.push_back(portable_exp(x[i]));
  }
  double total = 0;
  for (std::size_t g = 0; g < objective.groups.size(); ++g) {
    const JointRows& group = objective.groups[g];
    const Parameters values = at_clock(group.rows->family, parameters, group.clock_hz);
    double sum = 0;
    for (const std::size_t index : objective.indices[g]) {
      const CalibrationRow& row = group.rows->rows[index];
      const double law =
          law_seconds(row.op, group.peaks, group.rows->arithmetic, {values.data(), n});
      sum += std::fabs(portable_log(row.seconds / law));
    }
    total += sum / static_cast<double>(objective.indices[g].size());
  }
  return total / static_cast<double>(objective.groups.size());
}

std::vector<double> fit_parameters(std::span<const JointRows> groups) {
  Objective objective{groups, {}};
  for (std::size_t g = 0; g < groups.size(); ++g) {
    objective.indices.push_back(drawn(groups[g].rows->rows.size(), kLawRows, g));
  }
  std::vector<double> x;
  std::vector<double> low;
  std::vector<double> high;
  for (const LawParameter& parameter : law_parameters(groups.front().rows->family)) {
    // Ranges are of seconds on GPUs of 1.4 to 2 GHz; as cycles they reach twice as far.
    const double cycles = parameter.name.ends_with("_s") ? 2.0 : 1.0;
    low.push_back(portable_log(parameter.low));
    high.push_back(portable_log(parameter.high * cycles));
    x.push_back(
        std::clamp(portable_log(parameter.start * cycles), low.back() + 1e-3, high.back() - 1e-3));
  }
  nlopt::opt optimiser = subplex(mean_log_error, &objective, low, high, 0.4, 1500);
  double error = 0;
  for (int round = 0; round < kRounds; ++round) {
    improve(optimiser, x, error);
    optimiser.set_initial_step(0.15);
  }
  std::vector<double> parameters;
  for (const double value : x) {
    parameters.push_back(portable_exp(value));
  }
  return parameters;
}

DeviceLeftOut judged(const JointRows& group, const JointLaw& law) {
  DeviceLeftOut out;
  out.group = group.rows->group();
  out.rows = group.rows->rows.size();
  std::vector<double> law_apes;
  std::vector<double> apes;
  std::vector<double> usual;
  std::vector<double> errors;
  for (const CalibrationRow& row : group.rows->rows) {
    const auto error = [&](double seconds) { return seconds / row.seconds - 1.0; };
    const NumberFormat arithmetic = group.rows->arithmetic;
    law_apes.push_back(
        std::fabs(error(law.law_seconds_at(row.op, arithmetic, group.peaks, group.clock_hz))));
    errors.push_back(error(law.seconds(row.op, arithmetic, group.peaks, group.clock_hz)));
    apes.push_back(std::fabs(errors.back()));
    if (!row.slow) {
      usual.push_back(apes.back());
    }
  }
  out.law_median_ape = quantile(law_apes, 0.5);
  out.median_ape = quantile(apes, 0.5);
  out.p90_ape = quantile(apes, 0.9);
  out.bias = quantile(errors, 0.5);
  out.usual_median_ape = usual.empty() ? 0.0 : quantile(usual, 0.5);
  out.usual_p90_ape = usual.empty() ? 0.0 : quantile(usual, 0.9);
  return out;
}

std::string framework_of(const CurveRows& rows) {
  return rows.software.substr(0, rows.software.find('-'));
}

bool is_usable(const CurveRows& rows) {
  const bool product = rows.family == OpFamily::gemm;
  const bool experts =
      rows.family == OpFamily::grouped_gemm && !rows.software.starts_with("sglang");
  return (product || experts) && rows.variant.empty() && rows.format == rows.arithmetic &&
         (rows.table == "gemm" || rows.table == "moe") && !rows.rows.empty();
}

}  // namespace

std::optional<double> boost_clock_hz(const DevicePeaks& device) {
  const double fp32 = device.flops_per_s[static_cast<std::size_t>(NumberFormat::fp32)];
  for (const double lanes : {128.0, 64.0}) {
    const double clock = fp32 / (2.0 * lanes * device.multiprocessors);
    if (clock >= 1.0e9 && clock <= 3.2e9) {
      return clock;
    }
  }
  return std::nullopt;
}

double JointLaw::law_seconds_at(const Op& op, NumberFormat arithmetic, const DevicePeaks& device,
                                double clock_hz) const {
  const Parameters values = at_clock(family, parameters, clock_hz);
  return law_seconds(op, device, arithmetic, {values.data(), parameters.size()});
}

double JointLaw::seconds(const Op& op, NumberFormat arithmetic, const DevicePeaks& device,
                         double clock_hz) const {
  const double law = law_seconds_at(op, arithmetic, device, clock_hz);
  FeatureVector features;
  op_features(op, device, arithmetic, law, features);
  return law * fast_exp(residual.evaluate(features.data()));
}

JointLaw fit_joint_law(std::span<const JointRows> groups) {
  MOESIM_CHECK(!groups.empty(), "a joint law needs rows");
  JointLaw law;
  law.family = groups.front().rows->family;
  law.parameters = fit_parameters(groups);
  if (law.family != OpFamily::grouped_gemm) {
    return law;
  }
  const std::size_t num_features = feature_names(law.family).size();
  std::vector<float> features;
  std::vector<double> targets;
  std::vector<std::uint32_t> kept;
  FeatureVector vector;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const JointRows& group = groups[g];
    for (const std::size_t index : drawn(group.rows->rows.size(), kTreeRows, 100 + g)) {
      const CalibrationRow& row = group.rows->rows[index];
      const NumberFormat arithmetic = group.rows->arithmetic;
      const double seconds = law.law_seconds_at(row.op, arithmetic, group.peaks, group.clock_hz);
      op_features(row.op, group.peaks, arithmetic, seconds, vector);
      features.insert(features.end(), vector.begin(),
                      vector.begin() + static_cast<std::ptrdiff_t>(num_features));
      targets.push_back(portable_log(row.seconds / seconds));
      if (targets.back() < kSlowCut) {
        kept.push_back(static_cast<std::uint32_t>(targets.size() - 1));
      }
    }
  }
  BoostingOptions options = default_fit_options(law.family, kept.size()).boosting;
  options.trees = std::min(options.trees, kTrees);
  law.residual = fit_boosted_trees(features, num_features, targets, kept, options);
  return law;
}

std::vector<DeviceLeftOut> leave_device_out(
    const std::vector<std::string>& paths,
    const std::function<const DeviceProfile*(const std::string&)>& profile, int threads) {
  std::vector<CurveRows> curves;
  std::map<std::string, DevicePeaks> peaks;
  Diagnostics problems;
  for (const std::string& path : paths) {
    for (const std::string& file : find_measurement_tables(path)) {
      const std::string system = table_identity(file).system;
      const DeviceProfile* device = profile(system);
      if (device == nullptr || !boost_clock_hz(device_peaks(*device))) {
        continue;
      }
      peaks[system] = device_peaks(*device);
      const auto slow = read_slow_rows(std::filesystem::path(file).parent_path().string());
      std::vector<RejectedRow> rejected;
      for (CurveRows& rows : calibration_rows(read_measurement_table(file, problems), peaks[system],
                                              slow, rejected)) {
        if (is_usable(rows)) {
          curves.push_back(std::move(rows));
        }
      }
    }
  }
  problems.throw_if_any();
  std::map<std::pair<OpFamily, NumberFormat>, std::set<std::string>> systems;
  for (const CurveRows& rows : curves) {
    systems[{rows.family, rows.format}].insert(rows.system);
  }
  struct Task {
    std::vector<JointRows> from;
    std::vector<JointRows> left_out;
    std::vector<DeviceLeftOut> results;
  };
  // Key: family, device, format and framework of products.
  std::map<std::tuple<OpFamily, std::string, NumberFormat, std::string>, Task> tasks;
  for (const CurveRows& left : curves) {
    if (systems[{left.family, left.format}].size() < 2) {
      continue;
    }
    const bool is_product = left.family == OpFamily::gemm;
    const bool is_quantised = is_product && left.format != NumberFormat::bf16;
    const std::string stack = is_quantised ? framework_of(left) : "";
    Task& task =
        tasks[{left.family, left.system, is_product ? left.format : NumberFormat::bf16, stack}];
    const auto joint = [&](const CurveRows& rows) {
      return JointRows{&rows, peaks.at(rows.system), *boost_clock_hz(peaks.at(rows.system))};
    };
    task.left_out.push_back(joint(left));
    // A quantised product's own stack where another GPU has it, else all stacks.
    for (int pass = 0; pass < 2 && task.from.empty(); ++pass) {
      for (const CurveRows& rows : curves) {
        const bool fits = rows.family == left.family && rows.system != left.system &&
                          systems[{rows.family, rows.format}].size() > 1;
        const bool same_format = !is_product || rows.format == left.format;
        if (fits && same_format && (!is_quantised || pass > 0 || framework_of(rows) == stack)) {
          task.from.push_back(joint(rows));
        }
      }
    }
  }
  std::vector<Task*> order;
  for (auto& [key, task] : tasks) {
    order.push_back(&task);
  }
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < order.size(); i = next++) {
      Task& task = *order[i];
      const JointLaw law = fit_joint_law(task.from);
      std::set<std::string> names;
      for (const JointRows& group : task.from) {
        names.insert(group.rows->system + " " + group.rows->software + " " + group.rows->dtype);
      }
      std::string from;
      for (const std::string& name : names) {
        from += (from.empty() ? "" : ", ") + name;
      }
      for (const JointRows& group : task.left_out) {
        task.results.push_back(judged(group, law));
        task.results.back().from = from;
      }
    }
  };
  std::vector<std::thread> pool;
  for (int i = 1; i < threads; ++i) {
    pool.emplace_back(work);
  }
  work();
  for (std::thread& thread : pool) {
    thread.join();
  }
  std::vector<DeviceLeftOut> results;
  for (const Task* task : order) {
    results.insert(results.end(), task->results.begin(), task->results.end());
  }
  return results;
}

}  // namespace moesim

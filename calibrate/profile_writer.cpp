// SPDX-License-Identifier: Apache-2.0
#include "calibrate/profile_writer.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "calibrate/sample_rows.h"
#include "calibrate/subplex.h"
#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr std::size_t kMostRows = 3000;  // of a family, drawn evenly: five parameters need no more

struct WorkRow {
  double compute = 0;      ///< seconds at the peak
  double memory = 0;       ///< seconds at the bandwidth
  double assignments = 0;  ///< of fused MoE
  double log_seconds = 0;
  std::size_t format = 0;  ///< index into the fractions
};

struct EfficiencyObjective {
  std::vector<WorkRow> rows;
  std::size_t formats = 1;
};

/// `x`: log of startup, memory fraction, overlap, per assignment, compute fraction by format.
double predicted_seconds(const WorkRow& row, const double* x) {
  const double compute = row.compute / portable_exp(x[4 + row.format]);
  const double memory = row.memory / portable_exp(x[1]);
  return portable_exp(x[0]) + std::max(compute, memory) +
         portable_exp(x[2]) * std::min(compute, memory) + portable_exp(x[3]) * row.assignments;
}

double mean_log_error(unsigned, const double* x, double*, void* data) {
  const auto& objective = *static_cast<const EfficiencyObjective*>(data);
  double sum = 0;
  for (const WorkRow& row : objective.rows) {
    sum += std::fabs(row.log_seconds - portable_log(predicted_seconds(row, x)));
  }
  return sum / static_cast<double>(objective.rows.size());
}

/// What nobody measured on this device: the nearest measured family, said so.
OpEfficiency borrowed(const OpEfficiency& from, const std::string& family,
                      const std::string& nearest) {
  OpEfficiency efficiency = from;
  efficiency.origin = Origin::estimate;
  efficiency.source = family + " was not measured; as " + nearest;
  efficiency.points.reset();
  efficiency.residual_fraction.reset();
  return efficiency;
}

template <class T>
Sourced<T> measured(T value, const std::string& source) {
  Sourced<T> sourced;
  sourced.value = value;
  sourced.origin = Origin::measured;
  sourced.source = source;
  return sourced;
}

DeviceProfile new_profile(const DeviceFit& fit, const std::string& device,
                          const std::string& source) {
  DeviceProfile profile;
  profile.schema = "moesim/hardware_profile/1";
  profile.id = device;
  profile.name = fit.sampled.device_name;
  profile.vendor = fit.sampled.backend == "hip"    ? "AMD"
                   : fit.sampled.backend == "cuda" ? "NVIDIA"
                                                   : "host";
  profile.memory = measured(Bytes(fit.sampled.memory_bytes), source + ", as the driver says");
  profile.memory_bandwidth =
      measured(BytesPerSecond(fit.peaks.bytes_per_s),
               source + ", best memory_copy of the kernel engine that no cache holds");
  const auto peak = [&](NumberFormat format, std::optional<Sourced<FlopsPerSecond>>& out) {
    const double rate = fit.peaks.flops_per_s[static_cast<std::size_t>(format)];
    if (rate > 0) {
      out = measured(FlopsPerSecond(rate), source + ", best product");
    }
  };
  peak(NumberFormat::fp32, profile.peak.fp32);
  peak(NumberFormat::bf16, profile.peak.bf16);
  peak(NumberFormat::fp8, profile.peak.fp8);
  if (!profile.peak.fp32 && !profile.peak.bf16 && !profile.peak.fp8) {
    throw InputError(source, "", "the samples hold no product, so no arithmetic rate is known",
                     "run `moesim-kernels run gemm` into the same file");
  }
  profile.sm_count = measured(static_cast<std::int64_t>(fit.peaks.multiprocessors), source);
  if (fit.peaks.l2_bytes > 0) {
    profile.l2 = measured(Bytes(fit.peaks.l2_bytes), source);
  }
  profile.launch_gap.source = profile.launch_eager.source = "launch_overhead was not measured";
  return profile;
}

}  // namespace

OpEfficiency fit_efficiency(std::span<const CurveRows* const> rows, const DevicePeaks& device,
                            const std::string& source) {
  EfficiencyObjective objective;
  std::vector<NumberFormat> formats;
  std::size_t all = 0;
  for (const CurveRows* curve : rows) {
    all += curve->rows.size();
  }
  const std::size_t stride = std::max<std::size_t>(1, all / kMostRows);
  std::size_t at = 0;
  for (const CurveRows* curve : rows) {
    auto format = std::find(formats.begin(), formats.end(), curve->arithmetic);
    if (format == formats.end()) {
      formats.push_back(curve->arithmetic);
      format = formats.end() - 1;
    }
    for (const CalibrationRow& row : curve->rows) {
      const OpWork work = work_of(row.op);
      if (++at % stride != 0 || row.slow || work.bytes.value() <= 0) {
        continue;
      }
      objective.rows.push_back({work.flops.value() / device.peak(curve->arithmetic),
                                work.bytes.value() / device.bytes_per_s, work.assignments,
                                portable_log(row.seconds),
                                static_cast<std::size_t>(format - formats.begin())});
    }
  }
  std::vector<double> x = {portable_log(5e-6), portable_log(0.8), portable_log(0.3),
                           portable_log(1e-9)};
  std::vector<double> low = {portable_log(1e-9), portable_log(1e-6), portable_log(1e-3),
                             portable_log(1e-13)};
  std::vector<double> high = {portable_log(0.1), portable_log(1.05), 0.0, portable_log(1e-3)};
  x.resize(4 + formats.size(), portable_log(0.6));
  low.resize(x.size(), portable_log(1e-6));
  high.resize(x.size(), portable_log(1.5));  // of the profile's field
  nlopt::opt optimiser = subplex(mean_log_error, &objective, low, high, 0.5, 2000);
  double error = 0;
  improve(optimiser, x, error);
  OpEfficiency efficiency;
  efficiency.startup = Seconds(portable_exp(x[0]));
  efficiency.memory_fraction = portable_exp(x[1]);
  efficiency.overlap = portable_exp(x[2]);
  efficiency.per_assignment = Seconds(portable_exp(x[3]));
  efficiency.compute_fraction = portable_exp(x[4]);
  for (std::size_t i = 1; i < formats.size(); ++i) {
    efficiency.compute_fraction_by_format[choice_name(formats[i])] = portable_exp(x[4 + i]);
  }
  efficiency.origin = Origin::fitted;
  efficiency.source = source;
  efficiency.points = static_cast<std::int64_t>(all);
  double sum = 0;
  for (const WorkRow& row : objective.rows) {
    sum += std::fabs(predicted_seconds(row, x.data()) / portable_exp(row.log_seconds) - 1.0);
  }
  efficiency.residual_fraction = sum / static_cast<double>(objective.rows.size());
  return efficiency;
}

DeviceProfile measured_profile(const DeviceFit& fit, const DeviceProfile* known,
                               const std::string& device, const std::string& source) {
  DeviceProfile profile = known != nullptr ? *known : new_profile(fit, device, source);
  profile.id = device;
  profile.software.clear();
  for (const CurveSet& set : fit.sets) {
    profile.software += (profile.software.empty() ? "" : ", ") + set.software;
  }
  if (fit.sampled.launch_gap_s > 0) {
    profile.launch_gap = measured(Seconds(fit.sampled.launch_gap_s), source + ", graph of 100");
  }
  if (fit.sampled.launch_eager_s > 0) {
    profile.launch_eager = measured(Seconds(fit.sampled.launch_eager_s), source + ", 100 enqueued");
  }
  if (fit.sampled.host_link_bytes_per_s > 0) {
    profile.pcie = measured(BytesPerSecond(fit.sampled.host_link_bytes_per_s),
                            source + ", best pinned host_copy");
  }
  std::map<OpFamily, std::vector<const CurveRows*>> families;
  for (const FittedCurve& fitted : fit.curves) {
    const bool is_usual = fitted.rows.variant.empty() || fitted.rows.variant == "fp8_math";
    if (is_usual && !fitted.rows.rows.empty()) {
      families[fitted.rows.family].push_back(&fitted.rows);
    }
  }
  DeviceEfficiency& efficiency = profile.efficiency;
  const auto set = [&](OpFamily family, OpEfficiency& out) {
    const auto found = families.find(family);
    if (found != families.end()) {
      out = fit_efficiency(found->second, fit.peaks, source);
    }
    return found != families.end();
  };
  const bool has_gemm = set(OpFamily::gemm, efficiency.gemm);
  const bool has_batched = set(OpFamily::batched_gemm, efficiency.batched_gemm);
  const bool has_moe = set(OpFamily::grouped_gemm, efficiency.grouped_gemm);
  const bool has_prefill = set(OpFamily::attention_prefill, efficiency.attention_prefill);
  const bool has_decode = set(OpFamily::attention_decode, efficiency.attention_decode);
  const bool has_mla_prefill = set(OpFamily::mla_prefill, efficiency.mla_prefill);
  const bool has_mla_decode = set(OpFamily::mla_decode, efficiency.mla_decode);
  const bool has_stream = set(OpFamily::elementwise, efficiency.elementwise);
  const bool has_routing = set(OpFamily::routing, efficiency.routing);
  if (!has_moe && has_batched) {
    // Gate, up and down in two grouped products; permutation and combination stream each row in and
    // out twice at the memory rate, which `per_assignment` cannot hold without a width: left out.
    efficiency.grouped_gemm =
        borrowed(efficiency.batched_gemm, "fused MoE", "two grouped products");
    efficiency.grouped_gemm.startup = 2.0 * efficiency.batched_gemm.startup;
  }
  if (known != nullptr) {
    return profile;  // families without rows keep what the profile had
  }
  const auto borrow = [&](bool has, OpEfficiency& out, const char* name, const OpEfficiency& from,
                          const char* nearest) {
    if (!has && out.memory_fraction <= 0) {
      out = borrowed(from, name, nearest);
    }
  };
  if (!has_gemm) {
    efficiency.gemm = borrowed(has_batched ? efficiency.batched_gemm : efficiency.elementwise,
                               "gemm", has_batched ? "grouped products" : "copies");
  }
  borrow(has_batched, efficiency.batched_gemm, "batched_gemm", efficiency.gemm, "gemm");
  borrow(has_moe, efficiency.grouped_gemm, "fused MoE", efficiency.gemm, "gemm");
  borrow(has_decode, efficiency.attention_decode, "attention_decode", efficiency.gemm, "gemm");
  borrow(has_prefill, efficiency.attention_prefill, "attention_prefill", efficiency.gemm, "gemm");
  borrow(has_mla_prefill, efficiency.mla_prefill, "mla_prefill", efficiency.attention_prefill,
         "attention_prefill");
  borrow(has_mla_decode, efficiency.mla_decode, "mla_decode", efficiency.attention_decode,
         "attention_decode");
  borrow(has_stream, efficiency.elementwise, "elementwise", efficiency.gemm, "gemm");
  borrow(has_routing, efficiency.routing, "routing", efficiency.elementwise, "elementwise");
  return profile;
}

}  // namespace moesim

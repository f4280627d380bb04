// SPDX-License-Identifier: Apache-2.0
// The physical form of each op family: a few parameters that turn shape and datasheet into seconds.
//
//     t = t0 + max(tc, tm) + c * min(tc, tm) + traffic terms
//     tc = padded FLOPs * wave factor / (ec * peak),   tm = bytes * (1 + ramp) * (1 - L2 hits) /
//     (em * bandwidth)
//
// Padding and waves come from tiles of 64-256 rows over the device's multiprocessors, the ramp says
// that few blocks cannot fill the memory system, L2 hits that a repeated small working set stays on
// chip (as the measured tables have it). Every parameter is positive and has a name, a start and a
// range, so fitting, files and reports need no code per family. Source of the form: fits to the
// public kernel tables of aiconfigurator; parameters of a device are in its curve files.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "sim/workload/op.h"

namespace moesim {

/// What the law needs of a device: peaks of its datasheet, SI units.
struct DevicePeaks {
  std::array<double, 10> flops_per_s{};  ///< dense, by NumberFormat of the arithmetic; 0: has none
  double bytes_per_s = 0;                ///< device memory
  double multiprocessors = 1;
  double l2_bytes = 0;

  /// Peak for weights stored as `format`: formats without arithmetic of their own run in the next
  /// wider one that the device has.
  double peak(NumberFormat format) const;
};

struct LawParameter {
  std::string_view name;
  std::string_view doc;
  double start;
  double low;
  double high;
  /// Value that switches the parameter's term off: what a file of an older version, which has no
  /// such key, means. Below 0: the key must be there.
  double absent = -1;
};

inline constexpr std::size_t kMaxLawParameters = 14;

// Of positive numbers below 2^63; several times faster than the library's where the compiler may
// not assume a rounding instruction.
inline double floor_of(double x) { return static_cast<double>(static_cast<std::int64_t>(x)); }
inline double ceil_of(double x) {
  const double whole = floor_of(x);
  return whole < x ? whole + 1.0 : whole;
}

/// Names, starts and ranges, in the order of `law_seconds`' values.
std::span<const LawParameter> law_parameters(OpFamily family);

/// Seconds of `op`; `values` in the order of `law_parameters(family_of(op))`. `arithmetic` is the
/// format of the tensor cores' inputs (fp8 attention on an fp8 cache differs from bf16 on it).
/// Cost: 30-60 ns.
double law_seconds(const Op& op, const DevicePeaks& device, NumberFormat arithmetic,
                   std::span<const double> values);

}  // namespace moesim

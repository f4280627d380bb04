// SPDX-License-Identifier: Apache-2.0
// Time of an op on a device: the physical form with the efficiencies of the device's profile.
//
// Physical form (partial overlap of arithmetic and memory):
//     t = t0 + max(tc, tm) + c * min(tc, tm) + d * assignments,   tc = FLOPs / (ec * peak),  tm =
//     bytes / (em * bandwidth)
// ec, em: reachable fractions of the datasheet peaks; t0: start-up of the kernels; c in [0, 1]: 0
// perfect overlap, 1 none; d: handling of one permuted row (fused MoE only). The profile says where
// each number comes from, and the estimate repeats it.
#pragma once

#include <array>
#include <cstdint>

#include "sim/base/number_format.h"
#include "sim/cost/cost_estimate.h"
#include "sim/input/hardware_profile.h"
#include "sim/workload/op.h"

namespace moesim {

/// The five parameters of a family on a device, resolved to plain numbers.
struct FamilyCoefficients {
  std::array<double, kNumNumberFormats> seconds_per_flop{};  ///< 1 / (ec * peak) by format
  double seconds_per_byte = 0;
  double startup_s = 0;
  double overlap_loss = 0;  ///< c
  double per_assignment_s = 0;
  Basis basis = Basis::estimate;
};

class CostModel {
 public:
  explicit CostModel(const DeviceProfile& device);

  /// Cost: about 20 ns. An op without rows costs nothing: no kernel is launched for it.
  CostEstimate estimate(const Op& op) const;

  /// Idle time between two kernels of one captured graph; the step adds it once per op.
  Seconds launch_gap() const { return launch_gap_; }
  /// Datasheet peak in `format`, the denominator of MFU.
  FlopsPerSecond peak(NumberFormat format) const;

 private:
  std::array<FamilyCoefficients, kNumOpFamilies> families_{};
  std::array<double, kNumNumberFormats> peak_{};
  Seconds launch_gap_;
};

}  // namespace moesim

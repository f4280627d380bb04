// SPDX-License-Identifier: Apache-2.0
// Time of an op on a device: a calibrated curve where there is one, else the physical form with the
// profile's efficiencies.
//
// Physical form (partial overlap of arithmetic and memory):
//     t = t0 + max(tc, tm) + c * min(tc, tm) + d * assignments,   tc = FLOPs / (ec * peak),  tm =
//     bytes / (em * bandwidth)
// ec, em: reachable fractions of the datasheet peaks; t0: start-up of the kernels; c in [0, 1]: 0
// perfect overlap, 1 none; d: handling of one permuted row (fused MoE only).
#pragma once

#include <array>
#include <memory>

#include "sim/cost/cost_estimate.h"
#include "sim/input/hardware_profile.h"
#include "sim/workload/op.h"

namespace moesim {

class CostModel {
 public:
  explicit CostModel(const DeviceProfile& device);

  /// Cost: about 30 ns. Zero tokens or rows cost nothing: no kernel is launched for them.
  CostEstimate estimate(const Op& op) const;

  /// Time between two kernels of one captured graph, added once per kernel launch by the step
  /// builder.
  Seconds launch_gap() const { return launch_gap_; }

 private:
  struct Coefficients {
    double compute_fraction = 1;
    double memory_fraction = 1;
    double startup_s = 0;
    double overlap_loss = 0;
    double per_assignment_s = 0;
    Basis basis = Basis::estimate;
  };
  double peak_flops_per_s(NumberFormat format) const {
    return peak_[static_cast<std::size_t>(format)];
  }

  std::array<Coefficients, kNumOpFamilies> coefficients_{};
  std::array<double, 10> peak_{};  // FLOP/s by NumberFormat
  double bandwidth_ = 0;
  Seconds launch_gap_;
};

}  // namespace moesim

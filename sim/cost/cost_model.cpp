// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/cost_model.h"

#include <algorithm>

namespace moesim {
namespace {

Basis basis_of(Origin origin) {
  switch (origin) {
    case Origin::measured:
      return Basis::measured;
    case Origin::fitted:
      return Basis::fitted;
    case Origin::datasheet:
    case Origin::transferred:
      return Basis::datasheet;
    case Origin::estimate:
      return Basis::estimate;
  }
  return Basis::estimate;
}

}  // namespace

CostModel::CostModel(const DeviceProfile& device) : launch_gap_(device.launch_gap.value) {
  for (const Choice<NumberFormat>& format : choices_of(NumberFormat{})) {
    peak_[static_cast<std::size_t>(format.value)] =
        device.peak_of(compute_format(format.value)).value();
  }
  for (const Choice<OpFamily>& family : choices_of(OpFamily{})) {
    const OpEfficiency& efficiency = device.efficiency.of(family.name);
    FamilyCoefficients& out = families_[static_cast<std::size_t>(family.value)];
    for (const Choice<NumberFormat>& format : choices_of(NumberFormat{})) {
      const std::size_t index = static_cast<std::size_t>(format.value);
      out.seconds_per_flop[index] =
          1.0 / (peak_[index] * efficiency.compute_fraction_of(format.value));
    }
    out.seconds_per_byte =
        1.0 / (device.memory_bandwidth.value.value() * efficiency.memory_fraction);
    out.startup_s = efficiency.startup.value();
    out.overlap_loss = efficiency.overlap;
    out.per_assignment_s = efficiency.per_assignment.value();
    out.basis = basis_of(efficiency.origin);
  }
}

FlopsPerSecond CostModel::peak(NumberFormat format) const {
  return FlopsPerSecond(peak_[static_cast<std::size_t>(format)]);
}

CostEstimate CostModel::estimate(const Op& op) const {
  const OpWork work = work_of(op);
  const FamilyCoefficients& family = families_[static_cast<std::size_t>(family_of(op))];
  CostEstimate cost;
  cost.basis = family.basis;
  if (work.bytes.value() <= 0 || work.rows <= 0) {
    return cost;
  }
  const double compute =
      work.flops.value() * family.seconds_per_flop[static_cast<std::size_t>(work.format)];
  const double memory = work.bytes.value() * family.seconds_per_byte;
  cost.seconds = Seconds(family.startup_s + std::max(compute, memory) +
                         family.overlap_loss * std::min(compute, memory) +
                         family.per_assignment_s * work.assignments);
  return cost;
}

}  // namespace moesim

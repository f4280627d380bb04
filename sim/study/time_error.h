// SPDX-License-Identifier: Apache-2.0
// How far a predicted time may be off, source by source, so that two predictions can be compared:
// what both share cancels, what each has alone does not.
//
//     ln(real / predicted) = sum over sources of shared[i] * N_i + own * N,   N standard normal
//
// On one cluster the N_i are the same for every layout and step (the same kernels, links and
// machines), `own` is independent. On different clusters everything is taken as independent. The
// sources are those of a step's band (sim/cost/step_cost.h).
#pragma once

#include <array>

#include "sim/workload/op.h"

namespace moesim {

struct StepBand;

/// Half-width of an 80% band over the standard deviation of a normal error.
inline constexpr double kHalfWidthOf80Percent = 1.2815515655446004;

struct TimeError {
  /// Op families, then expert exchanges, collectives of tensor parallelism, the machine against
  /// others of its kind, and what the model leaves out.
  std::array<double, kNumOpFamilies + 4> shared{};
  double own = 0;

  /// Of a step of `seconds`; `left_out`: standard deviation that the request adds.
  static TimeError of(const StepBand& band, double seconds, double left_out);

  /// Standard deviation of ln(real / predicted).
  double deviation() const;
  /// Of two times on the same cluster: what they share over their deviations, in [0, 1].
  double correlation(const TimeError& other) const;

  /// The error of a product of powers of times, `weight` of this and the rest of `other`.
  TimeError mixed(const TimeError& other, double weight) const;
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/study/time_error.h"

#include <cmath>

#include "sim/cost/step_cost.h"

namespace moesim {

TimeError TimeError::of(const StepBand& band, double seconds, double left_out) {
  TimeError error;
  const double scale = seconds > 0 ? 1.0 / (kHalfWidthOf80Percent * seconds) : 0.0;
  double own_squared = 0;
  for (std::size_t i = 0; i < kNumOpFamilies; ++i) {
    error.shared[i] = band.families[i].shared_s * scale;
    own_squared += band.families[i].own_squared;
  }
  error.shared[kNumOpFamilies] = band.exchange.shared_s * scale;
  error.shared[kNumOpFamilies + 1] = band.sync.shared_s * scale;
  error.shared[kNumOpFamilies + 2] = band.machine.shared_s * scale;
  error.shared[kNumOpFamilies + 3] = left_out;
  error.own = std::sqrt(own_squared) * scale;
  return error;
}

double TimeError::deviation() const {
  double squares = own * own;
  for (const double one : shared) {
    squares += one * one;
  }
  return std::sqrt(squares);
}

double TimeError::correlation(const TimeError& other) const {
  double together = 0;
  for (std::size_t i = 0; i < shared.size(); ++i) {
    together += shared[i] * other.shared[i];
  }
  const double deviations = deviation() * other.deviation();
  return deviations > 0 ? together / deviations : 0.0;
}

TimeError TimeError::mixed(const TimeError& other, double weight) const {
  TimeError error;
  for (std::size_t i = 0; i < shared.size(); ++i) {
    error.shared[i] = weight * shared[i] + (1.0 - weight) * other.shared[i];
  }
  error.own = std::hypot(weight * own, (1.0 - weight) * other.own);
  return error;
}

}  // namespace moesim

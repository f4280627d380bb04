// SPDX-License-Identifier: Apache-2.0
#include "sim/study/queueing.h"

#include <cmath>
#include <limits>

#include "sim/moe/token_routing_law.h"

namespace moesim {

double normal_quantile(double p) {
  // A plan asks for one quantile at every point: the last answer of the thread.
  struct Last {
    double p = -1;
    double z = 0;
  };
  static thread_local Last last;
  if (p == last.p) {
    return last.z;
  }
  // Bisection of the distribution function: 60 halvings of [-9, 9] leave nothing of a double.
  double low = -9;
  double high = 9;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (normal_cdf(middle) < p ? low : high) = middle;
  }
  last = {p, 0.5 * (low + high)};
  return last.z;
}

double wait_quantile(double servers, double service_s, double utilisation, double quantile) {
  if (utilisation >= 1) {
    return std::numeric_limits<double>::infinity();
  }
  if (utilisation <= 0) {
    return 0;
  }
  const double waits = std::pow(utilisation, std::sqrt(2.0 * (servers + 1.0)) - 1.0);
  const double rest = 1.0 - quantile;
  if (waits <= rest) {
    return 0;
  }
  const double mean_of_waiting = service_s / (2.0 * servers * (1.0 - utilisation));
  return mean_of_waiting * std::log(waits / rest);
}

double occupancy_quantile(double mean, double quantile) {
  return mean + normal_quantile(quantile) * std::sqrt(mean);
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/base/sim_time.h"

#include <cmath>

#include "sim/base/error.h"

namespace moesim {

SimTime SimTime::from_seconds(Seconds seconds) {
  const double picoseconds = std::ceil(seconds.value() * 1e12);
  MOESIM_CHECK(picoseconds >= 0.0 && picoseconds < 9.2e18,
               "a duration must be finite, >= 0 and below 106 days");
  return SimTime(static_cast<std::int64_t>(picoseconds));
}

}  // namespace moesim

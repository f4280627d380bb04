// SPDX-License-Identifier: Apache-2.0
#include "sim/base/sim_time.h"

#include <gtest/gtest.h>

namespace moesim {
namespace {

TEST(SimTime, RoundsDurationsUpSoThatNothingEndsEarly) {
  EXPECT_EQ(SimTime::from_seconds(Seconds(1e-12)).picoseconds(), 1);
  EXPECT_EQ(SimTime::from_seconds(Seconds(1.1e-12)).picoseconds(), 2);
  EXPECT_EQ(SimTime::from_seconds(Seconds(0)).picoseconds(), 0);
}

TEST(SimTimeDeathTest, RefusesNegativeAndNotFiniteDurations) {
  EXPECT_DEATH(SimTime::from_seconds(Seconds(-1)), "duration");
  EXPECT_DEATH(SimTime::from_seconds(Seconds(0.0 / 0.0)), "duration");
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "sim/cost/two_batch.h"

namespace moesim {
namespace {

HalfBatch half(double before, double experts, double dispatch, double combine) {
  HalfBatch parts;
  parts.before = before;
  parts.experts = experts;
  parts.dispatch = dispatch;
  parts.combine = combine;
  return parts;
}

TEST(TwoBatch, ShortExchangesHideCompletely) {
  // Every exchange (1 s) fits beside the segment that runs with it (2 s), so only compute counts: 2
  // * (2 + 2).
  EXPECT_NEAR(two_batch_period(half(2, 2, 1, 1)), 8.0, 1e-12);
}

TEST(TwoBatch, LongExchangesAreTheWholeLayer) {
  // The network never rests: 2 * (10 + 10).
  EXPECT_NEAR(two_batch_period(half(2, 2, 10, 10)), 40.0, 1e-12);
}

TEST(TwoBatch, AnExchangeLongerThanItsNeighbourShowsThoughBothSumsFit) {
  // Compute 2 * (4 + 1) = 10, exchange 2 * (1 + 3.5) = 9. The loop combine A, combine B, before B,
  // dispatch B, experts B has no room: after combine A begins (experts A done), combine B ends 7
  // later, then before B (4) ... so the layer takes longer than 10.
  const double period = two_batch_period(half(4, 1, 1, 3.5));
  EXPECT_GT(period, 10.0 + 1e-9);
  EXPECT_LT(period, 2.0 * (4 + 1 + 1 + 3.5));
}

TEST(TwoBatch, SharedExpertsHideTheCombine) {
  // The same compute as shared experts after the routed ones gives each combine more to hide
  // behind.
  HalfBatch with_shared = half(3, 1, 1, 3);
  with_shared.shared = 1;
  EXPECT_LE(two_batch_period(with_shared), two_batch_period(half(4, 1, 1, 3)) + 1e-12);
}

TEST(TwoBatch, TakenSMsSlowComputeByTheSecondsTheyAreTaken) {
  HalfBatch taxed = half(2, 2, 1, 1);
  taxed.dispatch_sm_fraction = taxed.combine_sm_fraction = 0.2;
  // 2 * (4 s of compute + 0.2 * 2 s of exchange).
  EXPECT_NEAR(two_batch_period(taxed), 8.8, 1e-12);
}

TEST(TwoBatch, NeverBeatsEitherSumAndScalesWithTime) {
  for (int i = 0; i < 500; ++i) {
    const auto draw = [&](int k) { return 0.1 + ((i * 37 + k * 101) % 97) / 20.0; };
    const HalfBatch parts = half(draw(1), draw(2), draw(3), draw(4));
    const double period = two_batch_period(parts);
    EXPECT_GE(period, 2.0 * parts.compute() - 1e-9) << i;
    EXPECT_GE(period, 2.0 * parts.exchange() - 1e-9) << i;
    EXPECT_LE(period, 2.0 * (parts.compute() + parts.exchange()) + 1e-9) << i;
    EXPECT_NEAR(two_batch_period(half(3 * draw(1), 3 * draw(2), 3 * draw(3), 3 * draw(4))),
                3.0 * period, 1e-9);
  }
}

}  // namespace
}  // namespace moesim

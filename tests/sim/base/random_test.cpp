// SPDX-License-Identifier: Apache-2.0
#include "sim/base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace moesim {
namespace {

TEST(RandomStream, GivesTheSameNumbersOnEveryPlatform) {
  // Recorded once on x86-64; a change here silently changes every seeded prediction.
  RandomStream stream(7, "routing/layer", 3);
  const std::uint64_t first = 7093343262796848199ull;
  EXPECT_EQ(stream.next(), first);
  EXPECT_EQ(stream.next(), 6780778007823556097ull);
  EXPECT_EQ(stream.next(), 4697152510109843291ull);
  EXPECT_EQ(stream.normal(), -0x1.1b05e812e6767p-1);
  EXPECT_NE(RandomStream(7, "routing/layer", 4).next(), first);
  EXPECT_NE(RandomStream(8, "routing/layer", 3).next(), first);
  EXPECT_NE(RandomStream(7, "routing/other", 3).next(), first);
}

TEST(PortableLogAndExp, AgreeWithTheLibraryToAFewUnitsInTheLastPlace) {
  RandomStream stream(1, "test");
  for (int i = 0; i < 200000; ++i) {
    const double x = (stream.uniform() - 0.5) * 1400.0;
    EXPECT_NEAR(portable_exp(x) / std::exp(x), 1.0, 2e-15) << x;
    const double y = std::exp((stream.uniform() - 0.5) * 1400.0);
    EXPECT_NEAR(portable_log(y), std::log(y), 4e-16 * std::fabs(std::log(y)) + 3e-16) << y;
  }
  EXPECT_EQ(portable_exp(-1000), 0.0);
  EXPECT_EQ(portable_exp(1000), std::numeric_limits<double>::infinity());
  EXPECT_EQ(portable_exp(0), 1.0);
  EXPECT_EQ(portable_log(1), 0.0);
}

/// Mean and variance of `draws` values, each checked within five standard errors of its
/// expectation.
template <class Draw>
void expect_moments(Draw draw, double mean, double variance, double fourth_over_square = 9.0) {
  constexpr int kDraws = 200000;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = draw() - mean;
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 5 * std::sqrt(variance / kDraws));
  EXPECT_NEAR(squares / kDraws, variance, 5 * variance * std::sqrt(fourth_over_square / kDraws));
}

TEST(RandomStream, DistributionsHaveTheirMeansAndVariances) {
  RandomStream stream(42, "moments");
  expect_moments([&] { return stream.uniform(); }, 0.5, 1.0 / 12.0);
  expect_moments([&] { return stream.normal(); }, 0.0, 1.0);
  expect_moments([&] { return stream.exponential(); }, 1.0, 1.0);
  expect_moments([&] { return stream.gumbel(); }, 0.57721566490153286, 1.6449340668482264);
  expect_moments([&] { return stream.gamma(0.3); }, 0.3, 0.3, 25.0);
  expect_moments([&] { return stream.gamma(40.0); }, 40.0, 40.0);
  expect_moments([&] { return static_cast<double>(stream.below(6)); }, 2.5, 35.0 / 12.0);
}

TEST(RandomStream, BinomialHasItsMeanAndVarianceInEveryRegime) {
  // Small and large means, both sides of one half, and the degenerate ends: mean n p, variance n p
  // (1 - p).
  RandomStream stream(42, "binomial");
  for (const auto& [trials, p] : {std::pair<int, double>{10, 0.3},
                                  {1000, 0.001},
                                  {1000, 0.4},
                                  {100000, 0.9},
                                  {1000000, 0.5}}) {
    expect_moments([&, n = trials, q = p] { return static_cast<double>(stream.binomial(n, q)); },
                   trials * p, trials * p * (1 - p));
  }
  EXPECT_EQ(stream.binomial(100, 0.0), 0);
  EXPECT_EQ(stream.binomial(100, 1.0), 100);
  EXPECT_EQ(stream.binomial(0, 0.5), 0);
}

}  // namespace
}  // namespace moesim

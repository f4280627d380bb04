// SPDX-License-Identifier: Apache-2.0
// Inclusion under a group limit: against closed forms where there are some, against counting
// elsewhere.
#include "sim/moe/token_routing_sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace moesim {
namespace {

std::vector<double> lognormal_weights(std::int32_t experts, double sigma, std::uint64_t seed) {
  RandomStream stream(seed, "test/weights");
  std::vector<double> weights;
  for (std::int32_t e = 0; e < experts; ++e) {
    weights.push_back(std::exp(sigma * stream.normal()));
  }
  return weights;
}

TEST(EstimateInclusion, TheFirstExpertOfTheFirstGroupIsDrawnByWeight) {
  // One group by its best expert, one expert of it: the first of all arrivals, P(e) = w_e / sum w.
  // 20,000 tokens: group shares to 1 / sqrt(20000) = 0.7% of 1, within a group exact.
  const std::vector<double> weights = {4, 1, 2, 1, 1, 3};
  const TokenSetSampler sampler(
      {.experts = 6, .top_k = 1, .groups = 2, .groups_chosen = 1, .group_score_terms = 1}, weights);
  RandomStream stream(1, "test");
  const std::vector<double> inclusion = sampler.estimate_inclusion(stream, 20000);
  for (std::size_t e = 0; e < weights.size(); ++e) {
    EXPECT_NEAR(inclusion[e], weights[e] / 12.0, 0.015) << e;
  }
  EXPECT_NEAR(inclusion[0] / inclusion[1], 4.0, 1e-9);  // the group's noise is common to both
}

TEST(EstimateInclusion, AGroupTakenWholeIncludesItsExpertsAlike) {
  // Two experts of a group of two: whatever the weights, both are chosen with their group.
  const std::vector<double> weights = {100, 1, 2, 3};
  const TokenSetSampler sampler(
      {.experts = 4, .top_k = 2, .groups = 2, .groups_chosen = 1, .group_score_terms = 1}, weights);
  RandomStream stream(1, "test");
  const std::vector<double> inclusion = sampler.estimate_inclusion(stream, 2000);
  EXPECT_NEAR(inclusion[0], inclusion[1], 1e-6);
  EXPECT_NEAR(inclusion[2], inclusion[3], 1e-6);
  EXPECT_NEAR(inclusion[0] + inclusion[2], 1.0, 1e-6);
}

class EstimateInclusionAtSigma : public testing::TestWithParam<double> {};

TEST_P(EstimateInclusionAtSigma, AgreesWithCountingDrawnTokens) {
  const GateShape gate = {
      .experts = 64, .top_k = 6, .groups = 8, .groups_chosen = 3, .group_score_terms = 2};
  const std::vector<double> weights = lognormal_weights(64, GetParam(), 7);
  const TokenSetSampler sampler(gate, weights);
  RandomStream stream(1, "test");
  constexpr std::int64_t kTokens = 4096;
  std::vector<std::int16_t> sets(static_cast<std::size_t>(kTokens * gate.top_k));
  const std::vector<double> inclusion = sampler.estimate_inclusion(stream, kTokens, sets.data());
  EXPECT_NEAR(std::accumulate(inclusion.begin(), inclusion.end(), 0.0), 6.0, 1e-6);

  // The sets handed out are those that `draw` gives from the same stream.
  RandomStream same(1, "test");
  std::vector<std::int16_t> drawn(sets.size());
  sampler.draw(same, kTokens, drawn.data());
  EXPECT_EQ(sets, drawn);

  constexpr std::int64_t kCounted = 400000;
  std::vector<std::int16_t> many(static_cast<std::size_t>(kCounted * gate.top_k));
  RandomStream other(2, "test");
  sampler.draw(other, kCounted, many.data());
  std::vector<double> share(64, 0.0);
  for (const std::int16_t e : many) {
    share[static_cast<std::size_t>(e)] += 1.0 / static_cast<double>(kCounted);
  }
  for (std::size_t e = 0; e < share.size(); ++e) {
    // Five standard errors: of the count, and of the selections that 4,096 tokens make in the
    // expert's group, of which come about two at a time.
    double group = 0.0;
    for (std::size_t mate = e / 8 * 8; mate < e / 8 * 8 + 8; ++mate) {
      group += share[mate];
    }
    const double of_group = share[e] * std::sqrt(2.0 / (kTokens * std::max(group, 1e-6)));
    const double of_count = std::sqrt(share[e] / kCounted);
    EXPECT_NEAR(inclusion[e], share[e], 5.0 * std::hypot(of_count, of_group) + 1e-5) << e;
  }
}

INSTANTIATE_TEST_SUITE_P(EvenToExtreme, EstimateInclusionAtSigma,
                         testing::Values(0.0, 0.1, 1.0, 3.0, 8.0));

}  // namespace
}  // namespace moesim

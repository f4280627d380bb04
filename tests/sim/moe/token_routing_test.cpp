// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/moe/token_routing_balanced.h"

namespace moesim {
namespace {

constexpr GateShape kPlain256 = {.experts = 256, .top_k = 8};
constexpr GateShape kDeepSeekV3 = {.experts = 256, .top_k = 8, .groups = 8, .groups_chosen = 4};

RoutingSpec gumbel(double sigma, const GateShape& gate, std::uint64_t seed = 1) {
  return {.kind = RoutingKind::gumbel, .gate = gate, .sigma = sigma, .seed = seed};
}

std::vector<double> frequencies(const LayerRouting& routing, std::int64_t tokens) {
  std::vector<std::int64_t> totals(static_cast<std::size_t>(routing.gate().experts), 0);
  count_selections(routing.draw_tokens(tokens, 0), totals);
  std::vector<double> rates;
  for (const std::int64_t n : totals) {
    rates.push_back(static_cast<double>(n) / static_cast<double>(tokens));
  }
  return rates;
}

double sum_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

TEST(InclusionOfWeights, MatchesPlackettLuceByHand) {
  // Weights 1/2, 1/3, 1/6, k = 2. P(3 out) = P(12) + P(21) = 1/2 * (1/3)/(1/2) + 1/3 * (1/2)/(2/3)
  // = 1/3 + 1/4 = 7/12; P(2 out) = 1/2 * (1/6)/(1/2) + 1/6 * (1/2)/(5/6) = 1/6 + 1/10 = 4/15.
  const std::vector<double> weights = {3.0, 2.0, 1.0};
  const std::vector<double> p = inclusion_of_weights(weights, 2);
  EXPECT_NEAR(p[2], 5.0 / 12.0, 1e-7);
  EXPECT_NEAR(p[1], 11.0 / 15.0, 1e-7);
  EXPECT_NEAR(p[0], 2.0 - 5.0 / 12.0 - 11.0 / 15.0, 1e-7);
  // k = 1 is the weights themselves, over a range of 1e6.
  const std::vector<double> wide = {1e6, 1.0, 10.0, 0.0};
  const std::vector<double> one = inclusion_of_weights(wide, 1);
  EXPECT_NEAR(one[1] / (1.0 / 1000011.0), 1.0, 1e-5);
  EXPECT_NEAR(one[2] / (10.0 / 1000011.0), 1.0, 1e-5);
  EXPECT_EQ(one[3], 0.0);
}

TEST(InclusionOfWeights, MatchesSampling) {
  // Standard error of a rate is sqrt(p (1 - p) / n): five of them, for each of 256 experts.
  for (const double sigma : {0.3, 1.1, 2.5}) {
    const LayerRouting routing(gumbel(sigma, kPlain256), 3);
    constexpr std::int64_t kTokens = 200000;
    const std::vector<double> rates = frequencies(routing, kTokens);
    EXPECT_NEAR(sum_of(routing.inclusion()), 8.0, 1e-9);
    for (std::size_t e = 0; e < rates.size(); ++e) {
      const double p = routing.inclusion()[e];
      ASSERT_LE(p, 1.0);
      ASSERT_NEAR(rates[e], p, 5.0 * std::sqrt(p * (1.0 - p) / kTokens) + 5e-6)
          << "sigma " << sigma << " expert " << e;
    }
  }
}

TEST(InclusionOfWeights, BeatsTheFixedTimeShortcut) {
  // The shortcut sum_e 1 - exp(-w_e t) = k, for the record of its error: hot experts come out
  // percents too high, the quadrature does not (previous test).
  RandomStream stream(5, "test");
  std::vector<double> weights;
  for (int e = 0; e < 64; ++e) {
    weights.push_back(portable_exp(1.1 * stream.normal()));
  }
  double low = 0.0;
  double high = 100.0;
  for (int i = 0; i < 100; ++i) {
    const double t = 0.5 * (low + high);
    double sum = 0.0;
    for (const double w : weights) {
      sum += 1.0 - portable_exp(-w * t);
    }
    (sum < 6.0 ? low : high) = t;
  }
  const std::vector<double> p = inclusion_of_weights(weights, 6);
  double worst = 0.0;
  for (std::size_t e = 0; e < p.size(); ++e) {
    worst = std::max(worst, std::fabs((1.0 - portable_exp(-weights[e] * low)) / p[e] - 1.0));
  }
  EXPECT_GT(worst, 0.01);
  EXPECT_LT(worst, 0.15);
}

TEST(WeightsOfInclusion, InvertsInclusionOfWeights) {
  RandomStream stream(9, "test");
  std::vector<double> loads;
  for (int e = 0; e < 64; ++e) {
    loads.push_back(stream.gamma(0.4));
  }
  const std::vector<double> wanted = capped_inclusion(loads, 6);
  const std::vector<double> reached = inclusion_of_weights(weights_of_inclusion(wanted, 6), 6);
  for (std::size_t e = 0; e < wanted.size(); ++e) {
    EXPECT_NEAR(reached[e], wanted[e], 2e-4 * wanted[e] + 2e-6);
  }
}

TEST(CappedInclusion, NeverExceedsOneAndKeepsTheSum) {
  // Loads 10, 1, 1, 0 with k = 2: the first is capped at 1, the other 1 is shared: 1, .5, .5, 0.
  EXPECT_THAT(capped_inclusion(std::vector<double>{10, 1, 1, 0}, 2),
              testing::ElementsAre(1.0, 0.5, 0.5, 0.0));
  // Capping one may push another over: 10, 4, 1, 1, k = 3: 1, then 4/6 * 2 > 1, then .5 .5.
  EXPECT_THAT(capped_inclusion(std::vector<double>{10, 4, 1, 1}, 3),
              testing::ElementsAre(1.0, 1.0, 0.5, 0.5));
}

TEST(TokenSetSampler, FollowsPlackettLuceInOrderToo) {
  // P(first = a, second = b) = w_a w_b / (1 - w_a) for weights that sum to 1.
  const std::vector<double> weights = {0.6, 0.25, 0.1, 0.05};
  const TokenSetSampler sampler({.experts = 4, .top_k = 2}, weights);
  RandomStream stream(3, "test");
  constexpr int kTokens = 400000;
  std::vector<std::int16_t> sets(2 * kTokens);
  sampler.draw(stream, kTokens, sets.data());
  std::vector<double> pairs(16, 0.0);
  for (int t = 0; t < kTokens; ++t) {
    pairs[static_cast<std::size_t>(sets[2 * t] * 4 + sets[2 * t + 1])] += 1.0 / kTokens;
  }
  for (std::size_t a = 0; a < 4; ++a) {
    for (std::size_t b = 0; b < 4; ++b) {
      const double p = a == b ? 0.0 : weights[a] * weights[b] / (1.0 - weights[a]);
      EXPECT_NEAR(pairs[a * 4 + b], p, 5.0 * std::sqrt(p * (1 - p) / kTokens)) << a << " " << b;
    }
  }
}

/// The definition: logits plus Gumbel noise, group scores from sums of the best, top k of the rest.
std::vector<double> rates_by_definition(const GateShape& gate, std::span<const double> logits,
                                        int tokens) {
  RandomStream stream(11, "definition");
  std::vector<double> rates(logits.size(), 0.0);
  const int size = gate.experts / gate.groups;
  for (int t = 0; t < tokens; ++t) {
    std::vector<double> noisy(logits.size());
    for (std::size_t e = 0; e < logits.size(); ++e) {
      noisy[e] = logits[e] + stream.gumbel();
    }
    std::vector<std::pair<double, int>> scores;
    for (int g = 0; g < gate.groups; ++g) {
      std::vector<double> group(noisy.begin() + g * size, noisy.begin() + (g + 1) * size);
      std::sort(group.rbegin(), group.rend());
      scores.emplace_back(
          std::accumulate(group.begin(), group.begin() + gate.group_score_terms, 0.0), g);
    }
    std::sort(scores.rbegin(), scores.rend());
    std::vector<std::pair<double, int>> open;
    for (int c = 0; c < gate.groups_chosen; ++c) {
      for (int e = scores[static_cast<std::size_t>(c)].second * size;
           e < (scores[static_cast<std::size_t>(c)].second + 1) * size; ++e) {
        open.emplace_back(noisy[static_cast<std::size_t>(e)], e);
      }
    }
    std::sort(open.rbegin(), open.rend());
    for (int j = 0; j < gate.top_k; ++j) {
      rates[static_cast<std::size_t>(open[static_cast<std::size_t>(j)].second)] += 1.0 / tokens;
    }
  }
  return rates;
}

TEST(TokenSetSampler, GroupLimitedSetsFollowTheNoisyScoresByDefinition) {
  const GateShape gate = {.experts = 24, .top_k = 5, .groups = 4, .groups_chosen = 2};
  RandomStream stream(4, "test");
  std::vector<double> logits;
  std::vector<double> weights;
  for (int e = 0; e < gate.experts; ++e) {
    logits.push_back(1.2 * stream.normal());
    weights.push_back(portable_exp(logits.back()));
  }
  constexpr int kTokens = 60000;
  const std::vector<double> expected = rates_by_definition(gate, logits, kTokens);
  const TokenSetSampler sampler(gate, weights);
  std::vector<std::int16_t> sets(5 * kTokens);
  sampler.draw(stream, kTokens, sets.data());
  std::vector<double> rates(weights.size(), 0.0);
  for (const std::int16_t e : sets) {
    rates[static_cast<std::size_t>(e)] += 1.0 / kTokens;
  }
  for (std::size_t e = 0; e < rates.size();
       ++e) {  // both sides are samples: sqrt(2) standard errors
    EXPECT_NEAR(rates[e], expected[e],
                5.0 * std::sqrt(2.0 * expected[e] * (1.0 - expected[e]) / kTokens) + 1e-4)
        << e;
  }
}

TEST(TokenSets, HaveDistinctExpertsAndRespectTheGroupLimit) {
  for (const RoutingSpec& spec :
       {gumbel(1.1, kDeepSeekV3), gumbel(0.0, kDeepSeekV3), gumbel(4.0, kPlain256),
        RoutingSpec{.kind = RoutingKind::zipf, .gate = kPlain256, .alpha = 3.0},
        gumbel(0.0, GateShape{.experts = 10, .top_k = 4})}) {
    const LayerRouting routing(spec, 0);
    const std::size_t k = static_cast<std::size_t>(spec.gate.top_k);
    const std::vector<std::int16_t> sets = routing.draw_tokens(2000, 0);
    for (std::size_t t = 0; t < 2000; ++t) {
      std::vector<std::int16_t> set(sets.begin() + static_cast<std::ptrdiff_t>(t * k),
                                    sets.begin() + static_cast<std::ptrdiff_t>((t + 1) * k));
      std::vector<bool> groups(static_cast<std::size_t>(spec.gate.groups), false);
      for (const std::int16_t e : set) {
        groups[static_cast<std::size_t>(e / (spec.gate.experts / spec.gate.groups))] = true;
      }
      EXPECT_LE(std::count(groups.begin(), groups.end(), true), spec.gate.groups_chosen);
      std::sort(set.begin(), set.end());
      ASSERT_EQ(std::adjacent_find(set.begin(), set.end()), set.end()) << t;
    }
  }
}

TEST(BalancedRouting, GivesEveryExpertTheSameCountToWithinOne) {
  // 250 tokens * 8 / 256 experts = 7.8: every count is 7 or 8, as counts and as sets.
  const LayerRouting routing(gumbel(0.0, kPlain256), 0);
  EXPECT_TRUE(routing.is_balanced());
  std::vector<std::int64_t> totals(256, 0);
  count_selections(routing.draw_tokens(250, 0), totals);
  const std::vector<std::int64_t> sources = {100, 50, 0, 100};
  const RoutedCounts counts = routing.draw_counts(sources, 0);
  for (const std::vector<std::int64_t>& t : {totals, counts.totals}) {
    EXPECT_EQ(*std::min_element(t.begin(), t.end()), 7);
    EXPECT_EQ(*std::max_element(t.begin(), t.end()), 8);
    EXPECT_EQ(std::accumulate(t.begin(), t.end(), std::int64_t{0}), 2000);
  }
  // The tokens of 16 requests make 128 selections: half of the experts, one in each pair of
  // neighbours, so 128 ranks of two experts get exactly one each.
  const std::vector<std::int64_t> few = {16};
  const RoutedCounts sparse = routing.draw_counts(few, 0);
  for (std::size_t e = 0; e < 256; e += 2) {
    EXPECT_EQ(sparse.totals[e] + sparse.totals[e + 1], 1);
  }
  // DeepSeek-V3's gate: 32 tokens are one cycle.
  std::vector<std::int64_t> grouped(256, 0);
  count_selections(LayerRouting(gumbel(0.0, kDeepSeekV3), 0).draw_tokens(3200, 0), grouped);
  EXPECT_GE(*std::min_element(grouped.begin(), grouped.end()), 99);
  EXPECT_LE(*std::max_element(grouped.begin(), grouped.end()), 101);
}

TEST(UniformRouting, IsRandomAndNotExactlyBalanced) {
  const LayerRouting routing({.kind = RoutingKind::uniform, .gate = kPlain256}, 0);
  std::vector<std::int64_t> totals(256, 0);
  count_selections(routing.draw_tokens(4096, 0), totals);
  // Binomial counts of mean 128: standard deviation sqrt(4096 * 1/32 * 31/32) = 11.1.
  double squares = 0.0;
  for (const std::int64_t n : totals) {
    squares += (static_cast<double>(n) - 128.0) * (static_cast<double>(n) - 128.0);
  }
  EXPECT_NEAR(std::sqrt(squares / 256.0), 11.1, 2.0);
}

TEST(RoutedCounts, ConserveSelectionsAndMatchTheExpectedLoads) {
  // Both ways of drawing (100 tokens: one by one; 20,000: binomials) against T * p, chi-square over
  // 256 experts: mean 255 minus ties to the sum, standard deviation sqrt(2 * 255) = 23.
  const LayerRouting routing(gumbel(0.8, kPlain256), 2);
  for (const std::int64_t tokens : {std::int64_t{2000}, std::int64_t{20000}}) {
    const std::vector<std::int64_t> sources(10, tokens);
    const RoutedCounts counts = routing.draw_counts(sources, 5);
    const double total_tokens = 10.0 * static_cast<double>(tokens);
    double chi_square = 0.0;
    for (std::size_t e = 0; e < 256; ++e) {
      const double p = routing.inclusion()[e];
      const double off = static_cast<double>(counts.totals[e]) - total_tokens * p;
      chi_square += off * off / (total_tokens * p * (1.0 - p));
    }
    EXPECT_NEAR(chi_square, 255.0, 5 * 23.0) << tokens;
    for (std::int32_t s = 0; s < 10; ++s) {
      const auto row = counts.of_source(s);
      EXPECT_EQ(std::accumulate(row.begin(), row.end(), std::int64_t{0}), tokens * 8);
      EXPECT_GE(*std::min_element(row.begin(), row.end()), 0);
      EXPECT_LE(*std::max_element(row.begin(), row.end()), tokens);
    }
  }
}

TEST(RoutedCounts, AreTheSameForEqualDrawsAndDifferForOthers) {
  const LayerRouting routing(gumbel(0.8, kPlain256), 2);
  const std::vector<std::int64_t> sources(4, 100);
  EXPECT_EQ(routing.draw_counts(sources, 1).counts, routing.draw_counts(sources, 1).counts);
  EXPECT_NE(routing.draw_counts(sources, 1).counts, routing.draw_counts(sources, 2).counts);
  EXPECT_NE(LayerRouting(gumbel(0.8, kPlain256), 3).draw_counts(sources, 1).counts,
            routing.draw_counts(sources, 1).counts);
  EXPECT_NE(LayerRouting(gumbel(0.8, kPlain256, 2), 2).draw_counts(sources, 1).counts,
            routing.draw_counts(sources, 1).counts);
}

TEST(CountsRouting, ReproducesTheGivenLoadsUpToTheCap) {
  // 8 experts, top 2: a share above 1/2 of all selections is impossible and is cut to E/k = 4.
  const GateShape gate = {.experts = 8, .top_k = 2};
  const LayerRouting routing({.kind = RoutingKind::counts,
                              .gate = gate,
                              .layer_loads = {{800, 40, 40, 40, 20, 20, 20, 20}}},
                             0);
  EXPECT_DOUBLE_EQ(routing.inclusion()[0], 1.0);
  EXPECT_DOUBLE_EQ(max_over_mean(routing.inclusion()), 4.0);
  EXPECT_NEAR(routing.inclusion()[1], 0.2, 1e-12);
  const std::vector<double> rates = frequencies(routing, 100000);
  for (std::size_t e = 0; e < 8; ++e) {
    EXPECT_NEAR(rates[e], routing.inclusion()[e], 0.006) << e;
  }
}

TEST(CheckRouting, NamesEachProblemWithItsPointer) {
  RoutingSpec spec = gumbel(-1.0, GateShape{.experts = 8, .top_k = 9});
  try {
    check_routing(spec, "s.json", "/routing");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "s.json#/routing: top_k must be 1 to the number of experts\n"
                 "s.json#/routing/sigma: -1 is out of range; allowed: 0 to 20");
  }
  spec = {.kind = RoutingKind::counts, .gate = {.experts = 4, .top_k = 2}};
  spec.layer_loads = {{1, 2, 3}, {0, 0, 0, 5}, {1, 1, -1, 1}};
  try {
    check_routing(spec, "s.json", "/routing");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "s.json#/routing/counts/0: 3 counts for 4 experts\n"
                 "s.json#/routing/counts/1: fewer than top_k experts have a count above 0\n"
                 "s.json#/routing/counts/2: a count is negative or not finite");
  }
}

}  // namespace
}  // namespace moesim

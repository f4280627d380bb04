// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/capacity.h"

#include <gtest/gtest.h>

#include "sim/moe/token_routing.h"

namespace moesim {
namespace {

constexpr GateShape kFour = {.experts = 4, .top_k = 2};

TEST(Capacity, IsTheCeilingOfFactorTimesMean) {
  const CapacityRule rule = {.factor = 1.25, .overflow = OverflowPolicy::drop};
  EXPECT_EQ(rule.capacity({.experts = 64, .top_k = 6}, 1024), 120);  // 1.25 * 96
  EXPECT_EQ(rule.capacity({.experts = 64, .top_k = 6}, 1), 1);
  EXPECT_EQ(rule.capacity({.experts = 8, .top_k = 2}, 2), 1);  // 0.625
  // 1.1 * 10 * 1 / 1 is 11 in decimal, a little more in binary: still 11 (but at most the tokens).
  const CapacityRule tenth = {.factor = 1.1, .overflow = OverflowPolicy::drop};
  EXPECT_EQ(tenth.capacity({.experts = 2, .top_k = 1}, 20), 11);
  EXPECT_EQ(tenth.capacity({.experts = 1, .top_k = 1}, 20), 20);
  const CapacityRule fairseq = {
      .factor = 1.0, .overflow = OverflowPolicy::drop, .eval_token_fraction = 0.25};
  EXPECT_EQ(fairseq.capacity({.experts = 512, .top_k = 2}, 1000, true), 250);
  EXPECT_EQ(fairseq.capacity({.experts = 512, .top_k = 2}, 1000, false), 4);
}

TEST(Capacity, DropsNextBestsAndPadsByHand) {
  // Four tokens rank expert 0, 1, 2, 3; capacity ceil(1 * 4 * 2 / 4) = 2.
  const std::vector<std::int16_t> ranking = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
  CapacityRule rule = {.factor = 1.0, .overflow = OverflowPolicy::drop, .pads = true};
  CapacityOutcome outcome = apply_capacity(kFour, rule, ranking, 4);
  // Tokens 2 and 3 find both experts full; experts 2 and 3 run two padded rows each.
  EXPECT_EQ(outcome.loads, (std::vector<std::int64_t>{2, 2, 0, 0}));
  EXPECT_EQ(outcome.dropped, 4);
  EXPECT_EQ(outcome.tokens_untouched, 2);
  EXPECT_EQ(outcome.padding, 4);
  EXPECT_DOUBLE_EQ(outcome.dropped_fraction(), 0.5);
  EXPECT_DOUBLE_EQ(outcome.padding_fraction(), 0.5);

  rule.overflow = OverflowPolicy::next_best;
  outcome = apply_capacity(kFour, rule, ranking, 4);
  EXPECT_EQ(outcome.loads, (std::vector<std::int64_t>{2, 2, 2, 2}));
  EXPECT_EQ(outcome.rerouted, 4);
  EXPECT_EQ(outcome.dropped, 0);

  rule.overflow = OverflowPolicy::dropless;
  outcome = apply_capacity(kFour, rule, ranking, 4);
  EXPECT_EQ(outcome.loads, (std::vector<std::int64_t>{4, 4, 0, 0}));
  EXPECT_EQ(outcome.padding, 8);
}

TEST(Capacity, TheOrderDecidesWhoIsDropped) {
  // Experts 0 and 1 take one selection each. By token, token 0 takes both; by choice, token 1's
  // first choice (expert 1) comes before token 0's second.
  const std::vector<std::int16_t> ranking = {0, 1, 1, 0};
  CapacityRule rule = {.factor = 1.0, .overflow = OverflowPolicy::drop};
  rule.order = CapacityOrder::token;
  EXPECT_EQ(apply_capacity(kFour, rule, ranking, 2).tokens_untouched, 1);
  rule.order = CapacityOrder::choice;
  EXPECT_EQ(apply_capacity(kFour, rule, ranking, 2).tokens_untouched, 0);
}

TEST(Capacity, ConservesSelectionsForAnyRoutingAndRule) {
  RandomStream stream(1, "property");
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const GateShape gate = {.experts = static_cast<std::int32_t>(4 + stream.below(60)),
                            .top_k = static_cast<std::int32_t>(1 + stream.below(4))};
    const std::int32_t width = static_cast<std::int32_t>(std::min<std::int64_t>(
        gate.experts, gate.top_k + static_cast<std::int64_t>(stream.below(5))));
    const LayerRouting routing({.kind = RoutingKind::gumbel,
                                .gate = {.experts = gate.experts, .top_k = width},
                                .sigma = 1.5,
                                .seed = seed},
                               0);
    const std::int64_t tokens = static_cast<std::int64_t>(1 + stream.below(300));
    const std::vector<std::int16_t> ranking = routing.draw_tokens(tokens, 0);
    const CapacityRule rule = {
        .factor = 0.25 + 2.0 * stream.uniform(),
        .overflow = static_cast<OverflowPolicy>(stream.below(3)),
        .order = static_cast<CapacityOrder>(stream.below(2)),
        .pads = stream.below(2) == 0,
    };
    const CapacityOutcome outcome = apply_capacity(gate, rule, ranking, width);
    std::int64_t sum = 0;
    for (const std::int64_t load : outcome.loads) {
      EXPECT_LE(load, rule.capacity(gate, tokens)) << seed;
      sum += load;
    }
    EXPECT_EQ(outcome.selections, tokens * gate.top_k) << seed;
    EXPECT_EQ(sum, outcome.processed) << seed;
    EXPECT_EQ(outcome.processed + outcome.dropped, outcome.selections) << seed;
    EXPECT_GE(outcome.padding, 0) << seed;
    if (rule.overflow == OverflowPolicy::dropless) {
      EXPECT_EQ(outcome.dropped, 0) << seed;
    }
  }
}

TEST(Capacity, TheExpectedDroppedFractionMatchesSampledBatches) {
  // 400 batches; the sampled mean's standard error is below 0.4% of the fraction.
  const GateShape gate = {.experts = 64, .top_k = 6};
  const LayerRouting routing({.kind = RoutingKind::gumbel, .gate = gate, .sigma = 0.7, .seed = 2},
                             0);
  for (const std::int64_t tokens : {64, 1024}) {
    for (const double factor : {1.0, 1.5}) {
      const CapacityRule rule = {.factor = factor, .overflow = OverflowPolicy::drop};
      double sampled = 0.0;
      for (std::uint64_t b = 0; b < 400; ++b) {
        sampled +=
            apply_capacity(gate, rule, routing.draw_tokens(tokens, b), 6).dropped_fraction() / 400;
      }
      EXPECT_NEAR(expected_dropped_fraction(routing.inclusion(), static_cast<double>(tokens),
                                            rule.capacity(gate, tokens)),
                  sampled, 0.015 * sampled + 2e-4)
          << tokens << " " << factor;
    }
  }
}

}  // namespace
}  // namespace moesim

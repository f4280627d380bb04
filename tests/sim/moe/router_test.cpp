// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/base/error.h"

namespace moesim {
namespace {

GateScores one_token(std::vector<double> logits, std::int64_t id = 0) {
  return {.tokens = 1,
          .experts = static_cast<std::int32_t>(logits.size()),
          .logits = std::move(logits),
          .token_ids = {id}};
}

std::vector<std::int16_t> route(const RouterOptions& options, const GateScores& scores,
                                std::uint64_t draw = 0) {
  return make_router(options, scores.experts, "r.json", "")->route(scores, draw).sets;
}

RoutingSpec spec(std::int32_t experts, std::int32_t top_k, double sigma) {
  return {.kind = RoutingKind::gumbel,
          .gate = {.experts = experts, .top_k = top_k},
          .sigma = sigma,
          .seed = 3};
}

RouterOptions options_for(const RouterPolicy& policy) {
  RouterOptions options{.name = policy.name, .top_k = 4, .groups = 4, .groups_chosen = 2};
  options.threshold = 0.5;
  options.bias.assign(32, 0.01);
  options.table = {{0, 1, 2, 3}, {5, 4}, {31}};
  // Answers every request with the same experts for its 64 tokens, like a user's script.
  options.command = {"sh", "-c",
                     "while read -r line; do printf '{\"experts\": [[0,9]'; "
                     "for i in $(seq 63); do printf ',[3,1,2]'; done; echo ']}'; done"};
  return options;
}

TEST(RouterTable, EveryRowGivesDifferentExpertsWithinTheBoundsAndRepeatsItself) {
  const GateScores scores = draw_scores(spec(32, 4, 1.5), 0, 64, 0);
  for (const RouterPolicy& policy : router_policies()) {
    SCOPED_TRACE(policy.name);
    const RouterOptions options = options_for(policy);
    const std::unique_ptr<Router> router = make_router(options, 32, "r.json", "");
    const RoutedTokens routed = router->route(scores, 7);
    EXPECT_EQ(routed.sets, router->route(scores, 7).sets);
    const std::size_t width = static_cast<std::size_t>(routed.width);
    ASSERT_EQ(routed.sets.size(), 64 * width);
    std::vector<double> loads(32, 0.0);
    for (std::size_t t = 0; t < 64; ++t) {
      std::set<std::int16_t> seen;
      bool ended = false;
      for (std::size_t j = 0; j < width; ++j) {
        const std::int16_t e = routed.sets[t * width + j];
        ended = ended || e < 0;
        ASSERT_EQ(e < 0, ended) << "no expert follows an absent one";
        if (e >= 0) {
          ASSERT_LT(e, 32);
          ASSERT_TRUE(seen.insert(e).second) << "token " << t;
          loads[static_cast<std::size_t>(e)] += 1.0;
        }
      }
    }
    // A token picks an expert at most once, so no load exceeds the tokens: max/mean <= E / k.
    EXPECT_LE(*std::max_element(loads.begin(), loads.end()), 64.0);
  }
}

TEST(Routers, TopKGroupsAndAdaptiveKByHand) {
  const GateScores scores = one_token({1.0, 4.0, 3.5, 0.0, 3.9, 3.8, -1.0, 2.0});
  using testing::ElementsAre;
  EXPECT_THAT(route({.name = "softmax_top1"}, scores), ElementsAre(1));
  EXPECT_THAT(route({.name = "softmax_topk", .top_k = 3}, scores), ElementsAre(1, 4, 5));
  // Groups of four: {1, 4, 3.5, 0} scores 7.5 by two best, {3.9, 3.8, -1, 2} 7.7: the second wins
  // though the best expert is in the first.
  EXPECT_THAT(route({.name = "group_limited", .top_k = 2, .groups = 2, .groups_chosen = 1}, scores),
              ElementsAre(4, 5));
  EXPECT_THAT(route({.name = "group_limited",
                     .top_k = 2,
                     .groups = 2,
                     .groups_chosen = 1,
                     .group_score_terms = 1},
                    scores),
              ElementsAre(1, 2));
  // Total probability: e^4 + e^3.5 + e + 1 = 91.4 against e^3.9 + e^3.8 + e^2 + e^-1 = 101.9.
  EXPECT_THAT(route({.name = "two_level", .top_k = 3, .groups = 2, .groups_chosen = 1}, scores),
              ElementsAre(4, 5, 7));
  // Softmax shares of 193.3: .282, .255, .231, .171 ...; .5 needs two, .6 three, capped by top_k.
  EXPECT_THAT(route({.name = "adaptive_k", .top_k = 4, .threshold = 0.5}, scores),
              ElementsAre(1, 4, -1, -1));
  EXPECT_THAT(route({.name = "adaptive_k", .top_k = 4, .threshold = 0.6}, scores),
              ElementsAre(1, 4, 5, -1));
  // A bias lifts expert 7 (sigmoid .88) over expert 1 (.98).
  EXPECT_THAT(
      route({.name = "sigmoid_bias", .top_k = 1, .bias = {0, 0, 0, 0, 0, 0, 0, .2}}, scores),
      ElementsAre(7));
}

TEST(Routers, ExpertChoiceGivesEveryExpertTheSameNumberOfTokens) {
  const GateScores scores = draw_scores(spec(16, 2, 2.0), 0, 200, 1);
  const RoutedTokens routed =
      make_router({.name = "expert_choice", .top_k = 2, .capacity_factor = 1.0}, 16, "", "")
          ->route(scores, 0);
  std::vector<int> loads(16, 0);
  for (const std::int16_t e : routed.sets) {
    if (e >= 0) {
      ++loads[static_cast<std::size_t>(e)];
    }
  }
  EXPECT_THAT(loads, testing::Each(25));  // 200 * 2 / 16
}

TEST(Routers, SecondExpertPoliciesFollowTheirProbabilities) {
  // Logits 0 and -1 (and a third far away): the second's share of the two is 1 / (1 + e) = .269, so
  // "random" keeps it with .538; "sampling" draws the second by probability among the others.
  GateScores scores{.tokens = 20000, .experts = 3};
  for (int t = 0; t < 20000; ++t) {
    scores.logits.insert(scores.logits.end(), {0.0, -1.0, -2.0});
    scores.token_ids.push_back(t);
  }
  const auto share_of = [&](SecondExpert second, std::int16_t expert) {
    const std::vector<std::int16_t> sets = route({.name = "gshard_top2", .second = second}, scores);
    int n = 0;
    for (std::size_t t = 0; t < 20000; ++t) {
      n += sets[2 * t + 1] == expert ? 1 : 0;
    }
    return n / 20000.0;
  };
  EXPECT_EQ(share_of(SecondExpert::all, 1), 1.0);
  EXPECT_NEAR(share_of(SecondExpert::random, 1), 2.0 / (1.0 + std::exp(1.0)), 0.02);
  EXPECT_NEAR(share_of(SecondExpert::sampling, 1), 1.0 / (1.0 + std::exp(-1.0)), 0.02);
}

TEST(Routers, HashGoesByTheTokenIdAlone) {
  const RouterOptions options = {.name = "hash", .top_k = 2};
  const std::vector<std::int16_t> a = route(options, one_token({1, 2, 3, 4, 5, 6}, 77), 0);
  EXPECT_EQ(a, route(options, one_token({6, 5, 4, 3, 2, 1}, 77), 9));
  int different = 0;
  for (std::int64_t id = 0; id < 20; ++id) {
    different += route(options, one_token({1, 2, 3, 4, 5, 6}, id)) != a ? 1 : 0;
  }
  EXPECT_GT(different, 10);
}

TEST(Routers, NoiseIsAnnealedToNothing) {
  const GateScores scores = draw_scores(spec(32, 4, 0.5), 0, 50, 0);
  const RouterOptions plain = {.name = "softmax_topk", .top_k = 4};
  EXPECT_NE(route({.name = "noisy_topk", .top_k = 4, .noise = 1.0}, scores), route(plain, scores));
  EXPECT_EQ(route({.name = "noisy_topk", .top_k = 4, .noise = 1.0, .progress = 1.0}, scores),
            route(plain, scores));
}

TEST(Routers, SoftmaxTopKOfDrawnScoresIsTheLawOfLayerRouting) {
  // Both are Plackett-Luce with the same weights: rates within five standard errors.
  const RoutingSpec routing = spec(16, 3, 1.0);
  const LayerRouting law(routing, 2);
  constexpr std::int64_t kTokens = 20000;
  const std::vector<std::int16_t> sets =
      route({.name = "softmax_topk", .top_k = 3}, draw_scores(routing, 2, kTokens, 0));
  std::vector<std::int64_t> totals(16, 0);
  count_selections(sets, totals);
  for (std::size_t e = 0; e < 16; ++e) {
    const double p = law.inclusion()[e];
    EXPECT_NEAR(static_cast<double>(totals[e]) / kTokens, p,
                5.0 * std::sqrt(p * (1.0 - p) / kTokens));
  }
}

std::string problem_of_router(const RouterOptions& options, std::int32_t experts = 8) {
  try {
    make_router(options, experts, "r.json", "/router")
        ->route(draw_scores(spec(experts, 2, 1.0), 0, 2, 0), 0);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no problem";
}

TEST(Routers, SayWhatIsWrongAndWhatIsAllowed) {
  EXPECT_THAT(problem_of_router({.name = "topk"}),
              testing::StartsWith("r.json#/router/name: \"topk\" is no router; allowed: "
                                  "softmax_top1, softmax_topk"));
  EXPECT_EQ(problem_of_router({.name = "softmax_topk", .top_k = 9}),
            "r.json#/router: top_k must be 1 to the number of experts");
  EXPECT_EQ(problem_of_router({.name = "static", .top_k = 2, .table = {{1, 1}}}),
            "r.json#/router/table/0: is no set of 1 to top_k different experts; allowed: experts 0 "
            "to 7");
}

TEST(ProgramRouter, ReportsProgramsThatFailOrAnswerNonsense) {
  const auto problem = [](const std::string& script) {
    return problem_of_router({.name = "program", .top_k = 2, .command = {"sh", "-c", script}});
  };
  EXPECT_THAT(problem("exit 3"), testing::HasSubstr("ended before its answer"));
  EXPECT_THAT(problem("read -r x; echo nonsense"), testing::HasSubstr("sh: line 1"));
  EXPECT_THAT(problem("read -r x; echo '{\"experts\": [[0]]}'"),
              testing::HasSubstr("sh#/experts: is no list of 2 lists"));
  EXPECT_THAT(problem("read -r x; echo '{\"experts\": [[0], [3, 3]]}'"),
              testing::HasSubstr("sh#/experts/1/1: repeats an expert"));
  EXPECT_THAT(problem("read -r x; echo '{\"experts\": [[0], [8]]}'"),
              testing::HasSubstr("sh#/experts/1/0: is no expert"));
  EXPECT_THAT(problem_of_router(
                  {.name = "program", .top_k = 2, .command = {"/nowhere/moesim-no-such-program"}}),
              testing::HasSubstr("/nowhere/moesim-no-such-program: cannot be started"));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/moe/token_routing_domains.h"
#include "sim/moe/token_routing_local.h"
#include "sim/moe/token_routing_skew.h"
#include "sim/moe/token_routing_statistics.h"

namespace moesim {
namespace {

TEST(SkewKinds, NeverExceedExpertsOverTopKAndSumToTopK) {
  const GateShape gate = {.experts = 64, .top_k = 6};
  for (const RoutingKind kind :
       {RoutingKind::uniform, RoutingKind::gumbel, RoutingKind::zipf, RoutingKind::dirichlet,
        RoutingKind::lognormal, RoutingKind::power_law}) {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      const RoutingSpec spec = {
          .kind = kind, .gate = gate, .sigma = 3.0, .alpha = 1.5, .seed = seed};
      const LayerRouting routing(spec, 0);
      EXPECT_NEAR(std::accumulate(routing.inclusion().begin(), routing.inclusion().end(), 0.0), 6.0,
                  1e-8)
          << choice_name(kind) << " seed " << seed;
      EXPECT_LE(max_over_mean(routing.inclusion()), 64.0 / 6.0 * (1 + 1e-12));
    }
  }
}

TEST(SkewKinds, DirichletHasItsConcentration) {
  // Before any cap binds, cv^2 of symmetric Dirichlet shares is (E - 1) / (E alpha + 1): the
  // moment estimate is alpha. Mean over 200 layers; the estimate scatters by about 10% a layer.
  const RoutingSpec spec = {.kind = RoutingKind::dirichlet, .gate = {64, 1}, .alpha = 2.0};
  double inverse = 0.0;
  for (std::int32_t layer = 0; layer < 200; ++layer) {
    inverse += 1.0 / load_statistics(layer_popularity(spec, layer)).dirichlet_alpha / 200.0;
  }
  EXPECT_NEAR(1.0 / inverse, 2.0, 0.12);
}

TEST(PowerLawSampler, FollowsItsDefinition) {
  RandomStream stream(1, "test");
  for (const double exponent : {1.0, 1.01, 1.2}) {
    for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{16}, std::int64_t{4096}}) {
      const std::vector<std::int64_t> counts = power_law_counts(256, 8, tokens, exponent, stream);
      EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), tokens * 8);
      for (const std::int64_t n : counts) {
        ASSERT_GE(n, 0);
        ASSERT_LE(n, tokens);
      }
    }
  }
  EXPECT_EQ(hottest_group({1, 2, 9, 0, 5, 5}, 3), 2);
  EXPECT_EQ(hottest_group({1, 2, 9, 0, 4, 4}, 3), 1);
  EXPECT_EQ(hottest_group({5, 5, 9, 1, 4, 4}, 3), 0);
}

TEST(PowerLawSampler, SteeperExponentsAreMoreSkewed) {
  const auto mean_hottest = [](double exponent) {
    double sum = 0.0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      RandomStream stream(seed, "test");
      const std::vector<std::int64_t> counts = power_law_counts(256, 8, 16384, exponent, stream);
      sum += max_over_mean(std::vector<double>(counts.begin(), counts.end())) / 50.0;
    }
    return sum;
  };
  // x ~ 1/x on [1, b]: mean b / ln b, so the largest (about b) is ln b = ln(13107) = 9.5 times the
  // mean; steeper laws have a lower mean and so a higher ratio (capped at 32).
  EXPECT_NEAR(mean_hottest(1.0), 9.5, 1.0);
  EXPECT_GT(mean_hottest(1.2), 1.3 * mean_hottest(1.0));
}

double mean_overlap(const TokenTrace& trace, std::int64_t lag) {
  double sum = 0.0;
  for (std::size_t l = 0; l < trace.layers.size(); ++l) {
    sum += lag_overlap(trace, l, lag) / static_cast<double>(trace.layers.size());
  }
  return sum;
}

TEST(Locality, PrefillFollowsTheMeasuredOverlapByLag) {
  // Mean over 26 layers of data/routing/locality_by_lag.csv, task law; chance (independent) .131;
  // max/mean 3.5, cv .61 of load_stats.csv.
  const std::vector<std::pair<std::int64_t, double>> measured = {
      {1, .2901}, {2, .2161}, {3, .1984}, {4, .1876}, {8, .1708}, {16, .1578}, {32, .1373}};
  const RoutingSpec spec = {.kind = RoutingKind::gumbel, .gate = {64, 6}, .sigma = 0.82, .seed = 1};
  const TokenTrace trace =
      LocalRouting(spec, LocalitySpec::prefill(), 26).draw_sequences(0, 33, 252);
  for (const auto& [lag, overlap] : measured) {
    EXPECT_NEAR(mean_overlap(trace, lag), overlap, 0.012) << lag;
  }
  double hottest = 0.0;
  for (std::size_t l = 0; l < 26; ++l) {
    const std::vector<std::int64_t> totals = layer_totals(trace, l);
    hottest += load_statistics(std::vector<double>(totals.begin(), totals.end())).max_over_mean;
  }
  EXPECT_NEAR(hottest / 26.0, 3.5, 0.35);
}

TEST(Locality, DecodeRepeatsAsPublished) {
  const RoutingSpec spec = {
      .kind = RoutingKind::gumbel, .gate = {128, 8}, .sigma = 0.82, .seed = 1};
  const TokenTrace trace =
      LocalRouting(spec, LocalitySpec::decode(), 12).draw_sequences(0, 20, 160);
  EXPECT_NEAR(mean_overlap(trace, 1), 0.43, 0.02);
}

TEST(Locality, WithoutItTokensAreIndependentAndFollowTheLaw) {
  const RoutingSpec spec = {.kind = RoutingKind::gumbel, .gate = {64, 6}, .sigma = 0.7, .seed = 4};
  const TokenTrace trace = LocalRouting(spec, {}, 2).draw_sequences(0, 40, 500);
  const LayerRouting routing(spec, 1);
  const std::vector<std::int64_t> totals = layer_totals(trace, 1);
  double squares = 0.0;
  for (std::size_t e = 0; e < 64; ++e) {
    const double p = routing.inclusion()[e];
    squares += p * p / 6.0;
    EXPECT_NEAR(static_cast<double>(totals[e]) / 20000.0, p, 5 * std::sqrt(p / 20000.0)) << e;
  }
  EXPECT_NEAR(lag_overlap(trace, 1, 1), squares, 0.006);
}

TEST(Locality, AffinityFollowsRecordedPairCounts) {
  // Every expert's recorded successor is the expert above it: with affinity 0.9 most tokens hold
  // it.
  const RoutingSpec spec = {.kind = RoutingKind::uniform, .gate = {16, 2}};
  LocalRouting routing(spec, {.affinity_fraction = 0.9}, 2);
  std::vector<double> pairs(256, 0.0);
  for (std::size_t e = 0; e < 16; ++e) {
    pairs[e * 16 + (e + 1) % 16] = 5.0;
  }
  routing.set_pair_counts(0, pairs);
  const TokenTrace trace = routing.draw_sequences(0, 1, 4000);
  int hits = 0;
  for (std::size_t t = 0; t < 4000; ++t) {
    for (std::size_t j = 0; j < 2; ++j) {
      const int wanted = (trace.layer_sets(0)[t * 2 + j] + 1) % 16;
      hits += trace.layer_sets(1)[t * 2] == wanted || trace.layer_sets(1)[t * 2 + 1] == wanted;
    }
  }
  // First pick follows with .9; the second, drawn until it differs, with .45 / (.45 + .1) = .82 or
  // so of the other successor: about 1.7 of 2.
  EXPECT_NEAR(hits / 8000.0, 0.86, 0.05);
}

TEST(GeneratedTrace, TheShippedFileIsWhatTheGeneratorWrites) {
  const std::string path = std::string(MOESIM_SOURCE_DIR) + "/scenarios/traces/generated_64x6.csv";
  const std::string text = token_trace_text(generated_sample_trace());
  EXPECT_LT(text.size(), 200000u);
  if (std::getenv("MOESIM_UPDATE_GOLDEN") != nullptr) {
    write_text_file(path, text);
  }
  EXPECT_EQ(read_text_file(path, 1 << 20), text)
      << "run this test with MOESIM_UPDATE_GOLDEN=1 and say in the commit why it moved";
  const TokenTrace trace = read_token_trace(path, 64);
  // Like law text: overlap with the token before .29, loads max/mean 1.95-6.9 by layer.
  EXPECT_NEAR(mean_overlap(trace, 1), 0.29, 0.03);
  for (std::size_t l = 0; l < trace.layers.size(); ++l) {
    const std::vector<std::int64_t> totals = layer_totals(trace, l);
    const double hottest = max_over_mean(std::vector<double>(totals.begin(), totals.end()));
    EXPECT_GT(hottest, 1.95);
    EXPECT_LT(hottest, 6.9);
  }
}

TEST(Domains, SharesSwitchDriftAndBurstOnSchedule) {
  const GateShape gate = {.experts = 16, .top_k = 2};
  const std::vector<RoutingDomain> domains = {
      {"law", {.kind = RoutingKind::gumbel, .gate = gate, .sigma = 1.0, .seed = 1}},
      {"code", {.kind = RoutingKind::gumbel, .gate = gate, .sigma = 1.0, .seed = 2}}};
  const DomainRouting mixture(domains, {{Seconds(0), {1, 0}}, {Seconds(100), {1, 3}, Seconds(20)}},
                              {{.domain = 0,
                                .share = 0.5,
                                .first = Seconds(200),
                                .period = Seconds(50),
                                .length = Seconds(5)}},
                              1, "s.json", "/routing");
  EXPECT_EQ(mixture.shares_at(Seconds(0)), (std::vector<double>{1, 0}));
  EXPECT_NEAR(mixture.shares_at(Seconds(90))[1], 0.375, 1e-12);  // half way to 3/4
  EXPECT_NEAR(mixture.shares_at(Seconds(150))[1], 0.75, 1e-12);
  EXPECT_NEAR(mixture.shares_at(Seconds(252))[0], 0.5 + 0.5 * 0.25, 1e-12);
  EXPECT_NEAR(mixture.shares_at(Seconds(256))[0], 0.25, 1e-12);
  const DomainRouting::Batch batch = mixture.draw_tokens(0, 20000, Seconds(150), 0);
  std::vector<std::int64_t> totals(16, 0);
  count_selections(batch.sets, totals);
  const std::vector<double> inclusion = mixture.inclusion_at(0, Seconds(150));
  for (std::size_t e = 0; e < 16; ++e) {
    EXPECT_NEAR(static_cast<double>(totals[e]) / 20000.0, inclusion[e], 0.02) << e;
  }
  EXPECT_THROW(DomainRouting(domains, {{Seconds(0), {1}}}, {}, 1, "s.json", "/routing"),
               InputError);
}

}  // namespace
}  // namespace moesim

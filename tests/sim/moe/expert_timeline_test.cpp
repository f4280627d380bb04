// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_timeline.h"

#include <gmock/gmock.h>

#include <cmath>

#include "sim/moe/token_routing_domains.h"

namespace moesim {
namespace {

using ::testing::ElementsAre;

/// Two domains of eight experts that want opposite halves: counts 9 9 9 9 1 1 1 1 and 1 1 1 1 9 9 9
/// 9. The first one's share is 1 until `start`, 0 from then on.
RoutingSpec two_halves(double start, double drift, double from = 0) {
  std::vector<RoutingDomain> domains(2);
  for (int d = 0; d < 2; ++d) {
    RoutingSpec& law = domains[static_cast<std::size_t>(d)].spec;
    law.kind = RoutingKind::counts;
    law.gate = {.experts = 8, .top_k = 2};
    const double low = d == 0 ? 9 : 1;
    law.layer_loads = {{low, low, low, low, 10 - low, 10 - low, 10 - low, 10 - low}};
  }
  RoutingSpec spec;
  spec.kind = RoutingKind::domains;
  spec.time = Seconds(from);
  spec.mixture = std::make_shared<const DomainRouting>(
      std::move(domains),
      std::vector<DomainPhase>{{Seconds(0), {1, 0}, Seconds(0)},
                               {Seconds(start), {0, 1}, Seconds(drift)}},
      std::vector<DomainBurst>{}, 1, "", "");
  spec.gate = spec.mixture->gate();
  return spec;
}

PlacementContext four_ranks() {
  PlacementContext context;
  context.ranks = 4;
  context.ranks_per_node = 4;
  context.expert_bytes = Bytes(1e9);
  context.link_rate = BytesPerSecond(1e9);
  return context;
}

PlacementConfig rule(RebalanceRule trigger) {
  PlacementConfig config;
  config.policy = PlacementKind::lpt;
  config.planned_at_s = 0;
  config.rebalance.trigger = trigger;
  config.rebalance.window_s = 30;
  config.rebalance.balancedness = 0.9;
  config.rebalance.history_windows = 1;
  return config;
}

std::vector<double> ends(ExpertTimeline& timeline, std::size_t count) {
  std::vector<double> times;
  for (std::size_t i = 0; i < count; ++i) {
    times.push_back(timeline.epoch(i).end.value());
  }
  return times;
}

TEST(ExpertTimeline, AMixtureThatStaysIsOneStretchForEver) {
  ExpertTimeline timeline(PlacementConfig(), two_halves(100, 0, 200), 1, four_ranks(), nullptr);
  EXPECT_TRUE(std::isinf(timeline.epoch(0).end.value()));
  EXPECT_EQ(&timeline.epoch(5), &timeline.epoch(0));
  EXPECT_THAT(timeline.epoch(0).shares, ElementsAre(0, 1));
}

TEST(ExpertTimeline, StretchesEndWhereSharesMoveAndWhereWindowsEnd) {
  // A drift from 60 to 100 in four steps of 10; windows of 30 s add 30 and 90 (60 and 120 are
  // both).
  ExpertTimeline drift(PlacementConfig(), two_halves(100, 40), 1, four_ranks(), nullptr);
  EXPECT_THAT(ends(drift, 5), ElementsAre(60, 70, 80, 90, 100));
  EXPECT_TRUE(std::isinf(drift.epoch(5).end.value()));
  // The middle of the step from 60 to 70: an eighth of the way.
  EXPECT_DOUBLE_EQ(drift.epoch(1).shares[1], 0.125);
  ExpertTimeline windows(rule(RebalanceRule::threshold), two_halves(100, 40), 1, four_ranks(),
                         nullptr);
  EXPECT_THAT(ends(windows, 7), ElementsAre(30, 60, 70, 80, 90, 100, 120));
}

TEST(ExpertTimeline, APlacementIsStaleUntilAWindowHasShownTheChange) {
  // Two of eight experts a rank, two selections a token. Placed for the first domain (9 + 1 on each
  // rank), which is even for the second one as well: so the first placement is made contiguous.
  PlacementConfig config = rule(RebalanceRule::threshold);
  config.planned_at_s.reset();
  ExpertTimeline timeline(config, two_halves(45, 0), 1, four_ranks(), nullptr);
  // Contiguous: ranks hold 18 18 2 2 of 40; mean 10: 10 / 18. The first plan follows at 30 s and
  // pairs 9 with 1: balanced before and after the switch at 45 s.
  EXPECT_NEAR(timeline.epoch(0).state.balancedness, 10.0 / 18.0, 1e-3);
  EXPECT_FALSE(timeline.epoch(0).state.has_new_plan);
  EXPECT_DOUBLE_EQ(timeline.epoch(1).start.value(), 30);
  EXPECT_TRUE(timeline.epoch(1).state.has_new_plan);
  EXPECT_NEAR(timeline.epoch(1).state.balancedness, 1.0, 1e-3);
  // Each rank keeps one expert and takes another: 1 GB at 1 GB/s.
  EXPECT_EQ(timeline.epoch(1).state.moved_slots, 4);
  EXPECT_DOUBLE_EQ(timeline.epoch(1).state.lost.value(), 1.0);
  EXPECT_EQ(timeline.epoch(1).plan, 1u);
  for (std::size_t i = 2; i < 8; ++i) {
    EXPECT_FALSE(timeline.epoch(i).state.has_new_plan) << i;
  }
}

TEST(ExpertTimeline, WindowsBeforeTheRunOnlyTeachTheRule) {
  // From 100 s on, a plan made at 30 s is in force: nothing moves within the run.
  PlacementConfig config = rule(RebalanceRule::threshold);
  config.planned_at_s.reset();
  ExpertTimeline timeline(config, two_halves(45, 0, 100), 1, four_ranks(), nullptr);
  EXPECT_DOUBLE_EQ(timeline.epoch(0).start.value(), 100);
  EXPECT_DOUBLE_EQ(timeline.epoch(0).end.value(), 120);
  EXPECT_FALSE(timeline.epoch(0).state.has_new_plan);
  EXPECT_NEAR(timeline.epoch(0).state.balancedness, 1.0, 1e-3);
}

TEST(ExpertTimeline, BurstsBeginAndEnd) {
  RoutingSpec spec = two_halves(1000, 0);
  std::vector<RoutingDomain> domains = spec.mixture->domains();
  spec.mixture = std::make_shared<const DomainRouting>(
      std::move(domains), std::vector<DomainPhase>{{Seconds(0), {1, 0}, Seconds(0)}},
      std::vector<DomainBurst>{{1, 0.5, Seconds(10), Seconds(40), Seconds(5)}}, 1, "", "");
  ExpertTimeline timeline(PlacementConfig(), spec, 1, four_ranks(), nullptr);
  EXPECT_THAT(ends(timeline, 4), ElementsAre(10, 15, 50, 55));
  EXPECT_THAT(timeline.epoch(0).shares, ElementsAre(1, 0));
  EXPECT_THAT(timeline.epoch(1).shares, ElementsAre(0.5, 0.5));
  EXPECT_THAT(timeline.epoch(2).shares, ElementsAre(1, 0));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Routing that drifts and placements that follow while requests are served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;
using testing::ranks_in_step;
using testing::run;
using testing::ServingRun;

/// Mixtral on eight ranks with two experts' slots each; the second domain takes over at `switch_s`.
Scenario shifting(
    double switch_s, const testing::Edit& edit = [](ScenarioSpec&) {}) {
  return ranks_in_step([&](ScenarioSpec& spec) {
    spec.routing.kind = RoutingModel::domains;
    spec.routing.sigma = 0;
    spec.routing.domains = {{"a", RoutingModel::gumbel, 0.9, 1, ""},
                            {"b", RoutingModel::gumbel, 0.9, 1, ""}};
    spec.routing.phases = {{0, {1, 0}, 0}, {switch_s, {0, 1}, 0}};
    spec.placement.policy = PlacementKind::eplb;
    spec.placement.slots = 16;
    spec.placement.planned_at_s = 0;
    spec.workload.arrivals = ArrivalProcess::offline;
    spec.workload.requests = 1024;
    spec.workload.prompt_tokens = 128;
    spec.workload.output_tokens = 512;
    edit(spec);
  });
}

void rebalance(ScenarioSpec& spec, double window_s) {
  spec.placement.rebalance.trigger = RebalanceRule::threshold;
  spec.placement.rebalance.window_s = window_s;
  spec.placement.rebalance.balancedness = 0.95;
  spec.placement.rebalance.history_windows = 1;
}

TEST(ServingDrift, StepTimesAreThoseOfTheRoutingOfTheirTime) {
  // Asked as a single step at 0 s and at 20 s, with the plan of 0 s, the deployment must give what
  // the epochs before and after the switch at 10 s give.
  const Scenario scenario = shifting(10);
  const EngineRules rules = engine_rules(scenario);
  StepTimeline timeline(scenario, rules);
  const Scenario late = shifting(10, [](ScenarioSpec& spec) { spec.routing.time_s = 20; });
  StepTimes after(late, rules);
  EXPECT_EQ(timeline.epoch_at(9.99), 0u);
  EXPECT_EQ(timeline.epoch_at(10), 1u);
  EXPECT_DOUBLE_EQ(timeline.times(1).decode(64, 1000).seconds, after.decode(64, 1000).seconds);
  StepTimes before(scenario, rules);
  EXPECT_DOUBLE_EQ(timeline.times(0).decode(64, 1000).seconds, before.decode(64, 1000).seconds);
  EXPECT_GT(after.decode(64, 1000).seconds, before.decode(64, 1000).seconds);
}

TEST(ServingDrift, ARunWhoseRoutingStaysHasOneEpoch) {
  // The switch comes a day after the run: nothing of it may be seen.
  const ServingRun still = run(shifting(86400));
  EXPECT_EQ(still.plan.serving.timeline->epochs().size(), 1u);
  const ServingRun plain =
      run(shifting(86400, [](ScenarioSpec& spec) { spec.routing.phases = {}; }));
  EXPECT_EQ(plain.plan.serving.timeline->epochs().size(), 1u);
  const ServingRun uniform = run(ranks_in_step([](ScenarioSpec& spec) {
    spec.workload.arrivals = ArrivalProcess::offline;
    spec.workload.requests = 16;
  }));
  EXPECT_FALSE(uniform.plan.serving.timeline->experts_change());
}

TEST(ServingDrift, AStalePlacementCostsTimeAndANewOneWinsItBack) {
  const ServingRun still = run(shifting(86400));
  const double switch_s = still.record.end_s / 4;
  const ServingRun stale = run(shifting(switch_s));
  const ServingRun mended =
      run(shifting(switch_s, [&](ScenarioSpec& spec) { rebalance(spec, 1.0); }));
  EXPECT_GT(stale.record.end_s, 1.02 * still.record.end_s);
  EXPECT_LT(mended.record.end_s, stale.record.end_s);
  EXPECT_GT(mended.record.end_s, still.record.end_s);
  EXPECT_EQ(stale.record.serving.moving_s, 0);
}

TEST(ServingDrift, EveryInstanceWaitsOnceForTheWeightsOfAPlan) {
  // One plan after the switch; two instances are busy all the time: each waits what it costs.
  const ServingRun mended = run(shifting(1.5, [](ScenarioSpec& spec) {
    rebalance(spec, 1.0);
    spec.serving.instances = 2;
  }));
  double lost = 0;
  for (const StepEpoch& epoch : mended.plan.serving.timeline->epochs()) {
    lost += epoch.stall_s;
    EXPECT_EQ(epoch.stall_s > 0, epoch.experts.moved.value() > 0);
  }
  EXPECT_GT(lost, 0);
  EXPECT_DOUBLE_EQ(mended.record.serving.moving_s, 2 * lost);
  // Behind compute nothing is lost.
  const ServingRun hidden = run(shifting(1.5, [](ScenarioSpec& spec) {
    rebalance(spec, 1.0);
    spec.placement.rebalance.hidden_fraction = 1;
  }));
  EXPECT_EQ(hidden.record.serving.moving_s, 0);
}

TEST(ServingDrift, AnInstanceWithoutWorkHasItsWeightsWhenSomeComes) {
  // Requests come every hundred seconds and take one: plans fall into the silence between them.
  const ServingRun quiet = run(shifting(50, [](ScenarioSpec& spec) {
    rebalance(spec, 20);
    spec.workload.arrivals = ArrivalProcess::gamma;
    spec.workload.burst_cv = 0.01;
    spec.workload.requests_per_s = 0.01;
    spec.workload.requests = 3;
    spec.workload.output_tokens = 16;
  }));
  double plans = 0;
  for (const StepEpoch& epoch : quiet.plan.serving.timeline->epochs()) {
    plans += epoch.stall_s > 0 ? 1 : 0;
  }
  EXPECT_GT(plans, 0);
  EXPECT_EQ(quiet.record.serving.moving_s, 0);
}

TEST(ServingDrift, TheResultTellsPlansMovesAndBalanceOverTime) {
  RunOptions options;
  options.what_ifs = false;
  const SimulationResult moved =
      simulate(shifting(2, [](ScenarioSpec& spec) { rebalance(spec, 1.0); }), options);
  EXPECT_EQ(moved.metric("rebalance_plans").value, 1);
  EXPECT_GT(moved.metric("rebalance_moved_bytes").value, 0);
  EXPECT_GT(moved.metric("rebalance_lost_s").value, 0);
  const auto series = [&](const std::string& name) -> const TimeSeries* {
    for (const TimeSeries& one : moved.series) {
      if (one.name == name) {
        return &one;
      }
    }
    return nullptr;
  };
  const TimeSeries* balance = series("placement_balancedness");
  ASSERT_NE(balance, nullptr);
  // Good at first, stale in the window from 2 s to 3 s, good again under the plan that it taught.
  const auto at = [&](double time) {
    return balance->values[static_cast<std::size_t>(time / balance->bucket_s)];
  };
  EXPECT_LT(at(2.5), at(0.5));
  EXPECT_GT(at(3.5), at(2.5));
  EXPECT_NE(series("rank_load_max_over_mean"), nullptr);
  const SimulationResult plain = simulate(ranks_in_step([](ScenarioSpec& spec) {
                                            spec.workload.arrivals = ArrivalProcess::offline;
                                            spec.workload.requests = 16;
                                          }),
                                          options);
  EXPECT_EQ(plain.find("rebalance_plans"), nullptr);
  EXPECT_EQ(plain.find("placement_balancedness"), nullptr);
}

TEST(ServingDrift, RebalancingNeedsTrafficThatChangesAndWindowsOfASecond) {
  try {
    shifting(10, [](ScenarioSpec& spec) { rebalance(spec, 0.5); });
    FAIL() << "a window of half a second was taken";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/placement/rebalance/window_s: 0.5 is too short for "
                                        "serving; allowed: at least 1"));
  }
  try {
    ranks_in_step([](ScenarioSpec& spec) {
      rebalance(spec, 10);
      spec.workload.concurrency = 8;
    });
    FAIL() << "re-balancing of routing that stays was taken";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/placement/rebalance/trigger"));
  }
}

}  // namespace
}  // namespace moesim

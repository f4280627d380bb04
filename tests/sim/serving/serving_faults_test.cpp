// SPDX-License-Identifier: Apache-2.0
// Parts that fail or slow down while requests are served, and come back.
#include "sim/run/serving_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/engine/link_share.h"
#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;
using testing::ranks_in_step;

RunOptions quick() {
  RunOptions options;
  options.what_ifs = false;
  return options;
}

Scenario two_instances(const testing::Edit& edit) {
  return ranks_in_step([&](ScenarioSpec& spec) {
    spec.serving.instances = 2;
    spec.workload.requests_per_s = 40;
    spec.workload.requests = 1200;
    edit(spec);
  });
}

void across_two_nodes(ScenarioSpec& spec) {
  spec.nodes = 2;
  spec.parallelism.expert = 16;
  spec.placement.policy = PlacementKind::eplb;
  spec.placement.slots = 16;
}

const TimeSeries& series(const SimulationResult& result, const std::string& name) {
  for (const TimeSeries& one : result.series) {
    if (one.name == name) {
      return one;
    }
  }
  throw std::logic_error(name);
}

TEST(ServingFaults, ADeadGpuStopsAnInstanceAndTheOtherTakesItsRequests) {
  const SimulationResult result = simulate(two_instances([](ScenarioSpec& spec) {
                                             spec.faults = {{"node0/gpu0", 0, 8, 10}};
                                           }),
                                           quick());
  EXPECT_DOUBLE_EQ(result.metric("unavailable_s").value, 10);
  EXPECT_GT(result.metric("restarted_requests").value, 0);
  // The machine is back after 10 s; the service is not before that.
  EXPECT_GE(result.metric("service_recovery_s").value, 10);
  EXPECT_LT(result.metric("service_recovery_s").value, 20);
  EXPECT_TRUE(result.feasibility.ok);
  EXPECT_EQ(result.find("fault_slowdown"), nullptr);
}

TEST(ServingFaults, RecoveryIsDetectionRepairRestartAndLoadingUnlessSaid) {
  // A spare node: 3 s until it is noticed, 2 s of restart, and a GPU's weights over its host link.
  const Scenario scenario = two_instances([](ScenarioSpec& spec) {
    spec.faults = {{"node0/gpu0", 0, 8}};
    spec.recovery = {3, 2, 1.0, 1e6};
  });
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  plan_timed_faults(plan, scenario);
  ASSERT_EQ(plan.outages.size(), 1u);
  EXPECT_EQ(plan.struck, nullptr);
  double weights = 0;
  for (const auto& [kind, bytes] : plan.serving.room.memory.kinds) {
    weights += kind.ends_with("_weights") || kind.ends_with("experts") ? bytes.value() : 0;
  }
  const Host& host = scenario.cluster->node_groups.front().host;
  double rate = host.link_rate.value.value();
  if (host.nvme_read) {
    rate = std::min(rate, host.nvme_read->value.value() / 8);
  }
  EXPECT_DOUBLE_EQ(plan.outages[0].begin_s, 8);
  EXPECT_NEAR(plan.outages[0].end_s, 8 + 5 + weights / rate, 1e-9);
}

TEST(ServingFaults, ASlowLinkSlowsTheFirstInstanceWhileItLasts) {
  const Scenario scenario = two_instances([](ScenarioSpec& spec) {
    across_two_nodes(spec);
    spec.faults = {{"node0/gpu0 -- pod0/leaf0", 0.1, 4, 6}};
  });
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  plan_timed_faults(plan, scenario);
  EXPECT_TRUE(plan.outages.empty());
  ASSERT_NE(plan.struck, nullptr);
  StepTimeline& struck = *plan.struck;
  EXPECT_EQ(struck.epoch_at(3.9), 0u);
  EXPECT_EQ(struck.epoch_at(4), 1u);
  EXPECT_EQ(struck.epoch_at(10), 2u);
  // In the spell: the step of a deployment that has the fault all the time.
  Scenario always = scenario;
  always.spec.faults[0].at_s.reset();
  always.spec.faults[0].lasts_s.reset();
  const Scenario shared = with_links_shared(always);
  StepTimes slow(shared, *plan.serving.rules);
  EXPECT_DOUBLE_EQ(struck.times(1).decode_common(32, 600).seconds,
                   slow.decode_common(32, 600).seconds);
  EXPECT_GT(slow.decode_common(32, 600).seconds,
            plan.serving.times->decode_common(32, 600).seconds);
  // Before and after, and for the other instance, nothing has changed.
  EXPECT_EQ(&struck.times(0), plan.serving.times);
  EXPECT_EQ(&struck.times(2), plan.serving.times);
  EXPECT_EQ(plan.serving.timeline->epoch_at(5), 0u);
}

StepCost cost_with(const std::vector<FaultSpec>& faults) {
  const Scenario scenario = two_instances([&](ScenarioSpec& spec) { spec.faults = faults; });
  const EngineRules rules = engine_rules(scenario);
  StepTimes times(scenario, rules);
  StepShape shape;
  shape.decoding = 32;
  shape.context = 600;
  return times.cost(shape);
}

FaultSpec slow_gpu(const std::string& where, double compute_fraction) {
  FaultSpec fault;
  fault.where = where;
  fault.compute_fraction = compute_fraction;
  return fault;
}

TEST(ServingFaults, ASlowGpuSlowsWhatItComputesAndNothingElse) {
  // At half its speed the GPU that all wait for takes twice as long for its products; bytes cross
  // the links as before.
  const StepCost whole = cost_with({});
  const StepCost half = cost_with({slow_gpu("node0/gpu3", 0.5)});
  double computed = 0;
  for (const OpKind kind : {OpKind::attention_projection, OpKind::attention, OpKind::router,
                            OpKind::experts, OpKind::lm_head, OpKind::norm, OpKind::embedding}) {
    const auto k = static_cast<std::size_t>(kind);
    EXPECT_DOUBLE_EQ(half.by_kind[k], 2 * whole.by_kind[k]);
    computed += whole.by_kind[k];
  }
  for (const OpKind kind : {OpKind::dispatch, OpKind::combine}) {
    const auto k = static_cast<std::size_t>(kind);
    EXPECT_GT(whole.by_kind[k], 0);
    EXPECT_DOUBLE_EQ(half.by_kind[k], whole.by_kind[k]);
  }
  EXPECT_NEAR(half.seconds.value(), whole.seconds.value() + computed, 1e-12);
}

TEST(ServingFaults, TheSlowestGpuCountsAndFaultsOfOneGpuMultiply) {
  const double half = cost_with({slow_gpu("node0/gpu3", 0.5)}).seconds.value();
  EXPECT_DOUBLE_EQ(
      cost_with({slow_gpu("node0/gpu3", 0.5), slow_gpu("node0/gpu1", 0.8)}).seconds.value(), half);
  EXPECT_DOUBLE_EQ(
      cost_with({slow_gpu("node0/gpu3", 0.625), slow_gpu("node0/gpu3", 0.8)}).seconds.value(),
      half);
}

TEST(ServingFaults, ASlowGpuSlowsTheFirstInstanceWhileItLasts) {
  const Scenario scenario = two_instances([](ScenarioSpec& spec) {
    spec.faults = {slow_gpu("node0/gpu0", 0.25)};
    spec.faults[0].at_s = 8;
    spec.faults[0].lasts_s = 6;
  });
  const SimulationResult struck = simulate(scenario, quick());
  const SimulationResult whole = simulate(two_instances([](ScenarioSpec&) {}), quick());
  EXPECT_DOUBLE_EQ(struck.metric("slowed_s").value, 6);
  EXPECT_EQ(struck.find("unavailable_s"), nullptr);
  EXPECT_GT(std::get<Distribution>(struck.find("tpot_s")->value).p99.value,
            1.2 * std::get<Distribution>(whole.find("tpot_s")->value).p99.value);
  EXPECT_THAT(struck.findings, ::testing::Contains(HasSubstr("has slow parts from 8")));
}

TEST(ServingFaults, ASlowGpuThatLastsForEverIsACostOfTheDeployment) {
  // All the time and in every instance: the closed form of the step says how much longer it takes.
  // With a batch that stays (a closed loop) at most 1 / 0.8, since exchanges take as long as
  // before.
  const SimulationResult result = simulate(two_instances([](ScenarioSpec& spec) {
                                             spec.workload.requests_per_s.reset();
                                             spec.workload.concurrency = 64;
                                             spec.faults = {slow_gpu("node0/gpu0", 0.8)};
                                           }),
                                           quick());
  EXPECT_GT(result.metric("fault_slowdown").value, 1.05);
  EXPECT_LT(result.metric("fault_slowdown").value, 1.25);
}

TEST(ServingFaults, OnlyGpusComputeAndOnlyWhileServing) {
  const auto problems_of = [](const std::function<void()>& act) -> std::string {
    try {
      act();
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(problems_of([] {
                simulate(two_instances([](ScenarioSpec& spec) {
                           across_two_nodes(spec);
                           spec.faults = {slow_gpu("pod0/leaf0", 0.5)};
                         }),
                         quick());
              }),
              HasSubstr("#/faults/0/where: \"pod0/leaf0\" is no GPU, and only GPUs compute"));
  EXPECT_THAT(
      problems_of([] {
        testing::small([](ScenarioSpec& spec) { spec.faults = {slow_gpu("node0/gpu0", 0.5)}; });
      }),
      HasSubstr("#/faults/0/compute_fraction: a single step has no slow GPUs as faults"));
  EXPECT_THAT(problems_of([] {
                two_instances([](ScenarioSpec& spec) {
                  spec.faults = {slow_gpu("node0/gpu0", 0.5)};
                  spec.faults[0].rate_fraction = 0.5;
                });
              }),
              HasSubstr("#/faults/0/rate_fraction: is of links, compute_fraction of a GPU"));
}

TEST(ServingFaults, TwoFaultsThatOverlapAreOneStretchEach) {
  // Alone from 4 to 6 and from 8 to 10, together from 6 to 8.
  const Scenario scenario = two_instances([](ScenarioSpec& spec) {
    across_two_nodes(spec);
    spec.faults = {{"node0/gpu0 -- pod0/leaf0", 0.5, 4, 4},
                   {"node1/gpu1 -- pod0/leaf1", 0.5, 6, 4}};
  });
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  plan_timed_faults(plan, scenario);
  ASSERT_NE(plan.struck, nullptr);
  ASSERT_EQ(plan.struck->spells().size(), 3u);
  EXPECT_DOUBLE_EQ(plan.struck->spells()[1].begin_s, 6);
  EXPECT_DOUBLE_EQ(plan.struck->spells()[1].end_s, 8);
  EXPECT_EQ(plan.struck->spells()[1].scenario->spec.faults.size(), 2u);
}

TEST(ServingFaults, WithoutAnotherInstanceRequestsWaitUntilItIsBack) {
  const SimulationResult result = simulate(two_instances([](ScenarioSpec& spec) {
                                             spec.serving.instances = 1;
                                             spec.workload.requests_per_s = 20;
                                             spec.faults = {{"node0/gpu0", 0, 10, 20}};
                                           }),
                                           quick());
  // 20 requests a second for 20 s, all of which wait, and what the instance had at 10 s.
  const TimeSeries& waiting = series(result, "waiting_requests");
  const double just_before = waiting.values[static_cast<std::size_t>(29 / waiting.bucket_s)];
  EXPECT_NEAR(just_before, 20 * 19 + result.metric("restarted_requests").value, 60);
  EXPECT_GE(result.metric("service_recovery_s").value, 20);
}

TEST(ServingFaults, TheQueueHasRecoveredWhenNoMoreWaitThanBefore) {
  // An outage from 10 to 12. One request waits from 9 to 10.5 (and another one had waited before
  // it): at most 1 before. Three that came at 11 are admitted at 13, 14 and 15: from 14 on one
  // waits.
  ServingRecord record;
  const auto request = [&](double arrival, double admitted) {
    RequestState state{};
    state.arrival_s = arrival;
    state.admitted_s = admitted;
    record.requests.push_back(state);
    record.rejected.push_back(0);
  };
  request(8.2, 8.5);
  request(9, 10.5);
  request(11, 13);
  request(11, 14);
  request(11, 15);
  record.end_s = 20;
  ServingPlan plan;
  plan.outages = {{10, 12}};
  const std::vector<Incident> all = incidents(plan, record);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_DOUBLE_EQ(all[0].waiting_before, 1);
  EXPECT_DOUBLE_EQ(all[0].waiting_most, 3);
  ASSERT_TRUE(all[0].recovered_at_s);
  EXPECT_DOUBLE_EQ(*all[0].recovered_at_s, 14);
}

TEST(ServingFaults, AFaultAfterTheLastRequestIsNoPartOfTheRun) {
  const auto ask = [](const testing::Edit& edit) {
    return simulate(two_instances([&](ScenarioSpec& spec) {
                      spec.workload.requests = 100;
                      edit(spec);
                    }),
                    quick());
  };
  const SimulationResult never = ask([](ScenarioSpec&) {});
  const SimulationResult late = ask([](ScenarioSpec& spec) {
    spec.faults = {{"node0/gpu0", 0, 1e6, 10}};
  });
  EXPECT_EQ(late.metric("output_tokens_per_s_per_gpu").value,
            never.metric("output_tokens_per_s_per_gpu").value);
  EXPECT_EQ(late.find("unavailable_s"), nullptr);
}

TEST(ServingFaults, TimesBelongToServingRunsAndPartsToTheCluster) {
  const auto message = [](const testing::Edit& edit) -> std::string {
    try {
      simulate(two_instances(edit), quick());
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message([](ScenarioSpec& spec) {
                spec.workload.kind = WorkloadKind::step;
                spec.faults = {{"node0/gpu0", 0, 8, 10}};
              }),
              HasSubstr("/faults/0/at_s: a single step has no time"));
  EXPECT_THAT(message([](ScenarioSpec& spec) {
                spec.faults = {{"node0/gpu0", 0.5, std::nullopt, 10}};
              }),
              HasSubstr("/faults/0/lasts_s: needs /faults/0/at_s"));
  EXPECT_THAT(message([](ScenarioSpec& spec) {
                spec.faults = {{"node0/gpu99", 0, 8, 10}};
              }),
              HasSubstr("/faults/0/where"));
}

}  // namespace
}  // namespace moesim

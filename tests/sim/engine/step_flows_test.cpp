// SPDX-License-Identifier: Apache-2.0
// Flow fidelity: agrees with closed forms where nothing contends, and says what contention costs.
#include "sim/engine/step_flows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/base/error.h"
#include "sim/engine/step_graph.h"
#include "sim/workload/step_template.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;

Scenario two_nodes(const std::function<void(ScenarioSpec&)>& edit = [](ScenarioSpec&) {}) {
  return testing::small([&](ScenarioSpec& spec) {
    spec.model = "deepseek_v2_lite";
    spec.nodes = 2;
    spec.model_edits.layers_fraction = 0.1;
    spec.fidelity = Fidelity::flow;
    edit(spec);
  });
}

StepExecution run(const Scenario& scenario,
                  const std::optional<RecordedWindow>& recording = std::nullopt) {
  const StepCostModel model(scenario, routing_of(scenario));
  return execute_step(scenario, model, batch_of(scenario), 0, recording);
}

TEST(StepFlows, AgreesWithTheClosedFormWhereTheBusiestGpuIsAll) {
  // One copy per selection over a non-blocking network, uniform routing: the busiest port decides
  // in both, except for the shares that flows to other ports get meanwhile.
  for (const std::int64_t nodes : {1, 2}) {
    const StepExecution execution = run(two_nodes([&](ScenarioSpec& spec) {
      spec.nodes = nodes;
      spec.workload.batch_per_gpu = 128;
    }));
    ASSERT_TRUE(execution.flows.has_value());
    EXPECT_NEAR(execution.flows->exchange_s / execution.flows->uncontended_s, 1.0, 0.05) << nodes;
  }
}

TEST(StepFlows, OverSubscriptionStretchesExchangesByWhatTheUplinksLack) {
  // Four nodes on two leaves of a fat tree: 2 of a GPU's 3 other nodes lie behind the uplinks,
  // which carry a quarter of what the cards do, so they need 4 * 2/3 = 2.7 times as long as the
  // cards.
  Scenario scenario = two_nodes([](ScenarioSpec& spec) {
    spec.nodes = 4;
    spec.workload.batch_per_gpu = 1024;
  });
  ClusterProfile tree = *scenario.cluster;
  tree.fabric.kind = FabricKind::fat_tree;
  tree.fabric.nodes_per_leaf = 2;
  tree.fabric.oversubscription = 4;
  tree.fabric.paths = FabricPaths::trunked;
  scenario.cluster = std::make_shared<const ClusterProfile>(tree);
  const StepExecution execution = run(scenario);
  const double stretch = execution.flows->exchange_s / execution.flows->uncontended_s;
  EXPECT_GT(stretch, 1.8);
  EXPECT_LT(stretch, 2.7);  // start-ups do not stretch
  bool has_fabric = false;
  for (const auto& [kind, busiest] : execution.flows->busiest) {
    has_fabric = has_fabric || kind == "fabric";
    EXPECT_GT(busiest.second, 0.0);
    EXPECT_LE(busiest.second, 1.0);
  }
  EXPECT_TRUE(has_fabric);
}

TEST(StepFlows, NormalKernelsSendOneCopyPerNodeAndAgreeToo) {
  const StepExecution execution = run(two_nodes([](ScenarioSpec& spec) {
    spec.workload.phase = Phase::prefill;
    spec.workload.prompt_tokens = 2048;
    spec.workload.batch_per_gpu = 1;
  }));
  EXPECT_NEAR(execution.flows->exchange_s / execution.flows->uncontended_s, 1.0, 0.1);
}

TEST(StepFlows, ASlowCardHoldsUpEveryExchange) {
  const double healthy = run(two_nodes()).flows->exchange_s;
  const double slow = run(two_nodes([](ScenarioSpec& spec) {
                        spec.faults = {{"node0/gpu0 -- pod0/leaf0", 0.1}};
                      })).flows->exchange_s;
  EXPECT_GT(slow, 1.5 * healthy);
}

TEST(StepFlows, FaultsThatNameNothingAreErrors) {
  const Scenario scenario = two_nodes([](ScenarioSpec& spec) {
    spec.faults = {{"node0/gpu9", 0.0}};
  });
  try {
    run(scenario);
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/faults/0/where"));
  }
}

TEST(StepFlows, TheTimelineHoldsTheBusiestLinks) {
  const StepExecution execution = run(two_nodes(), RecordedWindow{});
  ASSERT_FALSE(execution.timeline.links.empty());
  for (const LinkTrack& track : execution.timeline.links) {
    SimTime last;
    for (const LinkTrack::Interval& interval : track.intervals) {
      EXPECT_GE(interval.start, last) << track.name;
      EXPECT_GT(interval.end, interval.start);
      EXPECT_GT(interval.utilisation, 0.0F);
      EXPECT_LE(interval.utilisation, 1.0F + 1e-6F);
      last = interval.end;
    }
  }
}

TEST(StepFlows, DrawnLoadsAreThoseOfTheEventFidelity) {
  const StepExecution flows = run(two_nodes());
  const StepExecution events =
      run(two_nodes([](ScenarioSpec& spec) { spec.fidelity = Fidelity::event; }));
  EXPECT_EQ(flows.loads.rank_max_over_mean, events.loads.rank_max_over_mean);
  EXPECT_FALSE(events.flows.has_value());
  EXPECT_NEAR(flows.seconds / events.seconds, 1.0, 0.05);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Other traffic on the links of a step: streams share them max-min fairly, in flows of a step and,
// by the share that they leave, in closed forms.
#include "sim/cluster/background.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/base/error.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"
#include "sim/engine/link_share.h"
#include "sim/engine/step_graph.h"
#include "sim/run/simulate.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;

/// Two GPUs at one switch, 10 GB/s each way.
Topology two_gpus() {
  Topology topology;
  const NodeId hub = topology.add_node(NodeKind::gpu_switch, "hub");
  for (const char* name : {"a", "b"}) {
    topology.connect(topology.add_node(NodeKind::gpu, name), hub, BytesPerSecond(10e9), Seconds(0));
  }
  return topology;
}

/// Seconds of a copy of `bytes` from a to b beside a stream on the same links.
double copy_beside(double bytes, double offered, std::uint32_t flows) {
  const SharedPlan plan(two_gpus().routes(RoutePolicy::shortest),
                        {{0, 1, BytesPerSecond(offered), flows, 0}});
  FlowNetwork network(plan);
  network.start(SimTime(), plan.transfer());
  network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(bytes)}}));
  const double seconds = network.finish().seconds().value();
  EXPECT_NEAR(network.link_bytes()[0], bytes, 1e-3) << "streams are not among a step's bytes";
  return seconds;
}

TEST(Background, AStreamAndACopyOnOneLinkEachGetHalf) {
  // 10 GB/s between two: 5 GB last a second instead of half of one.
  EXPECT_NEAR(copy_beside(5e9, 1e18, 1), 1.0, 1e-9);
}

TEST(Background, AStreamThatOffersLessThanItsShareLeavesTheRest) {
  // 2 of 10 GB/s are offered: 8 are left.
  EXPECT_NEAR(copy_beside(8e9, 2e9, 1), 1.0, 1e-9);
  // 6 are more than half: the stream gets 5.
  EXPECT_NEAR(copy_beside(5e9, 6e9, 1), 1.0, 1e-9);
}

TEST(Background, EveryFlowOfAStreamCountsAndTheirOfferIsOneForAll) {
  // Four flows and the copy: a fifth each.
  EXPECT_NEAR(copy_beside(2e9, 1e18, 4), 1.0, 1e-9);
  // Four flows that offer 2 GB/s together.
  EXPECT_NEAR(copy_beside(8e9, 2e9, 4), 1.0, 1e-9);
}

Scenario two_nodes(const std::function<void(ScenarioSpec&)>& edit) {
  return testing::small([&](ScenarioSpec& spec) {
    spec.model = "deepseek_v2_lite";
    spec.nodes = 2;
    spec.workload.batch_per_gpu = 256;
    spec.model_edits.layers_fraction = 0.1;
    spec.routing.kind = RoutingModel::gumbel;
    spec.routing.sigma = 0;  // exact balance
    spec.fidelity = Fidelity::flow;
    edit(spec);
  });
}

double exchange_seconds(std::int64_t streams) {
  const Scenario scenario = two_nodes([&](ScenarioSpec& spec) {
    if (streams > 0) {
      spec.background = {{.kind = BackgroundKind::kv_in, .streams = streams}};
    }
  });
  const StepCostModel model(scenario, routing_of(scenario));
  return execute_step(scenario, model, batch_of(scenario), 0).flows->exchange_s;
}

TEST(Background, CachesThatArriveSlowAStepByTheirShareOfTheCards) {
  // 16 ranks on two nodes: a card receives 8 flows of the other node. With s streams beside them
  // each gets 8 / (8 + s) of what it had, so the part of an exchange that crosses cards, d, becomes
  // d (1 + s / 8) and all else stays: 8 streams add 8 times as much as one.
  const double alone = exchange_seconds(0);
  const double one = exchange_seconds(1) - alone;
  const double eight = exchange_seconds(8) - alone;
  EXPECT_GT(one, 0.02 * alone);
  EXPECT_NEAR(eight / one, 8.0, 0.5);  // drawn loads are not quite even
}

TEST(LinkShare, IsWhatAUniformExchangeHasLeft) {
  const auto share = [](const std::function<void(ScenarioSpec&)>& edit) {
    return link_share(two_nodes([&](ScenarioSpec& spec) {
      spec.fidelity = Fidelity::analytic;
      edit(spec);
    }));
  };
  // One stream beside the 8 flows that a card receives.
  const LinkShare cache =
      share([](ScenarioSpec& spec) { spec.background = {{.kind = BackgroundKind::kv_in}}; });
  EXPECT_NEAR(cache.network, 8.0 / 9.0, 1e-3);
  EXPECT_EQ(cache.scale_up, 1.0);
  // A tenth of the card's 49.5 GB/s is less than a ninth, so it is all sent.
  const LinkShare little = share([](ScenarioSpec& spec) {
    spec.background = {{.kind = BackgroundKind::kv_in, .bytes_per_s = 4.95e9}};
  });
  EXPECT_NEAR(little.network, 0.9, 1e-3);
  // Everybody waits for the GPU whose card runs at a quarter.
  const LinkShare slow = share([](ScenarioSpec& spec) {
    spec.faults = {{"node0/gpu0 -- pod0/leaf0", 0.25}};
  });
  EXPECT_NEAR(slow.network, 0.25, 1e-3);
  EXPECT_EQ(slow.scale_up, 1.0);
  // Gradients go out and come in on every card: 8 flows and one stream each way.
  const LinkShare sums = share(
      [](ScenarioSpec& spec) { spec.background = {{.kind = BackgroundKind::gradient_sync}}; });
  EXPECT_NEAR(sums.network, 8.0 / 9.0, 1e-3);
}

TEST(LinkShare, HostCopiesMeetCardsOnTheLanesOfTheirGpu) {
  // 8 flows of the network and 4 of the host share the lanes of each GPU. A quarter of the lanes is
  // less than 4 of 12 shares, so the host copies get it and the card three quarters of the lanes.
  Scenario scenario = two_nodes([](ScenarioSpec& spec) {
    spec.background = {{.kind = BackgroundKind::host_to_gpu, .bytes_per_s = 1e9, .streams = 4}};
  });
  const NodeGroup& node = scenario.cluster->node_groups.front();
  const double lanes = node.host.link_rate.value.value();
  const double card = node.nics.achieved->value.value();
  ASSERT_GT(lanes, card + 1e9);
  ASSERT_LT(0.75 * lanes, card);
  EXPECT_EQ(link_share(scenario).network, 1.0);  // 1 GB/s more fits on the lanes
  scenario.spec.background[0].bytes_per_s = 0.25 * lanes;
  EXPECT_NEAR(link_share(scenario).network, 0.75 * lanes / card, 1e-3);
}

TEST(Background, EveryFidelityFeelsFaultsAndTraffic) {
  for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event, Fidelity::flow}) {
    const auto step = [&](const std::function<void(ScenarioSpec&)>& edit) {
      return simulate(two_nodes([&](ScenarioSpec& spec) {
        spec.fidelity = fidelity;
        edit(spec);
      }));
    };
    const auto seconds = [](const SimulationResult& result) {
      return std::get<Distribution>(result.find("step_s")->value).mean.value;
    };
    const double alone = seconds(step([](ScenarioSpec&) {}));
    const SimulationResult busy = step([](ScenarioSpec& spec) {
      spec.background = {{.kind = BackgroundKind::kv_in, .streams = 8}};
    });
    EXPECT_GT(seconds(busy), 1.05 * alone) << choice_name(fidelity);
    const SimulationResult slow = step([](ScenarioSpec& spec) {
      spec.faults = {{"node0/gpu0 -- pod0/leaf0", 0.25}};
    });
    EXPECT_GT(seconds(slow), 1.2 * alone) << choice_name(fidelity);
    ASSERT_NE(slow.find("fault_slowdown"), nullptr);
    EXPECT_NEAR(std::get<Metric>(slow.find("fault_slowdown")->value).value, seconds(slow) / alone,
                1e-6);
  }
}

TEST(Background, ServingFeelsFaultsAndTraffic) {
  for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event}) {
    const auto served = [&](const std::function<void(ScenarioSpec&)>& edit) {
      return simulate(two_nodes([&](ScenarioSpec& spec) {
        spec.fidelity = fidelity;
        spec.workload.kind = WorkloadKind::serving;
        spec.workload.prompt_tokens = 256;
        spec.workload.output_tokens = 64;
        spec.workload.concurrency = 128;
        spec.workload.requests = 256;
        edit(spec);
      }));
    };
    const auto tpot = [](const SimulationResult& result) {
      return std::get<Distribution>(result.find("tpot_s")->value).mean.value;
    };
    const double alone = tpot(served([](ScenarioSpec&) {}));
    EXPECT_GT(tpot(served([](ScenarioSpec& spec) {
                spec.background = {{.kind = BackgroundKind::kv_in, .streams = 8}};
              })),
              1.01 * alone);
    const SimulationResult slow = served([](ScenarioSpec& spec) {
      spec.faults = {{"node0/gpu0 -- pod0/leaf0", 0.25}};
    });
    EXPECT_GT(tpot(slow), 1.02 * alone);
    ASSERT_NE(slow.find("fault_slowdown"), nullptr);
    EXPECT_GT(std::get<Metric>(slow.find("fault_slowdown")->value).value, 1.02);
    EXPECT_NE(slow.find("recovery_s"), nullptr);
  }
}

TEST(Background, WrongEntriesAreErrors) {
  try {
    two_nodes([](ScenarioSpec& spec) {
      spec.background = {{.kind = BackgroundKind::stream, .from = "node0/gpu0"},
                         {.kind = BackgroundKind::kv_in, .to = "node0/gpu0"}};
    });
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/background/0/to: a stream has two ends"));
    EXPECT_THAT(error.what(), HasSubstr("/background/1/to: only a stream names its ends"));
  }
  try {
    link_share(two_nodes([](ScenarioSpec& spec) {
      spec.background = {
          {.kind = BackgroundKind::stream, .from = "node0/gpu0", .to = "node0/gpu77"}};
    }));
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/background/0/to: \"node0/gpu77\" names no endpoint"));
  }
  EXPECT_THROW(testing::small([](ScenarioSpec& spec) {
                 spec.background = {{.kind = BackgroundKind::gradient_sync}};
               }),
               InputError);  // one node has no other
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Collectives over flows against their bottleneck formulas, on the reference platform.
#include "sim/cluster/collective_flows.h"

#include <gtest/gtest.h>

#include "sim/base/random.h"
#include "sim/cluster/collective.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"

namespace moesim {
namespace {

constexpr std::uint32_t kRanks = 32;  // four nodes of eight
constexpr std::uint32_t kLocal = 8;
constexpr double kNic = 50e9, kNvlink = 450e9;

std::unique_ptr<RoutePlan> reference_plan() {
  const ClusterProfile profile = load_cluster_profile(
      std::string(MOESIM_SOURCE_DIR) + "/hardware_profiles/cluster_reference_rail.json");
  return cluster_topology(profile, {.num_nodes = kRanks / kLocal}).routes(RoutePolicy::shortest);
}

double flow_time(const RoutePlan& plan, const FlowStages& stages) {
  FlowNetwork network(plan);
  SimTime now;
  for (const TransferSet& stage : stages) {
    network.start(now, stage);
    now = network.finish();
  }
  return now.seconds().value();
}

// Every rank has `bytes` for every rank; a fifth of them per node after de-duplication.
ExpertTraffic even_traffic(double bytes) {
  ExpertTraffic traffic{kRanks, kLocal, {}, {}};
  traffic.rank_bytes.assign(kRanks * kRanks, bytes);
  traffic.node_bytes.assign(kRanks * (kRanks / kLocal), 5.0 * bytes);
  return traffic;
}

TEST(CollectiveFlows, EvenPairwiseTakesWhatTheUplinksNeed) {
  // 4 nodes: a leaf has 2 uplinks of 50 GB/s; its 4 GPUs each send 3 nodes * 7 other rails.
  const auto plan = reference_plan();
  const FlowStages stages = pairwise_stages(even_traffic(1e6));
  EXPECT_NEAR(flow_time(*plan, stages), 4 * 21 * 1e6 / 100e9, 1e-9);
  EXPECT_NEAR(bottleneck_time(*plan, stages).value(), flow_time(*plan, stages), 1e-9);
}

TEST(CollectiveFlows, TwoStagesKeepToTheRailsAndPayNvlinkFirst) {
  // Stage 1: each GPU passes 7/8 of its 32 MB over NVLink. Stage 2: 3 nodes * 8 MB over its NIC.
  const auto plan = reference_plan();
  const FlowStages stages = two_stage_stages(even_traffic(1e6));
  const double expected = 7 * 4e6 / kNvlink + 3 * 8e6 / kNic;
  EXPECT_NEAR(flow_time(*plan, stages), expected, 1e-9);
  EXPECT_NEAR(bottleneck_time(*plan, stages).value(), expected, 1e-9);
}

TEST(CollectiveFlows, ForwardedSendsOneCopyPerNodeAndOverlapsBothHops) {
  // NIC: 3 remote nodes * 5 MB = 0.3 ms. NVLink: 7 of 8 ranks * 4 source nodes * 1 MB = 62 us.
  const auto plan = reference_plan();
  const FlowStages stages = forwarded_stages(even_traffic(1e6));
  EXPECT_NEAR(flow_time(*plan, stages), 3 * 5e6 / kNic, 1e-9);
  EXPECT_NEAR(bottleneck_time(*plan, stages).value(), 3 * 5e6 / kNic, 1e-9);
}

TEST(CollectiveFlows, ForwardedConservesWhatEachRankReceives) {
  RandomStream random(3, "collective flows");
  ExpertTraffic traffic = even_traffic(0.0);
  for (double& bytes : traffic.rank_bytes) {
    bytes = 1e6 * random.uniform();
  }
  const FlowStages stages = forwarded_stages(traffic);
  for (std::uint32_t destination = 0; destination < kRanks; ++destination) {
    double wanted = 0.0, arrived = 0.0;
    for (std::uint32_t source = 0; source < kRanks; ++source) {
      wanted += traffic.rank_bytes[source * kRanks + destination];
    }
    const std::uint32_t node = destination / kLocal;
    for (std::uint32_t peer = node * kLocal; peer < (node + 1) * kLocal; ++peer) {
      arrived += stages[0].bytes(peer * kRanks + destination);
    }
    EXPECT_NEAR(arrived, wanted, 1e-3);
  }
}

TEST(CollectiveFlows, ARingThatLeavesItsRailSharesUplinks) {
  // 1 GB all-reduce over 32 ranks: 2 * 31/32 GB pass each link of the ring. It leaves each of the
  // four nodes from GPU 7 to GPU 0 of the next: four flows through the 100 GB/s uplinks of leaf 7.
  const auto plan = reference_plan();
  const FlowStages stages = ring_all_reduce_stages(kRanks, Bytes(1e9));
  EXPECT_NEAR(flow_time(*plan, stages), 4 * 2.0 * 31.0 / 32.0 * 1e9 / 100e9, 1e-9);
  EXPECT_NEAR(bottleneck_time(*plan, stages).value(), flow_time(*plan, stages), 1e-9);
  // Inside one node nothing is shared: 2 * 7/8 GB over NVLink.
  EXPECT_NEAR(flow_time(*plan, ring_all_reduce_stages(kLocal, Bytes(1e9))),
              2.0 * 7.0 / 8.0 * 1e9 / kNvlink, 1e-9);
}

TEST(CollectiveFlows, GatherAndScatterMoveEverythingTwice) {
  const auto plan = reference_plan();
  const FlowStages stages = all_gather_reduce_scatter_stages(kLocal, Bytes(45e6));
  // Inside one node: 7 * 45 MB over NVLink, twice.
  EXPECT_NEAR(flow_time(*plan, stages), 2.0 * 7 * 45e6 / kNvlink, 1e-9);
}

TEST(CollectiveFlows, FlowsAreNeverFasterThanTheBottleneck) {
  const auto plan = reference_plan();
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    RandomStream random(seed, "skewed traffic");
    ExpertTraffic traffic = even_traffic(0.0);
    for (double& bytes : traffic.rank_bytes) {
      bytes = 1e6 * random.exponential();
    }
    for (const FlowStages& stages : {pairwise_stages(traffic), two_stage_stages(traffic)}) {
      const double bound = bottleneck_time(*plan, stages).value();
      EXPECT_GE(flow_time(*plan, stages), bound * (1.0 - 1e-9)) << "seed " << seed;
      EXPECT_LE(flow_time(*plan, stages), 1.5 * bound) << "seed " << seed;
    }
  }
}

TEST(CollectiveFlows, TreesLoadNoPortWithMoreThanTwiceTheBuffer) {
  // Eight ranks of a node. An inner rank sends half of the buffer up and to two children, and half
  // as a leaf of the other tree: 2 S in all, against 2 * 7/8 S of a ring. Bytes: 2 * 7 edges, S
  // each.
  const auto plan = reference_plan();
  const FlowStages trees = tree_all_reduce_stages(8, Bytes(1e9));
  EXPECT_NEAR(bottleneck_time(*plan, trees).value(), 2e9 / kNvlink, 1e-12);
  double bytes = 0;
  for (std::uint32_t flow = 0; flow < trees[0].num_flows(); ++flow) {
    EXPECT_NE(trees[0].source(flow), trees[0].destination(flow));
    bytes += trees[0].bytes(flow);
  }
  EXPECT_NEAR(bytes, 14e9, 1.0);
  EXPECT_GT(flow_time(*plan, tree_all_reduce_stages(5, Bytes(1e6))), 0.0);  // odd counts too
  EXPECT_EQ(flow_time(*plan, tree_all_reduce_stages(1, Bytes(1e6))), 0.0);
}

TEST(CollectiveFlows, ASwitchThatAddsMovesTheBufferOnceAndAPart) {
  // S (n + 1) / n through each port, both ways: 9/8 GB at 450 GB/s.
  const auto plan = reference_plan();
  EXPECT_NEAR(flow_time(*plan, in_switch_all_reduce_stages(8, Bytes(1e9))), 1.125e9 / kNvlink,
              1e-9);
}

TEST(CollectiveFlows, AnAllToAllBetweenDomainsSendsAllThatLeavesOverEachCard) {
  // 32 ranks in domains of 8: 24 of 32 parts of the buffer leave, nothing is combined on the way.
  const ClusterProfile cluster = load_cluster_profile(std::string(MOESIM_SOURCE_DIR) +
                                                      "/hardware_profiles/cluster_h100_ib400.json");
  const Nics& nics = cluster.node_groups.front().nics;
  const double buffer = 1e9;
  EXPECT_NEAR(
      CollectiveModel(cluster, 132).collective(CollectiveOp::all_to_all, 32, Bytes(buffer)).value(),
      nics.latency.value.value() + 0.75 * buffer / nics.achieved->value.value(), 1e-9);
}

TEST(CollectiveFlows, SmallMessagesAreBoundByWhatACardSends) {
  // 330 million messages a second of 64 bytes: 21 GB/s instead of 49.5.
  const ClusterProfile profile = load_cluster_profile(std::string(MOESIM_SOURCE_DIR) +
                                                      "/hardware_profiles/cluster_h100_ib400.json");
  for (const auto& [message, rate] : {std::pair{64.0, 64 * 330e6}, std::pair{4096.0, 49.5e9}}) {
    const Topology topology =
        cluster_topology(profile, {.num_nodes = 2, .message = Bytes(message)});
    const auto plan = topology.routes(RoutePolicy::shortest);
    const double time = flow_time(*plan, {TransferSet::copies({{0, 8, Bytes(1e9)}})});
    EXPECT_NEAR(1e9 / time / rate, 1.0, 1e-3) << message;
  }
}

}  // namespace
}  // namespace moesim

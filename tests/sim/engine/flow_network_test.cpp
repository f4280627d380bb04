// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/flow_network.h"

#include <gtest/gtest.h>

#include "sim/cluster/topology_presets.h"

namespace moesim {
namespace {

constexpr SimTime kPicosecond(1);

ClusterProfile reference_rail() {
  return load_cluster_profile(std::string(MOESIM_SOURCE_DIR) +
                              "/hardware_profiles/cluster_reference_rail.json");
}

double reference_makespan(std::int64_t num_nodes, FabricPaths paths) {
  const Topology topology =
      cluster_topology(reference_rail(), {.num_nodes = num_nodes, .paths = paths});
  const auto plan = topology.routes(route_policy(paths));
  FlowNetwork network(*plan);
  network.start(SimTime(), TransferSet::uniform(plan->num_ranks(), Bytes(1e6)));
  return network.finish().seconds().value();
}

/// Two GPUs joined by one link of 10 GB/s each way.
Topology two_gpus() {
  Topology topology;
  const NodeId a = topology.add_node(NodeKind::gpu, "a");
  const NodeId b = topology.add_node(NodeKind::gpu, "b");
  topology.connect(a, b, BytesPerSecond(10e9), Seconds(0.0));
  return topology;
}

TEST(FlowNetwork, TwoEqualFlowsOnOneLinkEachGetHalf) {
  // 10 GB/s shared by two flows of 5 GB: each runs at 5 GB/s, so both end at exactly 1 s.
  const auto plan = two_gpus().routes(RoutePolicy::shortest);
  FlowNetwork network(*plan);
  network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(5e9)}}));
  network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(5e9)}}));
  const SimTime second = SimTime::from_seconds(Seconds(1.0));
  EXPECT_EQ(network.advance_to(second - kPicosecond).size(), 0u);
  EXPECT_EQ(network.advance_to(second).size(), 4u);  // two transfers, two ranks each
}

TEST(FlowNetwork, AFlowThatStartsLaterTakesItsShareFromThen) {
  // 10 GB alone for 0.5 s (5 GB gone), then shared with 2 GB: that one runs 0.4 s at 5 GB/s and
  // ends at 0.9 s, when the first has 3 GB left, which take 0.3 s at full rate: 1.2 s.
  const auto plan = two_gpus().routes(RoutePolicy::shortest);
  FlowNetwork network(*plan);
  const TransferId first = network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(10e9)}}));
  const TransferId second =
      network.start(SimTime::from_seconds(Seconds(0.5)), TransferSet::copies({{0, 1, Bytes(2e9)}}));
  network.finish();
  EXPECT_NEAR(network.flow_ends(first)[0], 1.2, 1e-11);
  EXPECT_NEAR(network.flow_ends(second)[0], 0.9, 1e-11);
}

TEST(FlowNetwork, LatencyIsAddedToTheEndAndOccupiesNothing) {
  Topology topology;
  const NodeId a = topology.add_node(NodeKind::gpu, "a");
  const NodeId b = topology.add_node(NodeKind::gpu, "b");
  const NodeId leaf = topology.add_node(NodeKind::leaf, "leaf");
  topology.connect(a, leaf, BytesPerSecond(1e9), Seconds(2e-6));
  topology.connect(b, leaf, BytesPerSecond(1e9), Seconds(3e-6));
  const auto plan = topology.routes(RoutePolicy::shortest);
  FlowNetwork network(*plan);
  const TransferId id =
      network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(1e9)}, {1, 0, Bytes(0.0)}}));
  network.finish();
  EXPECT_NEAR(network.flow_ends(id)[0], 1.000005, 1e-12);
  EXPECT_EQ(network.flow_ends(id)[1], 0.0);  // nothing to send
}

TEST(FlowNetwork, ACopyToOneselfTakesNoTime) {
  const auto plan = two_gpus().routes(RoutePolicy::shortest);
  FlowNetwork network(*plan);
  const TransferId id = network.start(SimTime(), TransferSet::copies({{1, 1, Bytes(1e9)}}));
  EXPECT_EQ(network.finish(), SimTime());
  EXPECT_EQ(network.flow_ends(id)[0], 0.0);
}

TEST(FlowNetwork, RanksAreDeliveredInOrderOfTimeTransferAndRank) {
  const auto plan = two_gpus().routes(RoutePolicy::shortest);
  FlowNetwork network(*plan);
  network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(10e9)}, {1, 0, Bytes(10e9)}}));
  network.start(SimTime(), TransferSet::copies({{0, 1, Bytes(1e9)}}));
  const auto done = network.advance_to(SimTime::from_seconds(Seconds(10.0)));
  ASSERT_EQ(done.size(), 4u);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_EQ(done[0].transfer, TransferId{1});
  EXPECT_EQ(done[0].rank, 0u);
  EXPECT_EQ(done[1].rank, 1u);
}

TEST(FlowNetwork, ReferencePlatformTakesWhatItsUplinksNeedOnTrunkedPaths) {
  // The uplinks of a leaf (n nodes attached, n/2 links of 50 GB/s) carry, from each of its n GPUs,
  // 7 rails of the n - 1 other nodes under the same leaves and 8 rails of all other nodes:
  // n = 8: 8*7*7 MB / 200 GB/s = 1.96 ms; n = 16: 16*15*7/400 = 4.20; n = 32: 32*31*7/800 = 8.68;
  // 64 nodes: 32*(31*7 + 32*8)/800 = 18.92; 128 nodes: 32*(31*7 + 96*8)/800 = 39.40.
  EXPECT_NEAR(reference_makespan(8, FabricPaths::trunked), 1.96e-3, 1e-9);
  EXPECT_NEAR(reference_makespan(16, FabricPaths::trunked), 4.20e-3, 1e-9);
  EXPECT_NEAR(reference_makespan(32, FabricPaths::trunked), 8.68e-3, 1e-9);
  EXPECT_NEAR(reference_makespan(64, FabricPaths::trunked), 18.92e-3, 1e-9);
  EXPECT_NEAR(reference_makespan(128, FabricPaths::trunked), 39.40e-3, 1e-9);
}

TEST(FlowNetwork, HashedPathsAreNeverFasterThanTheirTrunkAndEndWithTheFullestUplink) {
  // No uplink can finish before its own bytes have passed at 50 GB/s.
  const Topology topology =
      cluster_topology(reference_rail(), {.num_nodes = 16, .paths = FabricPaths::hashed});
  const auto plan = topology.routes(RoutePolicy::hashed);
  FlowNetwork network(*plan);
  network.start(SimTime(), TransferSet::uniform(plan->num_ranks(), Bytes(1e6)));
  const double makespan = network.finish().seconds().value();
  double busiest = 0.0;
  for (LinkIndex link = 0; link < plan->links().size(); ++link) {
    busiest = std::max(busiest, network.link_bytes()[link] / plan->links()[link].capacity.value());
  }
  EXPECT_GE(makespan, busiest - 1e-12);
  EXPECT_GT(makespan, 4.20e-3);
}

}  // namespace
}  // namespace moesim

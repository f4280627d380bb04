// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/cluster/topology_presets.h"

namespace moesim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ClusterProfile profile(const std::string& id) {
  return load_cluster_profile(std::string(MOESIM_SOURCE_DIR) + "/hardware_profiles/" + id +
                              ".json");
}

std::vector<std::string> route_names(const RoutePlan& plan, std::uint32_t source,
                                     std::uint32_t destination) {
  const std::vector<std::uint32_t> to{destination};
  std::vector<FlowRoute> route(1);
  plan.routes_from(source, to, route);
  std::vector<std::string> names;
  if (route[0].out_port != kNoIndex) {
    names.push_back(plan.link_name(route[0].out_port));
  }
  if (route[0].path != kNoIndex) {
    for (const LinkIndex link : plan.path(route[0].path)) {
      names.push_back(plan.link_name(link));
    }
  }
  if (route[0].in_port != kNoIndex) {
    names.push_back(plan.link_name(route[0].in_port));
  }
  return names;
}

TEST(Topology, ReferenceRailRoutesThroughSwitchLeafOrSpine) {
  const Topology topology = cluster_topology(profile("cluster_reference_rail"), {.num_nodes = 4});
  const auto plan = topology.routes(RoutePolicy::shortest);
  EXPECT_THAT(route_names(*plan, 0, 3),
              ElementsAre("node0/gpu0 -> domain0/gpu switch", "domain0/gpu switch -> node0/gpu3"));
  EXPECT_THAT(route_names(*plan, 0, 8),
              ElementsAre("node0/gpu0 -> pod0/leaf0", "pod0/leaf0 -> node1/gpu0"));
  EXPECT_THAT(route_names(*plan, 0, 11),
              ElementsAre("node0/gpu0 -> pod0/leaf0", "pod0/leaf0 -> spine0",
                          "spine0 -> pod0/leaf3", "pod0/leaf3 -> node1/gpu3"));
}

TEST(Topology, RailPolicyHandsOverToTheNeighbourOnTheDestinationsRail) {
  const Topology topology = cluster_topology(profile("cluster_reference_rail"), {.num_nodes = 4});
  const auto plan = topology.routes(RoutePolicy::rail);
  EXPECT_THAT(route_names(*plan, 0, 11),
              ElementsAre("node0/gpu0 -> domain0/gpu switch", "domain0/gpu switch -> node0/gpu3",
                          "node0/gpu3 -> pod0/leaf3", "pod0/leaf3 -> node1/gpu3"));
  EXPECT_THAT(route_names(*plan, 0, 8),
              ElementsAre("node0/gpu0 -> pod0/leaf0", "pod0/leaf0 -> node1/gpu0"));
  EXPECT_THAT(route_names(*plan, 9, 8),
              ElementsAre("node1/gpu1 -> domain1/gpu switch", "domain1/gpu switch -> node1/gpu0"));
}

TEST(Topology, AReferenceLeafHasOneUplinkForTwoAttachedNodes) {
  // 4 nodes: 2 uplinks of 50 GB/s; as one link of 100 GB/s when trunked.
  const ClusterProfile rail = profile("cluster_reference_rail");
  const Topology trunked = cluster_topology(rail, {.num_nodes = 4});
  const Topology hashed = cluster_topology(rail, {.num_nodes = 4, .paths = FabricPaths::hashed});
  double trunk = 0.0;
  int links_of_leaf = 0;
  for (const TopologyLink& link : trunked.links()) {
    if (trunked.nodes()[link.b].kind == NodeKind::spine) {
      trunk = link.rate.value();
    }
  }
  for (const TopologyLink& link : hashed.links()) {
    links_of_leaf += hashed.nodes()[link.b].kind == NodeKind::spine &&
                     hashed.nodes()[link.a].name == "pod0/leaf5";
  }
  EXPECT_EQ(trunk, 100e9);
  EXPECT_EQ(links_of_leaf, 2);
}

TEST(Topology, HashedRoutesUseEverySpineAboutEqually) {
  const Topology topology = cluster_topology(profile("cluster_reference_rail"),
                                             {.num_nodes = 8, .paths = FabricPaths::hashed});
  const auto plan = topology.routes(RoutePolicy::hashed);
  std::vector<int> uses(4, 0);
  int total = 0;
  for (std::uint32_t source = 0; source < 64; ++source) {
    for (std::uint32_t destination = 0; destination < 64; ++destination) {
      const auto names = route_names(*plan, source, destination);
      if (names.size() == 4) {
        ++uses[names[1].back() - '0'];
        ++total;
      }
    }
  }
  EXPECT_EQ(total, 64 * 7 * 7);
  for (const int count : uses) {
    // Binomial(3136, 1/4): mean 784, standard deviation 24; five of them.
    EXPECT_NEAR(count, 784, 5 * 24);
  }
}

TEST(Topology, AnXgmiMeshJoinsEachPairDirectly) {
  const Topology topology = cluster_topology(profile("cluster_mi300x_roce400"), {.num_nodes = 1});
  const auto plan = topology.routes(RoutePolicy::shortest);
  EXPECT_THAT(route_names(*plan, 2, 7), ElementsAre("node0/gpu2 -> node0/gpu7"));
  // A link of 64 GB/s gets as much of it as copies get of all seven: 316.469 of 448 GB/s.
  EXPECT_NEAR(plan->links()[0].capacity.value(), 64e9 * 316.469 / 448, 1e3);
}

TEST(Topology, ACardCanShareThePcieLanesOfItsGpu) {
  const Topology topology = cluster_topology(
      profile("cluster_h100_ib400"), {.num_nodes = 2, .with_host = true, .nic_behind_pcie = true});
  const auto plan = topology.routes(RoutePolicy::shortest);
  const std::vector<std::string> names = route_names(*plan, 0, 8);
  ASSERT_EQ(names.size(), 4u);
  EXPECT_EQ(names[0], "node0/gpu0 -> node0/lanes0");
  EXPECT_EQ(names[3], "node1/lanes0 -> node1/gpu0");
  EXPECT_THAT(route_names(*plan, 0, 1),
              ElementsAre("node0/gpu0 -> domain0/gpu switch", "domain0/gpu switch -> node0/gpu1"));
}

TEST(Topology, PcieNeighboursShareOneUplink) {
  const Topology topology =
      cluster_topology(profile("cluster_4090_pcie"), {.num_nodes = 2, .with_host = true});
  const auto plan = topology.routes(RoutePolicy::shortest);
  EXPECT_THAT(route_names(*plan, 0, 1),
              ElementsAre("node0/gpu0 -> node0/pcie0", "node0/pcie0 -> node0/gpu1"));
  EXPECT_THAT(route_names(*plan, 0, 2),
              ElementsAre("node0/gpu0 -> node0/pcie0", "node0/pcie0 -> node0/host",
                          "node0/host -> node0/pcie1", "node0/pcie1 -> node0/gpu2"));
  EXPECT_THAT(route_names(*plan, 0, 8),
              ElementsAre("node0/gpu0 -> node0/pcie0", "node0/pcie0 -> node0/host",
                          "node0/host -> node0/nic0", "node0/nic0 -> pod0/leaf0",
                          "pod0/leaf0 -> node1/nic0", "node1/nic0 -> node1/host",
                          "node1/host -> node1/pcie0", "node1/pcie0 -> node1/gpu0"));
}

TEST(Topology, EveryShippedClusterHasRoutesBetweenAllItsGpus) {
  for (const char* id :
       {"cluster_4090_pcie", "cluster_a100_ib200", "cluster_b200_ib400", "cluster_gb200_nvl72",
        "cluster_gh200_ib400", "cluster_h100_ib400", "cluster_h800_ib400", "cluster_mi300x_roce400",
        "cluster_mixed_h100_a100", "cluster_rtxpro6000_pcie"}) {
    const ClusterProfile cluster = profile(id);
    for (const FabricPaths paths : {FabricPaths::trunked, FabricPaths::hashed}) {
      const Topology topology = cluster_topology(cluster, {.num_nodes = 3, .paths = paths});
      const auto plan = topology.routes(route_policy(paths), id);
      const auto gpus = static_cast<std::uint32_t>(cluster_gpus(cluster, 3));
      EXPECT_EQ(plan->num_ranks(), gpus) << id;
      EXPECT_FALSE(route_names(*plan, 0, gpus - 1).empty()) << id;
    }
  }
}

TEST(Topology, AGpuWithoutRouteIsNamed) {
  Topology topology;
  const NodeId a = topology.add_node(NodeKind::gpu, "first");
  topology.add_node(NodeKind::gpu, "lonely");
  const NodeId leaf = topology.add_node(NodeKind::leaf, "leaf");
  topology.connect(a, leaf, BytesPerSecond(1e9), Seconds(0.0));
  try {
    topology.routes(RoutePolicy::shortest, "graph.json");
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "graph.json: no route from \"first\" to \"lonely\"; join them through live links "
                 "and switches");
  }
}

constexpr const char* kGraph = R"({"schema": "moesim/topology/1",
  "nodes": [{"name": "g0", "kind": "gpu"}, {"name": "g1", "kind": "gpu"},
            {"name": "s0", "kind": "pcie_switch"}, {"name": "s1", "kind": "pcie_switch"}],
  "links": [{"from": "g0", "to": "s0", "bytes_per_s": 4e9},
            {"from": "g1", "to": "s1", "bytes_per_s": 2e9, "back_bytes_per_s": 1e9},
            {"from": "s0", "to": "s1", "bytes_per_s": 3e9, "latency_s": 1e-6}EXTRA]})";

Topology graph_with(const std::string& extra) {
  std::string text = kGraph;
  text.replace(text.find("EXTRA"), 5, extra);
  return read_topology(parse_json(text, "graph.json"), "graph.json");
}

std::string problem_with(const std::string& extra) {
  try {
    graph_with(extra);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Topology, ACustomGraphHasItsRatesInBothDirections) {
  const Topology topology = graph_with("");
  const auto plan = topology.routes(RoutePolicy::shortest);
  EXPECT_THAT(route_names(*plan, 0, 1), ElementsAre("g0 -> s0", "s0 -> s1", "s1 -> g1"));
  EXPECT_EQ(plan->links()[2].capacity.value(), 2e9);  // g1 -> s1
  EXPECT_EQ(plan->links()[3].capacity.value(), 1e9);  // and back
}

TEST(Topology, ProblemsOfACustomGraphNameTheNode) {
  EXPECT_EQ(problem_with(R"(, {"from": "s1", "to": "s0", "bytes_per_s": 1e9})"),
            "graph.json#/links/3: closes a PCIe cycle at \"s0\"; PCIe switches and host bridges "
            "form a tree");
  EXPECT_THAT(problem_with(R"(, {"from": "g0", "to": "s9", "bytes_per_s": 1e9})"),
              HasSubstr("graph.json#/links/3/to: \"s9\" names no node; did you mean"));
  EXPECT_THAT(problem_with(R"(, {"from": "g0", "to": "s0", "bytes_per_s": 1e9})"),
              HasSubstr("joins \"g0\" and \"s0\" a second time"));
  EXPECT_THAT(problem_with(R"(, {"from": "g0", "to": "s1", "bytes_per_s": 0})"),
              HasSubstr("graph.json#/links/3/bytes_per_s"));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Faults as flows feel them, on the reference platform of eight nodes.
#include "sim/cluster/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/base/error.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"

namespace moesim {
namespace {

using testing::HasSubstr;

Topology reference(FabricPaths paths) {
  return cluster_topology(load_cluster_profile(std::string(MOESIM_SOURCE_DIR) +
                                               "/hardware_profiles/cluster_reference_rail.json"),
                          {.num_nodes = 8, .paths = paths});
}

double copy_time(const Topology& topology, std::uint32_t source, std::uint32_t destination) {
  const auto plan = topology.routes(RoutePolicy::hashed);
  FlowNetwork network(*plan);
  network.start(SimTime(), TransferSet::copies({{source, destination, Bytes(1e9)}}));
  return network.finish().seconds().value();
}

std::string problem_of(const Fault& fault) {
  Topology topology = reference(FabricPaths::trunked);
  try {
    apply_faults(topology, std::vector<Fault>{fault}, "faults.json");
    topology.routes(RoutePolicy::shortest, "faults.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no problem";
}

TEST(Fault, ASlowNicSlowsItsOwnTrafficOnly) {
  // 1 GB over a NIC at a quarter of 50 GB/s: 80 ms instead of 20 ms.
  Topology topology = reference(FabricPaths::trunked);
  apply_faults(topology, std::vector<Fault>{{"node0/gpu0 -- pod0/leaf0", 0.25}});
  EXPECT_NEAR(copy_time(topology, 0, 8), 0.08, 1e-11);
  EXPECT_NEAR(copy_time(topology, 16, 24), 0.02, 1e-11);
  EXPECT_NEAR(copy_time(topology, 0, 1), 1.0 / 450.0, 1e-11);  // NVLink is well
}

TEST(Fault, ADeadSpineIsRoutedAround) {
  // Four spines; every pair still has a route, over the other three at most.
  Topology topology = reference(FabricPaths::hashed);
  apply_faults(topology, std::vector<Fault>{{"spine2", 0.0}});
  const auto plan = topology.routes(RoutePolicy::hashed);
  FlowNetwork network(*plan);
  network.start(SimTime(), TransferSet::uniform(plan->num_ranks(), Bytes(1e6)));
  const double with_fault = network.finish().seconds().value();
  // 49 MB from each of 8 GPUs over 3 uplinks of 50 GB/s at least.
  EXPECT_GE(with_fault, 8 * 49e6 / 150e9);
  for (LinkIndex link = 0; link < plan->links().size(); ++link) {
    if (plan->link_name(link).find("spine2") != std::string::npos) {
      EXPECT_EQ(network.link_bytes()[link], 0.0);
    }
  }
}

TEST(Fault, WhatIsCutOffIsNamed) {
  EXPECT_THAT(problem_of({"node3/gpu1 -- pod0/leaf1", 0.0}),
              HasSubstr("no route from \"node0/gpu0\" to \"node3/gpu1\""));
  EXPECT_EQ(problem_of({"node3/gpu9", 0.0}),
            "faults.json#/faults/0/where: \"node3/gpu9\" names no node; did you mean "
            "\"node3/gpu0\"?");
  EXPECT_THAT(problem_of({"node3/gpu1 -- node4/gpu1", 0.0}), HasSubstr("is no link"));
  EXPECT_THAT(problem_of({"node3/gpu1", 1.5}), HasSubstr("1.5 is no loss"));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Graphs of the clusters that a ClusterProfile describes.
//
// Rates are what good copies achieve where the profile says so, else the line rate. A NIC of its
// own is folded into one link GPU - leaf; shared NICs are nodes. A leaf has
// ceil(sum of its NIC rates / (over-subscription * uplink rate)) uplinks: as one link when paths
// are trunked or adaptive (an even spread of packets), as links to as many spines when hashed. Half
// of a port's latency lies on each end, `hop_latency` on each link between switches.
#pragma once

#include <cstdint>

#include "sim/cluster/topology.h"
#include "sim/input/cluster_profile.h"

namespace moesim {

struct TopologyOptions {
  std::int64_t num_nodes = 1;  ///< for the group without a number of its own; > 0
  FabricPaths paths = FabricPaths::trunked;
  bool with_host = false;        ///< also PCIe trees, host memory and NVMe
  bool nic_behind_pcie = false;  ///< a GPU's own card shares its PCIe lanes with host copies;
                                 ///< needs `with_host`
  Bytes message;  ///< size of the messages that make up a flow; a card that is known to send so
                  ///< many a second carries no more than that. 0: no such limit
};

/// Throws InputError for kinds without a graph (torus).
Topology cluster_topology(const ClusterProfile& profile, const TopologyOptions& options);

/// The policy that fits `paths`.
RoutePolicy route_policy(FabricPaths paths);

/// GPUs of the cluster when the open group has `num_nodes` nodes.
std::int64_t cluster_gpus(const ClusterProfile& profile, std::int64_t num_nodes);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The machine as a graph: endpoints (GPUs, host memory, NVMe), switches, and links between them.
//
// Endpoints send and receive but never forward, except that the `rail` policy hands data over to
// the neighbour GPU on the destination's rail. Everything else (NVSwitch, PCIe switch, host bridge,
// NIC, leaf, spine) forwards. Links are duplex with a rate per direction. Ranks are the endpoints:
// GPUs first, in the order of adding, then the others. Boost.Graph does the searching, in the .cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/units.h"
#include "sim/cluster/route_plan.h"

namespace moesim {

enum class NodeKind {
  gpu,
  host_memory,
  nvme,
  gpu_switch,
  pcie_switch,
  host_bridge,
  nic,
  leaf,
  spine
};
std::span<const Choice<NodeKind>> choices_of(NodeKind);
constexpr bool is_endpoint(NodeKind kind) {
  return kind == NodeKind::gpu || kind == NodeKind::host_memory || kind == NodeKind::nvme;
}

/// How a route is picked among the shortest ones (fewest links; ties go to links added first).
enum class RoutePolicy { shortest, hashed, adaptive, rail };
std::span<const Choice<RoutePolicy>> choices_of(RoutePolicy);

/// The number that `hashed` reduces modulo the number of equal paths: the finaliser of SplitMix64
/// (Steele et al. 2014) on source * 2^32 + destination.
constexpr std::uint64_t route_hash(std::uint32_t source, std::uint32_t destination) {
  std::uint64_t x = (std::uint64_t{source} << 32 | destination) + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

enum class NodeId : std::uint32_t {};

struct TopologyNode {
  NodeKind kind = NodeKind::gpu;
  std::string name;
  std::uint32_t machine = kNoIndex;  ///< number of the server that holds it, where one does
  std::uint32_t local = 0;           ///< GPUs: index within the server
};

/// One duplex link; `rate` from a to b, `back_rate` from b to a.
struct TopologyLink {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  BytesPerSecond rate;
  BytesPerSecond back_rate;
  Seconds latency;
  bool is_dead = false;  ///< takes no routes
};

class Topology {
 public:
  NodeId add_node(NodeKind kind, std::string name, std::uint32_t machine = kNoIndex,
                  std::uint32_t local = 0);
  /// `rate` both ways; > 0. A second link between an endpoint and the same node is our bug: add the
  /// rates.
  void connect(NodeId a, NodeId b, BytesPerSecond rate, Seconds latency);
  void connect(NodeId a, NodeId b, BytesPerSecond rate, BytesPerSecond back_rate, Seconds latency);

  std::span<const TopologyNode> nodes() const { return nodes_; }
  std::span<const TopologyLink> links() const { return links_; }
  /// For faults: what is dead or slow.
  std::span<TopologyLink> links() { return links_; }
  /// Nodes of the ranks, GPUs first.
  std::vector<std::uint32_t> ranks() const;
  std::uint32_t num_gpus() const { return num_gpus_; }
  /// The node called `name`, or kNoIndex.
  std::uint32_t find(const std::string& name) const;

  /// Routes between all ranks. Link 2i of the plan is links()[i] from a to b, 2i + 1 the way back.
  /// Throws InputError at `file` naming two GPUs that have no route. Copies what it needs.
  std::unique_ptr<RoutePlan> routes(RoutePolicy policy, const std::string& file = "") const;

 private:
  std::vector<TopologyNode> nodes_;
  std::vector<TopologyLink> links_;
  std::uint32_t num_gpus_ = 0;
};

/// Reads a custom graph, schema "moesim/topology/1": `nodes` [{name, kind, machine, local}] and
/// `links` [{from, to, bytes_per_s, back_bytes_per_s, latency_s}]. Throws InputError with every
/// problem: unknown or repeated names, doubled links, a cycle among PCIe switches and host bridges.
Topology read_topology(const Json& json, const std::string& file);
Topology load_topology(const std::string& path);

}  // namespace moesim

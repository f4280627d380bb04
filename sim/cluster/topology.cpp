// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/topology.h"

#include "sim/base/error.h"

namespace moesim {

std::span<const Choice<NodeKind>> choices_of(NodeKind) {
  static constexpr Choice<NodeKind> kChoices[] = {
      {NodeKind::gpu, "gpu", "an accelerator"},
      {NodeKind::host_memory, "host_memory", "the memory of a server"},
      {NodeKind::nvme, "nvme", "the drives of a server"},
      {NodeKind::gpu_switch, "gpu_switch", "NVSwitch: joins the GPUs of a domain"},
      {NodeKind::pcie_switch, "pcie_switch", "joins devices to one uplink"},
      {NodeKind::host_bridge, "host_bridge", "PCIe root of a server"},
      {NodeKind::nic, "nic", "a network card shared by GPUs"},
      {NodeKind::leaf, "leaf", "first switch of the network"},
      {NodeKind::spine, "spine", "joins leaves"},
  };
  return kChoices;
}

std::span<const Choice<RoutePolicy>> choices_of(RoutePolicy) {
  static constexpr Choice<RoutePolicy> kChoices[] = {
      {RoutePolicy::shortest, "shortest", "the first of the shortest paths"},
      {RoutePolicy::hashed, "hashed", "one shortest path per (source, destination), by hash"},
      {RoutePolicy::adaptive, "adaptive",
       "shortest paths in turn: path (source + destination) mod n"},
      {RoutePolicy::rail, "rail", "first to the neighbour GPU on the destination's rail (PXN)"},
  };
  return kChoices;
}

NodeId Topology::add_node(NodeKind kind, std::string name, std::uint32_t machine,
                          std::uint32_t local) {
  nodes_.push_back({kind, std::move(name), machine, local});
  num_gpus_ += kind == NodeKind::gpu;
  return NodeId{static_cast<std::uint32_t>(nodes_.size() - 1)};
}

void Topology::connect(NodeId a, NodeId b, BytesPerSecond rate, Seconds latency) {
  connect(a, b, rate, rate, latency);
}

void Topology::connect(NodeId a, NodeId b, BytesPerSecond rate, BytesPerSecond back_rate,
                       Seconds latency) {
  MOESIM_CHECK(a != b, "a link joins two nodes");
  MOESIM_CHECK(rate.value() > 0.0 && back_rate.value() > 0.0, "a link has a rate");
  links_.push_back(
      {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b), rate, back_rate, latency});
}

std::vector<std::uint32_t> Topology::ranks() const {
  std::vector<std::uint32_t> ranks;
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].kind == NodeKind::gpu) {
      ranks.push_back(node);
    }
  }
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].kind != NodeKind::gpu && is_endpoint(nodes_[node].kind)) {
      ranks.push_back(node);
    }
  }
  return ranks;
}

std::uint32_t Topology::find(const std::string& name) const {
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].name == name) {
      return node;
    }
  }
  return kNoIndex;
}

}  // namespace moesim

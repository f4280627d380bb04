// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/topology_presets.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "sim/base/error.h"

namespace moesim {

namespace {

BytesPerSecond usable(const Sourced<BytesPerSecond>& line,
                      const std::optional<Sourced<BytesPerSecond>>& achieved) {
  return achieved ? achieved->value : line.value;
}

// A NIC, or a GPU with a NIC of its own, waiting for its leaf.
struct NetworkPort {
  NodeId node;
  std::int64_t machine;
  std::int64_t rail;
  BytesPerSecond rate;
  Seconds latency;
};

class Builder {
 public:
  Builder(const ClusterProfile& profile, const TopologyOptions& options)
      : profile_(profile), options_(options) {}

  Topology build() {
    for (std::size_t i = 0; i < profile_.node_groups.size(); ++i) {
      const NodeGroup& group = profile_.node_groups[i];
      const std::int64_t num_nodes = group.nodes.value_or(options_.num_nodes);
      domain_.clear();
      for (std::int64_t node = 0; node < num_nodes; ++node) {
        add_machine(group, i);
      }
    }
    join_network();
    return std::move(topology_);
  }

 private:
  void add_machine(const NodeGroup& group, std::size_t group_index) {
    const std::string prefix = "node" + std::to_string(machine_) + "/";
    const auto machine = static_cast<std::uint32_t>(machine_);
    std::vector<NodeId> gpus;
    for (std::int64_t local = 0; local < group.gpus_per_node; ++local) {
      gpus.push_back(topology_.add_node(NodeKind::gpu, prefix + "gpu" + std::to_string(local),
                                        machine, static_cast<std::uint32_t>(local)));
    }
    scale_up(group, group_index, prefix, gpus);
    const bool through_pcie = group.scale_up.kind == ScaleUpKind::pcie;
    NodeId bridge{};
    if (through_pcie || options_.with_host) {
      bridge = host(group, prefix, gpus);
    }
    network(group, prefix, gpus, through_pcie, bridge);
    ++machine_;
  }

  void scale_up(const NodeGroup& group, std::size_t group_index, const std::string& prefix,
                const std::vector<NodeId>& gpus) {
    const ScaleUp& links = group.scale_up;
    const BytesPerSecond rate = usable(links.rate, links.achieved);
    const Seconds half = links.latency.value / 2.0;
    switch (links.kind) {
      case ScaleUpKind::none:
      case ScaleUpKind::pcie:
        return;
      case ScaleUpKind::nvswitch:
      case ScaleUpKind::nvl_domain:
        for (const NodeId gpu : gpus) {
          if (domain_.empty() || domain_gpus_ == links.domain_gpus) {
            domain_ = "domain" + std::to_string(num_domains_++);
            domain_switch_ = topology_.add_node(NodeKind::gpu_switch, domain_ + "/gpu switch");
            domain_gpus_ = 0;
          }
          ++domain_gpus_;
          topology_.connect(gpu, domain_switch_, rate, half);
        }
        return;
      case ScaleUpKind::nvlink_mesh:
      case ScaleUpKind::xgmi_mesh: {
        if (gpus.size() < 2) {
          return;
        }
        // `pair_rate` is a line rate; good copies get as much of it as of all links together.
        const BytesPerSecond pair = links.pair_rate
                                        ? links.pair_rate->value * (rate / links.rate.value)
                                        : rate / static_cast<double>(gpus.size() - 1);
        for (std::size_t a = 0; a < gpus.size(); ++a) {
          for (std::size_t b = a + 1; b < gpus.size(); ++b) {
            topology_.connect(gpus[a], gpus[b], pair, links.latency.value);
          }
        }
        return;
      }
      case ScaleUpKind::torus:
        throw InputError(profile_.id,
                         "/node_groups/" + std::to_string(group_index) + "/scale_up/kind",
                         "the flow network has no graph of a torus (node " + prefix + ")",
                         "use the analytic fidelity");
    }
  }

  // A card beside its GPU on one PCIe switch: what it moves crosses the GPU's lanes, as copies from
  // the host do. With C2C the host has a link of its own.
  bool shares_lanes(const NodeGroup& group) const {
    return options_.nic_behind_pcie && options_.with_host && group.host.link == HostLink::pcie &&
           group.scale_up.kind != ScaleUpKind::pcie && group.nics.per_node >= group.gpus_per_node &&
           profile_.fabric.kind != FabricKind::none;
  }

  // PCIe switches of `gpus_per_uplink` GPUs under one host bridge, with memory and drives.
  NodeId host(const NodeGroup& group, const std::string& prefix, const std::vector<NodeId>& gpus) {
    lanes_.clear();
    const Host& host = group.host;
    const auto machine = static_cast<std::uint32_t>(machine_);
    const NodeId bridge = topology_.add_node(NodeKind::host_bridge, prefix + "host", machine);
    NodeId pcie{};
    for (std::size_t i = 0; i < gpus.size(); ++i) {
      if (i % static_cast<std::size_t>(host.gpus_per_uplink) == 0) {
        pcie =
            topology_.add_node(NodeKind::pcie_switch,
                               prefix + "pcie" + std::to_string(i / host.gpus_per_uplink), machine);
        topology_.connect(pcie, bridge, host.link_rate.value, Seconds(0.0));
      }
      NodeId below = gpus[i];
      if (shares_lanes(group)) {
        lanes_.push_back(topology_.add_node(NodeKind::pcie_switch,
                                            prefix + "lanes" + std::to_string(i), machine));
        topology_.connect(gpus[i], lanes_.back(), host.link_rate.value, Seconds(0.0));
        below = lanes_.back();
      }
      topology_.connect(below, pcie, host.link_rate.value,
                        group.scale_up.kind == ScaleUpKind::pcie
                            ? group.scale_up.latency.value / 2.0
                            : Seconds(0.0));
    }
    if (options_.with_host) {
      const NodeId memory = topology_.add_node(NodeKind::host_memory, prefix + "memory", machine);
      BytesPerSecond rate = host.link_rate.value * static_cast<double>(gpus.size());
      if (host.memory_bandwidth) {
        rate = host.memory_bandwidth->value;
      } else if (host.all_copy_rate) {
        rate = host.all_copy_rate->value * static_cast<double>(gpus.size());
      }
      topology_.connect(memory, bridge, rate, Seconds(0.0));
      if (host.nvme && host.nvme_read) {
        const NodeId drives = topology_.add_node(NodeKind::nvme, prefix + "nvme", machine);
        topology_.connect(drives, bridge, host.nvme_read->value, Seconds(0.0));
      }
    }
    return bridge;
  }

  void network(const NodeGroup& group, const std::string& prefix, const std::vector<NodeId>& gpus,
               bool through_pcie, NodeId bridge) {
    const Nics& nics = group.nics;
    if (nics.per_node == 0 || profile_.fabric.kind == FabricKind::none) {
      return;
    }
    BytesPerSecond rate = usable(nics.rate, nics.achieved);
    if (options_.message.value() > 0 && nics.messages_per_s) {
      rate = std::min(rate, BytesPerSecond(options_.message.value() * nics.messages_per_s->value));
    }
    const Seconds half = nics.latency.value / 2.0;
    const auto num_gpus = static_cast<std::int64_t>(gpus.size());
    if (!through_pcie && nics.per_node >= num_gpus) {
      // `per_node / gpus` cards for each GPU act as one.
      const double cards = static_cast<double>(nics.per_node / num_gpus);
      for (std::int64_t i = 0; i < num_gpus; ++i) {
        ports_.push_back(
            {shares_lanes(group) ? lanes_[i] : gpus[i], machine_, i, rate * cards, half});
      }
      return;
    }
    for (std::int64_t card = 0; card < nics.per_node; ++card) {
      const NodeId nic = topology_.add_node(NodeKind::nic, prefix + "nic" + std::to_string(card),
                                            static_cast<std::uint32_t>(machine_));
      if (through_pcie) {
        topology_.connect(bridge, nic, group.host.link_rate.value, Seconds(0.0));
      } else {
        for (std::int64_t i = 0; i < num_gpus; ++i) {
          if (i * nics.per_node / num_gpus == card) {
            topology_.connect(gpus[i], nic, group.host.link_rate.value, Seconds(0.0));
          }
        }
      }
      ports_.push_back({nic, machine_, card, rate, half});
    }
  }

  void join_network() {
    const Fabric& fabric = profile_.fabric;
    if (fabric.kind == FabricKind::none || ports_.empty()) {
      return;
    }
    if (fabric.kind == FabricKind::torus) {
      throw InputError(profile_.id, "/fabric/kind", "the flow network has no graph of a torus",
                       "use the analytic fidelity");
    }
    struct Leaf {
      NodeId node;
      double ports_rate = 0.0;
    };
    std::vector<Leaf> leaves;
    std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, std::size_t>> index;
    for (const NetworkPort& port : ports_) {
      std::pair<std::int64_t, std::int64_t> key{0, 0};
      if (fabric.kind != FabricKind::single_switch) {
        key = {port.machine / fabric.nodes_per_leaf,
               fabric.kind == FabricKind::rail_leaf_spine ? port.rail : 0};
      }
      auto found = std::lower_bound(index.begin(), index.end(), std::pair{key, std::size_t{0}});
      if (found == index.end() || found->first != key) {
        found = index.insert(found, {key, leaves.size()});
        leaves.push_back(
            {topology_.add_node(NodeKind::leaf, "pod" + std::to_string(key.first) + "/leaf" +
                                                    std::to_string(key.second))});
      }
      Leaf& leaf = leaves[found->second];
      leaf.ports_rate += port.rate.value();
      topology_.connect(port.node, leaf.node, port.rate, port.latency);
    }
    if (leaves.size() == 1) {
      return;
    }
    const double uplink =
        fabric.uplink_rate ? fabric.uplink_rate->value.value() : ports_[0].rate.value();
    std::vector<NodeId> spines;
    for (const Leaf& leaf : leaves) {
      // 1e-9: a sum of equal rates may round up.
      const auto uplinks = std::max<std::int64_t>(
          1, static_cast<std::int64_t>(
                 std::ceil(leaf.ports_rate / (fabric.oversubscription * uplink) - 1e-9)));
      const bool is_hashed = options_.paths == FabricPaths::hashed;
      for (std::int64_t i = 0; i < (is_hashed ? uplinks : 1); ++i) {
        if (static_cast<std::size_t>(i) == spines.size()) {
          spines.push_back(
              topology_.add_node(NodeKind::spine, "spine" + std::to_string(spines.size())));
        }
        topology_.connect(leaf.node, spines[i],
                          BytesPerSecond(uplink * (is_hashed ? 1.0 : static_cast<double>(uplinks))),
                          fabric.hop_latency.value);
      }
    }
  }

  const ClusterProfile& profile_;
  const TopologyOptions& options_;
  Topology topology_;
  std::int64_t machine_ = 0;
  std::vector<NodeId> lanes_;  // of the node's GPUs, where cards share them
  std::vector<NetworkPort> ports_;
  std::string domain_;
  NodeId domain_switch_{};
  std::int64_t num_domains_ = 0;
  std::int64_t domain_gpus_ = 0;
};

}  // namespace

Topology cluster_topology(const ClusterProfile& profile, const TopologyOptions& options) {
  return Builder(profile, options).build();
}

RoutePolicy route_policy(FabricPaths paths) {
  return paths == FabricPaths::hashed ? RoutePolicy::hashed : RoutePolicy::shortest;
}

std::int64_t cluster_gpus(const ClusterProfile& profile, std::int64_t num_nodes) {
  std::int64_t gpus = 0;
  for (const NodeGroup& group : profile.node_groups) {
    gpus += group.nodes.value_or(num_nodes) * group.gpus_per_node;
  }
  return gpus;
}

}  // namespace moesim

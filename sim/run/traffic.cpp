// SPDX-License-Identifier: Apache-2.0
#include "sim/run/traffic.h"

#include <sys/resource.h>

#include <algorithm>
#include <ctime>

#include "sim/base/error.h"
#include "sim/cluster/topology_presets.h"

namespace moesim {

namespace {

constexpr std::size_t kMaxLinks = 10;

double cpu_seconds() {
  return static_cast<double>(std::clock()) / static_cast<double>(CLOCKS_PER_SEC);
}

/// Nodes of the open group that give the cluster at least `num_ranks` GPUs.
std::int64_t nodes_for(const ClusterProfile& cluster, std::uint32_t num_ranks) {
  std::int64_t closed = 0, per_node = 0;
  for (const NodeGroup& group : cluster.node_groups) {
    if (group.nodes) {
      closed += *group.nodes * group.gpus_per_node;
    } else {
      per_node += group.gpus_per_node;
    }
  }
  const std::int64_t missing = std::max<std::int64_t>(0, std::int64_t{num_ranks} - closed);
  if (per_node == 0) {
    if (missing > 0) {
      throw InputError(cluster.id, "/node_groups",
                       "hold " + std::to_string(closed) + " GPUs, the traffic has " +
                           std::to_string(num_ranks) + " ranks",
                       "allowed: up to " + std::to_string(closed) + " ranks");
    }
    return 1;
  }
  return std::max<std::int64_t>(1, (missing + per_node - 1) / per_node);
}

}  // namespace

TrafficResult run_traffic(const ClusterProfile& cluster, TransferSet transfer,
                          const TrafficOptions& options) {
  TrafficResult result;
  result.num_ranks = transfer.num_ranks();
  result.num_flows = transfer.num_flows();
  if (transfer.is_uniform() && transfer.num_flows() > 0) {
    result.total = Bytes(transfer.bytes(0) * transfer.num_flows());
  } else {
    for (std::uint32_t flow = 0; flow < transfer.num_flows(); ++flow) {
      result.total += Bytes(transfer.bytes(flow));
    }
  }
  const bool is_large = !transfer.is_uniform() && transfer.num_flows() > kExactFlows;
  result.tolerance = options.tolerance.value_or(is_large ? kDefaultTolerance : 0.0);
  MOESIM_CHECK(result.tolerance >= 0.0 && result.tolerance <= kMaxTolerance,
               "a tolerance is a small share of the makespan");

  const double start = cpu_seconds();
  const Topology topology =
      cluster_topology(cluster, {.num_nodes = nodes_for(cluster, transfer.num_ranks()),
                                 .paths = options.paths,
                                 .message = options.message});
  const std::unique_ptr<RoutePlan> plan = topology.routes(route_policy(options.paths), cluster.id);
  // Half: the window errs by up to about its own width.
  FlowNetwork network(*plan, {.window_fraction = 0.5 * result.tolerance});
  const TransferId id = network.start(SimTime(), std::move(transfer));
  result.makespan = network.finish().seconds();
  if (options.wants_ends) {
    const std::span<const double> ends = network.flow_ends(id);
    result.ends_s.assign(ends.begin(), ends.end());
  }
  result.solver = Seconds(cpu_seconds() - start);
  result.counters = network.counters();

  const std::span<const double> bytes = network.link_bytes();
  const std::span<const FlowLink> links = plan->links();
  const auto need = [&](LinkIndex link) { return bytes[link] / links[link].capacity.value(); };
  std::vector<LinkIndex> order;
  for (LinkIndex link = 0; link < links.size(); ++link) {
    if (bytes[link] > 0.0) {
      order.push_back(link);
    }
  }
  const std::size_t shown = std::min(order.size(), kMaxLinks);
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
      [&](LinkIndex a, LinkIndex b) { return need(a) != need(b) ? need(a) > need(b) : a < b; });
  for (std::size_t i = 0; i < shown; ++i) {
    const LinkIndex link = order[i];
    result.busiest_links.push_back({plan->link_name(link), Bytes(bytes[link]), links[link].capacity,
                                    need(link) / result.makespan.value()});
  }
  return result;
}

Bytes peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return Bytes(static_cast<double>(usage.ru_maxrss) * 1024.0);  // Linux counts in KiB
}

}  // namespace moesim

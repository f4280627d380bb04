// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/collective_flows.h"

#include <algorithm>

#include "sim/base/error.h"

namespace moesim {

namespace {

TransferSet to_successor(std::uint32_t num_ranks, double bytes) {
  std::vector<Copy> copies;
  for (std::uint32_t rank = 0; num_ranks > 1 && rank < num_ranks; ++rank) {
    copies.push_back({rank, (rank + 1) % num_ranks, Bytes(bytes)});
  }
  return TransferSet::copies(copies);
}

void check(const ExpertTraffic& traffic) {
  MOESIM_CHECK(traffic.gpus_per_node > 0 && traffic.num_ranks % traffic.gpus_per_node == 0,
               "nodes are whole");
  MOESIM_CHECK(traffic.rank_bytes.size() == std::size_t{traffic.num_ranks} * traffic.num_ranks,
               "rank_bytes is [R, R]");
}

}  // namespace

FlowStages pairwise_stages(const ExpertTraffic& traffic) {
  check(traffic);
  return {TransferSet::matrix(traffic.num_ranks, traffic.rank_bytes)};
}

FlowStages two_stage_stages(const ExpertTraffic& traffic) {
  check(traffic);
  const std::size_t ranks = traffic.num_ranks, local = traffic.gpus_per_node;
  std::vector<double> inside(ranks * ranks, 0.0), between(ranks * ranks, 0.0);
  for (std::size_t source = 0; source < ranks; ++source) {
    for (std::size_t destination = 0; destination < ranks; ++destination) {
      const std::size_t peer = source / local * local + destination % local;
      const double bytes = traffic.rank_bytes[source * ranks + destination];
      inside[source * ranks + peer] += bytes;
      between[peer * ranks + destination] += bytes;
    }
  }
  return {TransferSet::matrix(traffic.num_ranks, std::move(inside)),
          TransferSet::matrix(traffic.num_ranks, std::move(between))};
}

FlowStages forwarded_stages(const ExpertTraffic& traffic) {
  check(traffic);
  const std::size_t ranks = traffic.num_ranks, local = traffic.gpus_per_node;
  const std::size_t nodes = ranks / local;
  MOESIM_CHECK(traffic.node_bytes.size() == ranks * nodes, "node_bytes is [R, nodes]");
  std::vector<double> bytes(ranks * ranks, 0.0);
  for (std::size_t source = 0; source < ranks; ++source) {
    for (std::size_t node = 0; node < nodes; ++node) {
      const std::size_t forwarder = node * local + source % local;
      if (node != source / local) {
        bytes[source * ranks + forwarder] += traffic.node_bytes[source * nodes + node];
      }
      for (std::size_t i = 0; i < local; ++i) {
        const std::size_t destination = node * local + i;
        bytes[forwarder * ranks + destination] += traffic.rank_bytes[source * ranks + destination];
      }
    }
  }
  return {TransferSet::matrix(traffic.num_ranks, std::move(bytes))};
}

FlowStages all_gather_reduce_scatter_stages(std::uint32_t num_ranks, Bytes own_bytes) {
  const Bytes buffer = own_bytes * static_cast<double>(num_ranks);
  return {ring_all_gather_stages(num_ranks, buffer)[0],
          ring_reduce_scatter_stages(num_ranks, buffer)[0]};
}

FlowStages ring_all_gather_stages(std::uint32_t num_ranks, Bytes buffer) {
  MOESIM_CHECK(num_ranks > 0, "a ring has ranks");
  return {to_successor(num_ranks, buffer.value() * (num_ranks - 1.0) / num_ranks)};
}

FlowStages ring_reduce_scatter_stages(std::uint32_t num_ranks, Bytes buffer) {
  return ring_all_gather_stages(num_ranks, buffer);
}

FlowStages ring_all_reduce_stages(std::uint32_t num_ranks, Bytes buffer) {
  return ring_all_gather_stages(num_ranks, 2.0 * buffer);
}

namespace {

/// Parent of a rank in an in-order binary tree of `count`, whose root is 0; `count` for the root.
std::uint32_t tree_parent(std::uint32_t rank, std::uint32_t count) {
  if (rank == 0) {
    return count;
  }
  const std::uint32_t bit = rank & (~rank + 1);
  const std::uint32_t up = (rank ^ bit) | (bit << 1);
  return up < count ? up : rank ^ bit;
}

}  // namespace

FlowStages tree_all_reduce_stages(std::uint32_t num_ranks, Bytes buffer) {
  MOESIM_CHECK(num_ranks > 0, "a tree has ranks");
  const Bytes half = buffer / 2.0;
  std::vector<Copy> copies;
  for (std::uint32_t rank = 1; rank < num_ranks; ++rank) {
    const std::uint32_t parent = tree_parent(rank, num_ranks);
    // The second tree is the first one mirrored (even counts) or turned by one (odd ones).
    const bool is_even = num_ranks % 2 == 0;
    const auto twin = [&](std::uint32_t r) {
      return is_even ? num_ranks - 1 - r : (r + 1) % num_ranks;
    };
    copies.push_back({rank, parent, half});
    copies.push_back({parent, rank, half});
    copies.push_back({twin(rank), twin(parent), half});
    copies.push_back({twin(parent), twin(rank), half});
  }
  return {TransferSet::copies(copies)};
}

FlowStages in_switch_all_reduce_stages(std::uint32_t num_ranks, Bytes buffer) {
  MOESIM_CHECK(num_ranks > 1, "a switch adds what two ranks send or more");
  const double port = buffer.value() * (num_ranks + 1.0) / num_ranks;
  return {TransferSet::uniform(num_ranks, Bytes(port / (num_ranks - 1.0)))};
}

Seconds bottleneck_time(const RoutePlan& plan, const FlowStages& stages) {
  const std::span<const FlowLink> links = plan.links();
  Seconds total;
  for (const TransferSet& stage : stages) {
    std::vector<double> bytes(links.size(), 0.0);
    double latency = 0.0;
    std::vector<std::uint32_t> to(1);
    std::vector<FlowRoute> route(1);
    for (std::uint32_t flow = 0; flow < stage.num_flows(); ++flow) {
      if (stage.bytes(flow) == 0.0) {
        continue;
      }
      to[0] = stage.destination(flow);
      plan.routes_from(stage.source(flow), to, route);
      double sum = 0.0;
      const auto cross = [&](LinkIndex link) {
        bytes[link] += stage.bytes(flow);
        sum += links[link].latency.value();
      };
      if (route[0].out_port != kNoIndex) {
        cross(route[0].out_port);
      }
      if (route[0].path != kNoIndex) {
        for (const LinkIndex link : plan.path(route[0].path)) {
          cross(link);
        }
      }
      if (route[0].in_port != kNoIndex) {
        cross(route[0].in_port);
      }
      latency = std::max(latency, sum);
    }
    double busiest = 0.0;
    for (LinkIndex link = 0; link < links.size(); ++link) {
      busiest = std::max(busiest, bytes[link] / links[link].capacity.value());
    }
    total += Seconds(busiest + latency);
  }
  return total;
}

}  // namespace moesim

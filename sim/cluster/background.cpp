// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/background.h"

#include <algorithm>

#include "sim/base/error.h"
#include "sim/base/json.h"

namespace moesim {
namespace {

/// What a stream without an offer could send: more than any link.
constexpr double kUnlimited = 1e18;

bool is_cache(BackgroundKind kind) {
  return kind == BackgroundKind::kv_in || kind == BackgroundKind::kv_out;
}

bool is_host(BackgroundKind kind) {
  return kind == BackgroundKind::host_to_gpu || kind == BackgroundKind::gpu_to_host;
}

}  // namespace

std::int64_t nodes_with_background(std::span<const BackgroundSpec> background,
                                   const ClusterProfile& profile, std::int64_t nodes) {
  const bool has_caches =
      std::any_of(background.begin(), background.end(),
                  [](const BackgroundSpec& traffic) { return is_cache(traffic.kind); });
  const std::int64_t wanted = has_caches ? 2 * nodes : nodes;
  return std::min(wanted, profile.node_groups.front().nodes.value_or(wanted));
}

bool needs_host(std::span<const BackgroundSpec> background) {
  const auto names_host = [](const std::string& name) {
    return name.ends_with("/memory") || name.ends_with("/nvme");
  };
  return std::any_of(background.begin(), background.end(), [&](const BackgroundSpec& traffic) {
    return is_host(traffic.kind) || names_host(traffic.from) || names_host(traffic.to);
  });
}

std::vector<Stream> background_streams(std::span<const BackgroundSpec> background,
                                       const Topology& topology, std::int64_t nodes,
                                       std::int64_t gpus_per_node, const std::string& file) {
  std::vector<Stream> streams;
  if (background.empty()) {
    return streams;
  }
  const std::vector<std::uint32_t> rank_nodes = topology.ranks();
  std::vector<std::string> names;
  for (const std::uint32_t node : rank_nodes) {
    names.push_back(topology.nodes()[node].name);
  }
  const auto rank_of = [&](const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    return found == names.end() ? kNoIndex : static_cast<std::uint32_t>(found - names.begin());
  };
  const std::int64_t all_nodes = topology.num_gpus() / gpus_per_node;
  Diagnostics problems;
  for (std::size_t i = 0; i < background.size(); ++i) {
    const BackgroundSpec& traffic = background[i];
    const std::string at = "/background/" + std::to_string(i);
    Stream stream;
    stream.offered = BytesPerSecond(traffic.bytes_per_s.value_or(kUnlimited));
    stream.flows = static_cast<std::uint32_t>(traffic.streams);
    stream.entry = static_cast<std::uint32_t>(i);
    if (traffic.kind == BackgroundKind::stream) {
      stream.source = rank_of(traffic.from);
      stream.destination = rank_of(traffic.to);
      for (const auto& [rank, text, key] : {std::tuple{stream.source, &traffic.from, "/from"},
                                            {stream.destination, &traffic.to, "/to"}}) {
        if (rank == kNoIndex) {
          const std::string near = nearest_word(*text, names);
          problems.add(file, at + key, "\"" + *text + "\" names no endpoint of the topology",
                       near.empty() ? "a GPU, the memory or the drives of a node"
                                    : "did you mean \"" + near + "\"?");
        }
      }
      if (stream.source != kNoIndex && stream.source == stream.destination) {
        problems.add(file, at + "/to", "a stream to itself crosses no link", "name another");
      } else if (stream.source != kNoIndex && stream.destination != kNoIndex) {
        streams.push_back(stream);
      }
      continue;
    }
    if (is_cache(traffic.kind) && all_nodes <= nodes) {
      problems.add(file, at + "/kind", "the cluster has no node beside the deployment's",
                   "use fewer /nodes, so that caches can come from another one");
      continue;
    }
    for (std::int64_t node = 0; node < nodes; ++node) {
      std::int64_t peer = node;
      switch (traffic.kind) {
        case BackgroundKind::kv_in:
        case BackgroundKind::kv_out:
          peer = nodes + node % (all_nodes - nodes);
          break;
        case BackgroundKind::gradient_sync:
          peer = (node + 1) % nodes;
          break;
        case BackgroundKind::expert_swap:
          peer = (node + std::max<std::int64_t>(1, nodes / 2)) % nodes;
          break;
        default:
          break;
      }
      const std::uint32_t memory =
          is_host(traffic.kind) ? rank_of("node" + std::to_string(node) + "/memory") : kNoIndex;
      for (std::int64_t gpu = 0; gpu < gpus_per_node; ++gpu) {
        const auto own = static_cast<std::uint32_t>(node * gpus_per_node + gpu);
        const std::uint32_t other =
            is_host(traffic.kind) ? memory : static_cast<std::uint32_t>(peer * gpus_per_node + gpu);
        const bool is_sent = traffic.kind == BackgroundKind::kv_out ||
                             traffic.kind == BackgroundKind::gradient_sync ||
                             traffic.kind == BackgroundKind::gpu_to_host;
        stream.source = is_sent ? own : other;
        stream.destination = is_sent ? other : own;
        streams.push_back(stream);
      }
    }
  }
  problems.throw_if_any();
  return streams;
}

SharedPlan::SharedPlan(std::unique_ptr<RoutePlan> base, std::vector<Stream> streams)
    : base_(std::move(base)), streams_(std::move(streams)) {
  const std::span<const FlowLink> links = base_->links();
  num_base_links_ = links.size();
  links_.assign(links.begin(), links.end());
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    links_.push_back({streams_[i].offered, Seconds(0), kNoIndex});
    FlowRoute route;
    base_->routes_from(streams_[i].source, {&streams_[i].destination, 1}, {&route, 1});
    std::vector<LinkIndex> path;
    if (route.path != kNoIndex) {
      const std::span<const LinkIndex> core = base_->path(route.path);
      path.assign(core.begin(), core.end());
    }
    path.push_back(limit_link(i));
    paths_.push_back(std::move(path));
  }
}

TransferSet SharedPlan::transfer() const {
  std::vector<Copy> copies;
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    for (std::uint32_t flow = 0; flow < streams_[i].flows; ++flow) {
      copies.push_back(
          {base_->num_ranks() + static_cast<std::uint32_t>(i), streams_[i].destination, Bytes(0)});
    }
  }
  return TransferSet::endless(copies);
}

std::uint32_t SharedPlan::num_ranks() const {
  return base_->num_ranks() + static_cast<std::uint32_t>(streams_.size());
}

std::string SharedPlan::link_name(LinkIndex link) const {
  return link < num_base_links_ ? base_->link_name(link)
                                : "background " + std::to_string(link - num_base_links_);
}

std::uint32_t SharedPlan::num_paths() const {
  return base_->num_paths() + static_cast<std::uint32_t>(paths_.size());
}

std::span<const LinkIndex> SharedPlan::path(std::uint32_t path) const {
  return path < base_->num_paths() ? base_->path(path) : paths_[path - base_->num_paths()];
}

void SharedPlan::routes_from(std::uint32_t source, std::span<const std::uint32_t> destinations,
                             std::span<FlowRoute> routes) const {
  const std::uint32_t ranks = base_->num_ranks();
  if (source < ranks) {
    base_->routes_from(source, destinations, routes);
    return;
  }
  const std::size_t stream = source - ranks;
  base_->routes_from(streams_[stream].source, destinations, routes);
  for (FlowRoute& route : routes) {
    route.path = base_->num_paths() + static_cast<std::uint32_t>(stream);
  }
}

}  // namespace moesim

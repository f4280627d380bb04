// SPDX-License-Identifier: Apache-2.0
// Routes over a Topology: shortest paths between switches, found once; pairs of ranks only look up.
//
// An endpoint's links lead to *attachment* switches. Between two attachments of one switch network
// all shortest paths (at most kMaxPaths) are interned; a route is out port + one of them + in port.
#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/breadth_first_search.hpp>
#include <boost/graph/connected_components.hpp>

#include "sim/base/error.h"
#include "sim/cluster/topology.h"

namespace moesim {

namespace {

constexpr std::size_t kMaxPaths = 256;
constexpr std::uint32_t kFar = UINT32_MAX / 4;

using SwitchGraph =
    boost::adjacency_list<boost::vecS, boost::vecS, boost::undirectedS, boost::no_property,
                          boost::property<boost::edge_index_t, std::uint32_t>>;

struct Attachment {
  std::uint32_t at;  ///< attachment number
  LinkIndex link;
};

struct PathRange {
  std::uint32_t first = kNoIndex;
  std::uint32_t count = 0;
  std::uint32_t hops = kFar;
};

class TopologyRoutes : public RoutePlan {
 public:
  TopologyRoutes(const Topology& topology, RoutePolicy policy, const std::string& file)
      : policy_(policy), num_gpus_(topology.num_gpus()) {
    for (const TopologyNode& node : topology.nodes()) {
      names_.push_back(node.name);
    }
    rank_node_ = topology.ranks();
    for (const TopologyLink& link : topology.links()) {
      ends_.emplace_back(link.a, link.b);
      ends_.emplace_back(link.b, link.a);
      links_.push_back({link.rate, link.latency});
      links_.push_back({link.back_rate, link.latency});
    }
    attach(topology);
    find_switch_paths(topology);
    find_rails(topology);
    assign_port_groups();
    check_reachable(file);
  }

  std::uint32_t num_ranks() const override { return static_cast<std::uint32_t>(rank_node_.size()); }
  std::span<const FlowLink> links() const override { return links_; }
  std::string link_name(LinkIndex link) const override {
    return names_[ends_[link].first] + " -> " + names_[ends_[link].second];
  }
  std::uint32_t num_paths() const override {
    return static_cast<std::uint32_t>(path_offset_.size() - 1);
  }
  std::span<const LinkIndex> path(std::uint32_t path) const override {
    return {path_links_.data() + path_offset_[path], path_offset_[path + 1] - path_offset_[path]};
  }

  void routes_from(std::uint32_t source, std::span<const std::uint32_t> destinations,
                   std::span<FlowRoute> routes) const override {
    const std::vector<Best> best = best_from(source);
    const bool has_direct = !direct_[source].empty();
    for (std::size_t i = 0; i < destinations.size(); ++i) {
      const std::uint32_t destination = destinations[i];
      routes[i] = FlowRoute{};
      if (destination == source) {
        continue;
      }
      if (policy_ == RoutePolicy::rail && rail_route(best, source, destination, routes[i])) {
        continue;
      }
      if (has_direct) {
        const std::uint32_t path = direct_path(source, destination);
        if (path != kNoIndex) {
          routes[i].path = path;
          continue;
        }
      }
      std::uint32_t hops = kFar;
      const Best* chosen = nullptr;
      for (std::uint32_t j = in_offset_[destination]; j < in_offset_[destination + 1]; ++j) {
        const Attachment& in = in_flat_[j];
        if (best[in.at].hops < hops) {
          hops = best[in.at].hops;
          chosen = &best[in.at];
          routes[i].in_port = in.link;
        }
      }
      MOESIM_CHECK(chosen != nullptr, "only ranks that can reach each other send");
      routes[i].out_port = chosen->link;
      routes[i].path = pick(*chosen, source, destination);
    }
  }

 private:
  struct Best : PathRange {
    LinkIndex link = kNoIndex;
  };

  std::uint32_t pick(const PathRange& range, std::uint32_t source,
                     std::uint32_t destination) const {
    if (range.count <= 1) {
      return range.first;
    }
    switch (policy_) {
      case RoutePolicy::hashed:
        return range.first +
               static_cast<std::uint32_t>(route_hash(source, destination) % range.count);
      case RoutePolicy::adaptive:
        return range.first + (source + destination) % range.count;
      case RoutePolicy::shortest:
      case RoutePolicy::rail:
        return range.first;
    }
    return range.first;
  }

  std::uint32_t direct_path(std::uint32_t source, std::uint32_t destination) const {
    for (const auto& [to, path] : direct_[source]) {
      if (to == destination) {
        return path;
      }
    }
    return kNoIndex;
  }

  void attach(const Topology& topology) {
    std::vector<std::uint32_t> rank_of(names_.size(), kNoIndex);
    for (std::uint32_t rank = 0; rank < rank_node_.size(); ++rank) {
      rank_of[rank_node_[rank]] = rank;
    }
    attachment_of_.assign(names_.size(), kNoIndex);
    out_.resize(rank_node_.size());
    in_.resize(rank_node_.size());
    direct_.resize(rank_node_.size());
    path_offset_.push_back(0);
    for (LinkIndex link = 0; link < links_.size(); ++link) {
      if (topology.links()[link / 2].is_dead) {
        continue;
      }
      const auto [from, to] = ends_[link];
      const std::uint32_t source = rank_of[from], destination = rank_of[to];
      if (source != kNoIndex && destination != kNoIndex) {
        direct_[source].emplace_back(destination, add_path({link}));
      } else if (source != kNoIndex) {
        out_[source].push_back({attachment(to), link});
      } else if (destination != kNoIndex) {
        in_[destination].push_back({attachment(from), link});
      }
    }
    in_offset_.push_back(0);
    for (const std::vector<Attachment>& in : in_) {
      in_flat_.insert(in_flat_.end(), in.begin(), in.end());
      in_offset_.push_back(static_cast<std::uint32_t>(in_flat_.size()));
    }
  }

  std::uint32_t attachment(std::uint32_t node) {
    if (attachment_of_[node] == kNoIndex) {
      attachment_of_[node] = static_cast<std::uint32_t>(attachment_node_.size());
      attachment_node_.push_back(node);
    }
    return attachment_of_[node];
  }

  std::uint32_t add_path(const std::vector<LinkIndex>& links) {
    path_links_.insert(path_links_.end(), links.begin(), links.end());
    path_offset_.push_back(static_cast<std::uint32_t>(path_links_.size()));
    return static_cast<std::uint32_t>(path_offset_.size() - 2);
  }

  void find_switch_paths(const Topology& topology) {
    SwitchGraph graph(names_.size());
    for (std::uint32_t i = 0; i < topology.links().size(); ++i) {
      const TopologyLink& link = topology.links()[i];
      if (!link.is_dead && !is_endpoint(topology.nodes()[link.a].kind) &&
          !is_endpoint(topology.nodes()[link.b].kind)) {
        boost::add_edge(link.a, link.b, i, graph);
      }
    }
    std::vector<std::uint32_t> network(names_.size());
    boost::connected_components(graph, network.data());
    // Attachments of one switch network have one table [n, n] of path ranges.
    network_of_.resize(attachment_node_.size());
    local_of_.resize(attachment_node_.size());
    std::vector<std::uint32_t> number(names_.size(), kNoIndex);
    for (std::uint32_t at = 0; at < attachment_node_.size(); ++at) {
      std::uint32_t& id = number[network[attachment_node_[at]]];
      if (id == kNoIndex) {
        id = static_cast<std::uint32_t>(members_.size());
        members_.emplace_back();
      }
      network_of_[at] = id;
      local_of_[at] = static_cast<std::uint32_t>(members_[id].size());
      members_[id].push_back(at);
    }
    ranges_.resize(members_.size());
    std::vector<std::uint32_t> hops(names_.size());
    for (std::uint32_t id = 0; id < members_.size(); ++id) {
      const std::size_t size = members_[id].size();
      ranges_[id].resize(size * size);
      for (std::size_t from = 0; from < size; ++from) {
        const std::uint32_t start = attachment_node_[members_[id][from]];
        if (size > 1) {
          std::fill(hops.begin(), hops.end(), kFar);
          hops[start] = 0;
          boost::breadth_first_search(
              graph, start,
              boost::visitor(boost::make_bfs_visitor(
                  boost::record_distances(hops.data(), boost::on_tree_edge()))));
        }
        for (std::size_t to = 0; to < size; ++to) {
          PathRange& range = ranges_[id][from * size + to];
          if (from == to) {
            range = {kNoIndex, 0, 0};
            continue;
          }
          const std::uint32_t target = attachment_node_[members_[id][to]];
          range.hops = hops[target];
          range.first = num_paths();
          std::vector<LinkIndex> backwards;
          enumerate(graph, hops, target, backwards, range);
        }
      }
    }
  }

  // Walks back from `node` along links that lose one hop, in the order of adding.
  void enumerate(const SwitchGraph& graph, const std::vector<std::uint32_t>& hops,
                 std::uint32_t node, std::vector<LinkIndex>& backwards, PathRange& range) {
    if (range.count == kMaxPaths) {
      return;
    }
    if (hops[node] == 0) {
      add_path({backwards.rbegin(), backwards.rend()});
      ++range.count;
      return;
    }
    for (auto [edge, end] = boost::out_edges(node, graph); edge != end; ++edge) {
      const auto next = static_cast<std::uint32_t>(boost::target(*edge, graph));
      if (hops[next] + 1 == hops[node]) {
        const std::uint32_t link = boost::get(boost::edge_index, graph, *edge);
        backwards.push_back(2 * link + (ends_[2 * link].first == next ? 0 : 1));
        enumerate(graph, hops, next, backwards, range);
        backwards.pop_back();
      }
    }
  }

  std::vector<Best> best_from(std::uint32_t source) const {
    std::vector<Best> best(attachment_node_.size());
    for (const Attachment& out : out_[source]) {
      const std::uint32_t id = network_of_[out.at];
      const std::size_t size = members_[id].size();
      const PathRange* row = ranges_[id].data() + local_of_[out.at] * size;
      for (std::size_t to = 0; to < size; ++to) {
        Best& entry = best[members_[id][to]];
        if (row[to].hops < entry.hops) {
          static_cast<PathRange&>(entry) = row[to];
          entry.link = out.link;
        }
      }
    }
    return best;
  }

  // The rail policy: rank -> neighbour with the destination's local index -> destination.
  void find_rails(const Topology& topology) {
    if (policy_ != RoutePolicy::rail) {
      return;
    }
    for (std::uint32_t rank = 0; rank < num_gpus_; ++rank) {
      const TopologyNode& node = topology.nodes()[rank_node_[rank]];
      machine_.push_back(node.machine);
      local_.push_back(node.local);
    }
    std::vector<std::vector<std::uint32_t>> by_machine;
    for (std::uint32_t rank = 0; rank < num_gpus_; ++rank) {
      if (machine_[rank] == kNoIndex) {
        machine_.clear();  // unknown servers: no rails, plain shortest paths
        return;
      }
      by_machine.resize(std::max<std::size_t>(by_machine.size(), machine_[rank] + 1));
      by_machine[machine_[rank]].resize(
          std::max<std::size_t>(by_machine[machine_[rank]].size(), local_[rank] + 1), kNoIndex);
      by_machine[machine_[rank]][local_[rank]] = rank;
    }
    neighbours_ = std::move(by_machine);
    // From a GPU to each attachment that is not in its own server, one path that starts with its
    // own network link: those links are core links here, since neighbours use them too.
    tail_.resize(num_gpus_);
    for (std::uint32_t rank = 0; rank < num_gpus_; ++rank) {
      const std::vector<Best> best = best_from(rank);
      tail_[rank].assign(attachment_node_.size(), kNoIndex);
      for (std::uint32_t at = 0; at < best.size(); ++at) {
        if (best[at].hops < kFar) {
          std::vector<LinkIndex> links{best[at].link};
          if (best[at].first != kNoIndex) {
            const std::span<const LinkIndex> rest = path(best[at].first);
            links.insert(links.end(), rest.begin(), rest.end());
          }
          tail_[rank][at] = add_path(links);
        }
      }
    }
    // Hand-over paths: in port of the neighbour (a core link here) + its tail.
    for (std::uint32_t rank = 0; rank < num_gpus_; ++rank) {
      for (const Attachment& in : in_[rank]) {
        hand_over_.push_back({in.link, {}});
        for (std::uint32_t at = 0; at < tail_[rank].size(); ++at) {
          std::uint32_t joined = kNoIndex;
          if (tail_[rank][at] != kNoIndex && at != in.at) {
            std::vector<LinkIndex> links{in.link};
            const std::span<const LinkIndex> rest = path(tail_[rank][at]);
            links.insert(links.end(), rest.begin(), rest.end());
            joined = add_path(links);
          }
          hand_over_.back().second.push_back(joined);
        }
      }
    }
    std::sort(hand_over_.begin(), hand_over_.end());
    for (std::uint32_t rank = 0; rank < num_gpus_; ++rank) {
      for (const Attachment& in : in_[rank]) {
        local_in_.emplace_back(in.link, add_path({in.link}));
      }
    }
    std::sort(local_in_.begin(), local_in_.end());
  }

  bool rail_route(const std::vector<Best>& best, std::uint32_t source, std::uint32_t destination,
                  FlowRoute& route) const {
    if (machine_.empty() || source >= num_gpus_ || destination >= num_gpus_) {
      return false;
    }
    if (direct_path(source, destination) != kNoIndex) {
      return false;
    }
    FlowRoute plain;
    std::uint32_t hops = kFar, in_at = 0;
    for (const Attachment& in : in_[destination]) {
      if (best[in.at].hops < hops) {
        hops = best[in.at].hops;
        plain.in_port = in.link;
        plain.out_port = best[in.at].link;
        in_at = in.at;
      }
    }
    if (machine_[source] == machine_[destination]) {
      // Inside a server: the neighbour's in link is a core link under this policy.
      const auto found = std::lower_bound(local_in_.begin(), local_in_.end(),
                                          std::pair{plain.in_port, std::uint32_t{0}});
      route = {plain.out_port, kNoIndex, found->second};
      return true;
    }
    const auto& peers = neighbours_[machine_[source]];
    const std::uint32_t peer =
        local_[destination] < peers.size() ? peers[local_[destination]] : kNoIndex;
    if (peer == kNoIndex || peer == source) {
      route = {kNoIndex, plain.in_port, tail_[source][in_at]};
      return true;
    }
    std::uint32_t peer_hops = kFar;
    LinkIndex peer_in = kNoIndex, out = kNoIndex;
    for (const Attachment& in : in_[peer]) {
      if (best[in.at].hops < peer_hops) {
        peer_hops = best[in.at].hops;
        peer_in = in.link;
        out = best[in.at].link;
      }
    }
    const auto found =
        std::lower_bound(hand_over_.begin(), hand_over_.end(), peer_in,
                         [](const auto& entry, LinkIndex link) { return entry.first < link; });
    const std::uint32_t joined = peer_in == kNoIndex ? kNoIndex : found->second[in_at];
    if (joined == kNoIndex) {
      route = {kNoIndex, plain.in_port, tail_[source][in_at]};
    } else {
      route = {out, plain.in_port, joined};
    }
    return true;
  }

  // Ports are the endpoint links that no core path uses.
  void assign_port_groups() {
    std::vector<char> is_core(links_.size(), 0);
    for (const LinkIndex link : path_links_) {
      is_core[link] = 1;
    }
    std::uint32_t next = 0;
    for (const auto* side : {&out_, &in_}) {
      std::vector<std::uint32_t> group(attachment_node_.size(), kNoIndex);
      for (const std::vector<Attachment>& attachments : *side) {
        for (const Attachment& entry : attachments) {
          if (!is_core[entry.link]) {
            if (group[entry.at] == kNoIndex) {
              group[entry.at] = next++;
            }
            links_[entry.link].port_group = group[entry.at];
          }
        }
      }
    }
  }

  void check_reachable(const std::string& file) const {
    // Quick yes: one switch network that every GPU sends into and hears from.
    for (std::uint32_t id = 0; id < members_.size(); ++id) {
      const auto is_here = [&](const Attachment& entry) { return network_of_[entry.at] == id; };
      bool holds_all = true;
      for (std::uint32_t rank = 0; rank < num_gpus_ && holds_all; ++rank) {
        holds_all = std::any_of(out_[rank].begin(), out_[rank].end(), is_here) &&
                    std::any_of(in_[rank].begin(), in_[rank].end(), is_here);
      }
      if (holds_all) {
        return;
      }
    }
    for (std::uint32_t source = 0; source < num_gpus_; ++source) {
      const std::vector<Best> best = best_from(source);
      for (std::uint32_t destination = 0; destination < num_gpus_; ++destination) {
        bool is_reached = source == destination || direct_path(source, destination) != kNoIndex;
        for (const Attachment& in : in_[destination]) {
          is_reached = is_reached || best[in.at].hops < kFar;
        }
        if (!is_reached) {
          throw InputError(file, "",
                           "no route from \"" + names_[rank_node_[source]] + "\" to \"" +
                               names_[rank_node_[destination]] + "\"",
                           "join them through live links and switches");
        }
      }
    }
  }

  RoutePolicy policy_;
  std::uint32_t num_gpus_ = 0;
  std::vector<std::string> names_;
  std::vector<std::uint32_t> rank_node_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ends_;  ///< [link] nodes from, to
  std::vector<FlowLink> links_;
  std::vector<std::uint32_t> path_offset_;
  std::vector<LinkIndex> path_links_;

  std::vector<std::uint32_t> attachment_of_, attachment_node_, network_of_, local_of_;
  std::vector<std::vector<Attachment>> out_, in_;  ///< [rank]
  std::vector<Attachment> in_flat_;                ///< in_ in one piece, for the inner loop
  std::vector<std::uint32_t> in_offset_;
  std::vector<std::vector<std::pair<std::uint32_t, std::uint32_t>>> direct_;  ///< [rank] (to, path)
  std::vector<std::vector<std::uint32_t>> members_;  ///< [network] attachments
  std::vector<std::vector<PathRange>> ranges_;       ///< [network] [n, n]

  std::vector<std::uint32_t> machine_, local_;          ///< [rank], rail policy only
  std::vector<std::vector<std::uint32_t>> neighbours_;  ///< [machine][local] rank
  std::vector<std::vector<std::uint32_t>> tail_;        ///< [rank][attachment] path
  std::vector<std::pair<LinkIndex, std::vector<std::uint32_t>>> hand_over_;  ///< by in link
  std::vector<std::pair<LinkIndex, std::uint32_t>> local_in_;                ///< in link as a path
};

}  // namespace

std::unique_ptr<RoutePlan> Topology::routes(RoutePolicy policy, const std::string& file) const {
  return std::make_unique<TopologyRoutes>(*this, policy, file);
}

}  // namespace moesim

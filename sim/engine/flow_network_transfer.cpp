// SPDX-License-Identifier: Apache-2.0
// Links of a plan into slots, and flows of a transfer into bundles and singles.
#include <algorithm>
#include <numeric>

#include "sim/base/error.h"
#include "sim/engine/flow_network_state.h"

namespace moesim {

namespace {

// Calls `visit(flow, source, destination, route)` for each flow of `set` in order; routes come in
// batches of one source.
template <class Visit>
void for_each_route(const RoutePlan& plan, const TransferSet& set, Visit&& visit) {
  std::vector<std::uint32_t> destinations;
  std::vector<FlowRoute> routes;
  const std::uint32_t num_ranks = set.num_ranks();
  if (set.is_matrix()) {
    destinations.resize(num_ranks);
    std::iota(destinations.begin(), destinations.end(), 0u);
    routes.resize(num_ranks);
    for (std::uint32_t source = 0; source < num_ranks; ++source) {
      plan.routes_from(source, destinations, routes);
      for (std::uint32_t i = 0; i < num_ranks; ++i) {
        visit(source * num_ranks + i, source, i, routes[i]);
      }
    }
    return;
  }
  for (std::uint32_t first = 0; first < set.num_flows();) {
    const std::uint32_t source = set.source(first);
    destinations.clear();
    std::uint32_t end = first;
    for (; end < set.num_flows() && set.source(end) == source; ++end) {
      destinations.push_back(set.destination(end));
    }
    routes.resize(destinations.size());
    plan.routes_from(source, destinations, routes);
    for (std::uint32_t i = 0; i < routes.size(); ++i) {
      visit(first + i, source, destinations[i], routes[i]);
    }
    first = end;
  }
}

}  // namespace

FlowState::FlowState(const RoutePlan& plan, const FlowAccuracy& accuracy)
    : plan_(plan), accuracy_(accuracy) {
  MOESIM_CHECK(accuracy.window_fraction >= 0.0 && accuracy.window_fraction <= 0.01,
               "a window is at most 1% of the busiest link's time");
  const std::span<const FlowLink> links = plan.links();
  const auto num_links = static_cast<std::uint32_t>(links.size());
  for (const FlowLink& link : links) {
    MOESIM_CHECK(link.capacity.value() > 0.0, "a link has capacity; a dead one takes no routes");
    if (link.port_group != kNoIndex) {
      groups_.resize(std::max<std::size_t>(groups_.size(), link.port_group + 1));
      ++groups_[link.port_group].num_ports;
      ++num_ports_;
    }
  }
  for (std::uint32_t group = 0, slot = 0; group < groups_.size(); ++group) {
    MOESIM_CHECK(groups_[group].num_ports <= 65535, "ports of a group are numbered in 16 bits");
    groups_[group].first_slot = slot;
    slot += groups_[group].num_ports;
  }
  slot_of_link_.resize(num_links);
  link_of_slot_.resize(num_links);
  group_of_slot_.assign(num_links, kNoIndex);
  capacity_.resize(num_links);
  latency_.resize(num_links);
  std::vector<std::uint32_t> used(groups_.size(), 0);
  std::uint32_t next_core = num_ports_;
  for (std::uint32_t link = 0; link < num_links; ++link) {
    const std::uint32_t group = links[link].port_group;
    const std::uint32_t slot =
        group == kNoIndex ? next_core++ : groups_[group].first_slot + used[group]++;
    slot_of_link_[link] = slot;
    link_of_slot_[slot] = link;
    group_of_slot_[slot] = group;
    capacity_[slot] = links[link].capacity.value();
    latency_[slot] = links[link].latency.value();
  }
  for (const PortGroup& group : groups_) {
    for (std::uint32_t i = 1; i < group.num_ports; ++i) {
      are_port_latencies_even_ =
          are_port_latencies_even_ && latency_[group.first_slot + i] == latency_[group.first_slot];
    }
  }
  rank_of_slot_.assign(num_ports_, kNoIndex);
  foreign_load_.assign(num_ports_, 0.0);
  core_bundles_.resize(num_links - num_ports_);
  link_bytes_.assign(num_links, 0.0);
  path_offset_.push_back(0);
  for (std::uint32_t path = 0; path < plan.num_paths(); ++path) {
    double latency = 0.0;
    for (const LinkIndex link : plan.path(path)) {
      MOESIM_CHECK(links[link].port_group == kNoIndex, "a port is no part of a core path");
      path_slots_.push_back(slot_of_link_[link]);
      latency += links[link].latency.value();
    }
    path_offset_.push_back(static_cast<std::uint32_t>(path_slots_.size()));
    path_latency_.push_back(latency);
  }
  bundle_of_path_.assign(plan.num_paths(), kNoIndex);
  fixed_.resize(num_links);
  open_.resize(num_links);
  is_saturated_.resize(num_links);
  first_of_slot_.assign(num_links, kNoIndex);
  first_in_slot_.assign(num_links, kNoIndex);
}

std::uint32_t FlowState::add_bundle(std::uint32_t path, std::uint32_t out_group,
                                    std::uint32_t in_group) {
  const auto id = static_cast<std::uint32_t>(bundles_.size());
  Bundle bundle;
  bundle.path = path;
  bundle.out_group = out_group;
  bundle.in_group = in_group;
  bundle.out_counts = static_cast<std::uint32_t>(counts_.size());
  counts_.resize(counts_.size() + (out_group == kNoIndex ? 0 : groups_[out_group].num_ports));
  bundle.in_counts = static_cast<std::uint32_t>(counts_.size());
  counts_.resize(counts_.size() + (in_group == kNoIndex ? 0 : groups_[in_group].num_ports));
  BundleKey key{out_group, in_group, bundle_of_path_[path], bundle.out_counts, bundle.in_counts};
  key.out_base -= out_group == kNoIndex ? 0 : groups_[out_group].first_slot;
  key.in_base -= in_group == kNoIndex ? 0 : groups_[in_group].first_slot;
  bundle_of_path_[path] = id;
  bundle_keys_.push_back(key);
  bundles_.push_back(std::move(bundle));
  rate_.push_back(0.0);
  served_.push_back(0.0);
  head_key_.push_back(kInfinite);
  is_bundle_open_.push_back(0);
  first_of_bundle_.push_back(kNoIndex);
  return id;
}

std::uint32_t FlowState::add_transfer(double now, TransferSet set) {
  MOESIM_CHECK(set.num_ranks() <= plan_.num_ranks(), "a transfer names ranks of the plan");
  list_all();
  bool is_alone = true;
  for (const Transfer& other : transfers_) {
    is_alone = is_alone && other.num_left == 0;
  }
  const auto id = static_cast<std::uint32_t>(transfers_.size());
  transfers_.emplace_back();
  Transfer& transfer = transfers_.back();
  transfer.set = std::move(set);
  const TransferSet& flows = transfer.set;
  transfer.start = now;
  transfer.rank_left.assign(flows.num_ranks(), 0);
  transfer.rank_end.assign(flows.num_ranks(), now);
  transfer.num_left = flows.num_flows();
  counters_.flows += flows.num_flows();

  std::vector<std::uint32_t> counts(bundles_.size(), 0);
  std::vector<double> bundle_bytes(bundles_.size(), 0.0);
  std::vector<double> added(link_bytes_.size(), 0.0);
  Component arrivals;
  std::vector<std::uint32_t> immediate;
  bool has_all_ports = true;
  // Alone and of one size: the bytes follow from the counts, once per port instead of per flow.
  const bool is_even = flows.is_uniform() && is_alone;
  const auto count_flow = [&](std::uint32_t flow, std::uint32_t source, std::uint32_t destination,
                              const FlowRoute& route) {
    ++transfer.rank_left[source];
    ++transfer.rank_left[destination];
    const double bytes = flows.bytes(flow);
    const std::uint32_t path = core_path(route.path);
    const bool has_out = route.out_port != kNoIndex, has_in = route.in_port != kNoIndex;
    if (bytes == 0.0 || (path == kNoIndex && !has_out && !has_in)) {
      immediate.push_back(flow);
      return;
    }
    const std::uint32_t out = has_out ? slot_of_link_[route.out_port] : kNoIndex;
    const std::uint32_t in = has_in ? slot_of_link_[route.in_port] : kNoIndex;
    if (!is_even || path == kNoIndex) {
      if (has_out) {
        added[route.out_port] += bytes;
      }
      if (has_in) {
        added[route.in_port] += bytes;
      }
    }
    if (path == kNoIndex) {
      arrivals.singles.push_back({bytes, 0.0, out, in, kNoIndex, id, flow});
      return;
    }
    const std::uint32_t bundle_id = find_bundle(path, has_out ? group_of_slot_[out] : kNoIndex,
                                                has_in ? group_of_slot_[in] : kNoIndex);
    if (bundle_id >= counts.size()) {
      counts.resize(bundle_id + 1, 0);
      bundle_bytes.resize(bundle_id + 1, 0.0);
    }
    ++counts[bundle_id];
    if (!is_even) {
      bundle_bytes[bundle_id] += bytes;
    }
    if (has_out) {
      rank_of_slot_[out] = source;
      ++counts_[bundle_keys_[bundle_id].out_base + out];
    }
    if (has_in) {
      rank_of_slot_[in] = destination;
      ++counts_[bundle_keys_[bundle_id].in_base + in];
    }
    has_all_ports = has_all_ports && has_out && has_in;
  };
  for_each_route(plan_, flows, count_flow);
  for (std::uint32_t bundle = 0; bundle < counts.size(); ++bundle) {
    if (is_even && counts[bundle] > 0) {
      const double bytes = flows.bytes(0);
      bundle_bytes[bundle] = counts[bundle] * bytes;
      const auto add_ports = [&](std::uint32_t group, std::uint32_t offset) {
        for (std::uint32_t i = 0; group != kNoIndex && i < groups_[group].num_ports; ++i) {
          added[link_of_slot_[groups_[group].first_slot + i]] += counts_[offset + i] * bytes;
        }
      };
      add_ports(bundles_[bundle].out_group, bundles_[bundle].out_counts);
      add_ports(bundles_[bundle].in_group, bundles_[bundle].in_counts);
    }
    for (const std::uint32_t slot : path_of(bundles_[bundle])) {
      added[link_of_slot_[slot]] += bundle_bytes[bundle];
    }
  }
  if (flows.is_endless()) {
    std::fill(added.begin(), added.end(), 0.0);
  }
  double busiest = 0.0;
  for (std::uint32_t link = 0; link < added.size(); ++link) {
    link_bytes_[link] += added[link];
    busiest = std::max(busiest, added[link] / capacity_[slot_of_link_[link]]);
  }
  window_ = std::max(is_alone ? 0.0 : window_, accuracy_.window_fraction * busiest);

  std::uint32_t total = 0;
  for (std::uint32_t bundle_id = 0; bundle_id < counts.size(); ++bundle_id) {
    const std::uint32_t count = counts[bundle_id];
    if (count == 0) {
      continue;
    }
    Bundle& bundle = bundles_[bundle_id];
    if (bundle.num_bundled == 0) {
      bundle.runs.clear();
      served_[bundle_id] = 0.0;
      head_key_[bundle_id] = kInfinite;
    }
    bundle.runs.push_back(
        {id, total, total + count, served_[bundle_id] + bundle_bytes[bundle_id] / count});
    bundle.num_bundled += count;
    const std::uint32_t end =
        bundle.in_counts + (bundle.in_group == kNoIndex ? 0 : groups_[bundle.in_group].num_ports);
    for (std::uint32_t i = bundle.out_counts; i < end; ++i) {
      bundle.max_count = std::max(bundle.max_count, counts_[i]);
    }
    head_key_[bundle_id] = std::min(head_key_[bundle_id], bundle.runs.back().key);
    total += count;
  }
  transfer.is_listed =
      !(flows.is_uniform() && is_alone && has_all_ports && are_port_latencies_even_);
  if (transfer.is_listed) {
    transfer.is_listed = false;
    list_flows(id);
  } else {
    transfer.bundle_ends.assign(bundles_.size(), kInfinite);
  }
  for (const std::uint32_t flow : immediate) {
    complete_flow(id, flow, now);
  }
  counters_.singles += arrivals.singles.size();
  if (!arrivals.singles.empty()) {
    arrivals.clock = now;
    components_.push_back(std::move(arrivals));
    next_step_.push_back(kInfinite);
  }
  return id;
}

void FlowState::list_flows(std::uint32_t id) {
  Transfer& transfer = transfers_[id];
  if (transfer.is_listed) {
    return;
  }
  const TransferSet& flows = transfer.set;
  if (transfer.ends.empty()) {
    transfer.ends.assign(flows.num_flows(), kInfinite);
  }
  for (const auto& [flow, end] : transfer.other_ends) {
    transfer.ends[flow] = end;
  }
  // Bundles of this transfer with flows still under way; of the others only the ends are needed.
  std::vector<std::uint32_t> next(bundles_.size(), kNoIndex);
  std::vector<const Run*> run_of(bundles_.size(), nullptr);
  std::uint32_t total = 0;
  for (std::uint32_t bundle = 0; bundle < bundles_.size(); ++bundle) {
    for (Run& run : bundles_[bundle].runs) {
      if (run.transfer == id) {
        next[bundle] = total;
        total += run.end - run.head;
        run.end = total;
        run.head = next[bundle];
        run_of[bundle] = &run;
      }
    }
  }
  transfer.flows.resize(total);
  for_each_route(
      plan_, flows, [&](std::uint32_t flow, std::uint32_t, std::uint32_t, const FlowRoute& route) {
        const double bytes = flows.bytes(flow);
        const std::uint32_t path = core_path(route.path);
        if (bytes == 0.0 || path == kNoIndex) {
          return;
        }
        const std::uint32_t bundle_id =
            find_bundle(path, group_of_link(route.out_port), group_of_link(route.in_port));
        const Bundle& bundle = bundles_[bundle_id];
        if (next[bundle_id] == kNoIndex) {
          transfer.ends[flow] = transfer.bundle_ends[bundle_id];
          return;
        }
        const double key = flows.is_uniform() ? run_of[bundle_id]->key : served_[bundle_id] + bytes;
        BundledFlow entry{key, flow, 0, 0};
        if (route.out_port != kNoIndex) {
          entry.out_local = static_cast<std::uint16_t>(slot_of_link_[route.out_port] -
                                                       groups_[bundle.out_group].first_slot);
        }
        if (route.in_port != kNoIndex) {
          entry.in_local = static_cast<std::uint16_t>(slot_of_link_[route.in_port] -
                                                      groups_[bundle.in_group].first_slot);
        }
        transfer.flows[next[bundle_id]++] = entry;
      });
  for (std::uint32_t bundle_id = 0; bundle_id < bundles_.size(); ++bundle_id) {
    if (run_of[bundle_id] == nullptr) {
      continue;
    }
    const Run& run = *run_of[bundle_id];
    if (!flows.is_uniform()) {
      std::sort(transfer.flows.begin() + run.head, transfer.flows.begin() + run.end,
                [](const BundledFlow& a, const BundledFlow& b) {
                  return a.key != b.key ? a.key < b.key : a.flow < b.flow;
                });
    }
    // A first estimate stood here until the keys were known.
    double head_key = kInfinite;
    for (const Run& other : bundles_[bundle_id].runs) {
      if (other.head < other.end) {
        head_key = std::min(head_key, transfers_[other.transfer].flows[other.head].key);
      }
    }
    head_key_[bundle_id] = head_key;
  }
  transfer.is_listed = true;
  transfer.bundle_ends = {};
  transfer.other_ends = {};
}

void FlowState::list_all() {
  for (std::uint32_t id = 0; id < transfers_.size(); ++id) {
    if (transfers_[id].num_left > 0) {
      list_flows(id);
    }
  }
}

std::span<const double> FlowState::ends_of(std::uint32_t id) {
  Transfer& transfer = transfers_[id];
  if (!transfer.is_listed) {
    transfer.ends.assign(transfer.set.num_flows(), kInfinite);
    for_each_route(plan_, transfer.set,
                   [&](std::uint32_t flow, std::uint32_t, std::uint32_t, const FlowRoute& route) {
                     const std::uint32_t path = core_path(route.path);
                     if (path != kNoIndex) {
                       transfer.ends[flow] = transfer.bundle_ends[find_bundle(
                           path, group_of_link(route.out_port), group_of_link(route.in_port))];
                     }
                   });
    for (const auto& [flow, end] : transfer.other_ends) {
      transfer.ends[flow] = end;
    }
  }
  return transfer.ends;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/flow_network.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "sim/base/error.h"
#include "sim/base/stop.h"
#include "sim/engine/flow_network_state.h"

namespace moesim {

void FlowState::settle(Component& component, double now) {
  const double elapsed = now - component.clock;
  if (elapsed <= 0.0) {
    return;
  }
  for (const std::uint32_t bundle : component.bundles) {
    served_[bundle] += rate_[bundle] * elapsed;
  }
  for (Single& single : component.singles) {
    single.remaining -= single.rate * elapsed;
  }
  component.clock = now;
}

double FlowState::route_latency(std::uint32_t out, std::uint32_t in, std::uint32_t path) const {
  return (out == kNoIndex ? 0.0 : latency_[out]) + (in == kNoIndex ? 0.0 : latency_[in]) +
         (path == kNoIndex ? 0.0 : path_latency_[path]);
}

void FlowState::count_arrivals(std::uint32_t id, std::uint32_t rank, std::uint32_t count,
                               double arrival) {
  Transfer& transfer = transfers_[id];
  transfer.rank_end[rank] = std::max(transfer.rank_end[rank], arrival);
  transfer.rank_left[rank] -= count;
  if (transfer.rank_left[rank] == 0) {
    arrivals_.push_back(
        {SimTime::from_seconds(Seconds(transfer.rank_end[rank])), TransferId{id}, rank});
    std::push_heap(arrivals_.begin(), arrivals_.end(), std::greater<>());
  }
}

void FlowState::complete_flow(std::uint32_t id, std::uint32_t flow, double arrival) {
  Transfer& transfer = transfers_[id];
  if (transfer.is_listed) {
    transfer.ends[flow] = arrival;
  } else {
    transfer.other_ends.emplace_back(flow, arrival);
  }
  --transfer.num_left;
  count_arrivals(id, transfer.set.source(flow), 1, arrival);
  count_arrivals(id, transfer.set.destination(flow), 1, arrival);
}

void FlowState::complete_run(std::uint32_t bundle_id, const Run& run, double end) {
  Bundle& bundle = bundles_[bundle_id];
  Transfer& transfer = transfers_[run.transfer];
  const PortGroup& out = groups_[bundle.out_group];
  const PortGroup& in = groups_[bundle.in_group];
  end += path_latency_[bundle.path] + latency_[out.first_slot] + latency_[in.first_slot];
  transfer.bundle_ends[bundle_id] = end;
  transfer.num_left -= bundle.num_bundled;
  bundle.num_bundled = 0;
  const auto count_ports = [&](const PortGroup& ports, std::uint32_t offset) {
    for (std::uint32_t i = 0; i < ports.num_ports; ++i) {
      std::int32_t& count = counts_[offset + i];
      if (count > 0) {
        count_arrivals(run.transfer, rank_of_slot_[ports.first_slot + i],
                       static_cast<std::uint32_t>(count), end);
        count = 0;
      }
    }
  };
  count_ports(out, bundle.out_counts);
  count_ports(in, bundle.in_counts);
}

void FlowState::complete_until(std::uint32_t id, double horizon) {
  Component& component = components_[id];
  const double clock = component.clock;
  for (const std::uint32_t bundle_id : component.bundles) {
    Bundle& bundle = bundles_[bundle_id];
    const double rate = rate_[bundle_id];
    const double served = served_[bundle_id];
    const double reach = served + rate * (horizon - clock);
    if (bundle.num_bundled == 0 || head_key_[bundle_id] > reach) {
      continue;
    }
    double head_key = kInfinite;
    for (Run& run : bundle.runs) {
      if (!transfers_[run.transfer].is_listed) {
        complete_run(bundle_id, run, clock + (run.key - served) / rate);
        break;
      }
      const std::vector<BundledFlow>& flows = transfers_[run.transfer].flows;
      for (; run.head < run.end; ++run.head) {
        const BundledFlow& entry = flows[run.head];
        if (entry.flow == kNoIndex) {
          continue;
        }
        if (entry.key > reach) {
          head_key = std::min(head_key, entry.key);
          break;
        }
        double latency = path_latency_[bundle.path];
        if (bundle.out_group != kNoIndex) {
          --counts_[bundle.out_counts + entry.out_local];
          latency += latency_[groups_[bundle.out_group].first_slot + entry.out_local];
        }
        if (bundle.in_group != kNoIndex) {
          --counts_[bundle.in_counts + entry.in_local];
          latency += latency_[groups_[bundle.in_group].first_slot + entry.in_local];
        }
        --bundle.num_bundled;
        complete_flow(run.transfer, entry.flow, clock + (entry.key - served) / rate + latency);
      }
    }
    head_key_[bundle_id] = head_key;
    std::erase_if(bundle.runs, [&bundle](const Run& run) {
      return bundle.num_bundled == 0 || run.head == run.end;
    });
  }
  for (std::size_t i = 0; i < component.singles.size();) {
    const Single single = component.singles[i];
    if (single.remaining > single.rate * (horizon - clock)) {
      ++i;
      continue;
    }
    std::uint32_t path = kNoIndex;
    if (single.bundle != kNoIndex) {
      --bundles_[single.bundle].num_singles;
      path = bundles_[single.bundle].path;
    }
    complete_flow(
        single.transfer, single.flow,
        clock + single.remaining / single.rate + route_latency(single.out, single.in, path));
    component.singles[i] = component.singles.back();
    component.singles.pop_back();
    component.lists_stale = true;
  }
}

void FlowState::schedule(std::uint32_t id) {
  const Component& component = components_[id];
  double soonest = kInfinite;
  for (const std::uint32_t bundle : component.bundles) {
    if (bundles_[bundle].num_bundled > 0) {
      soonest = std::min(soonest, (head_key_[bundle] - served_[bundle]) / rate_[bundle]);
    }
  }
  for (const Single& single : component.singles) {
    soonest = std::min(soonest, single.remaining / single.rate);
  }
  soonest = std::max(soonest, 0.0);
  next_step_[id] = component.clock + soonest;
  if (uses_window(id)) {
    // On one grid for all components, so that those that depend on several are solved once.
    const double slot = std::floor(component.clock / window_ + 1e-6) + 1.0;
    next_step_[id] = std::max(next_step_[id], slot * window_);
  }
}

std::uint32_t FlowState::earliest() const {
  const auto at = std::min_element(next_step_.begin(), next_step_.end());
  return at == next_step_.end() || *at == kInfinite
             ? kNoIndex
             : static_cast<std::uint32_t>(at - next_step_.begin());
}

double FlowState::look_ahead(std::uint32_t id, double now) const {
  // Ends within a picosecond are simultaneous: that is the resolution of engine time.
  const double instant = 1e-12 + 1e-15 * now;
  return uses_window(id) ? std::max(instant, 0.5 * window_) : instant;
}

bool FlowState::uses_window(std::uint32_t id) const {
  if (window_ <= 0.0) {
    return false;
  }
  std::uint64_t num_live = components_[id].singles.size();
  for (const std::uint32_t bundle : components_[id].bundles) {
    num_live += bundles_[bundle].num_bundled;
  }
  return num_live >= accuracy_.window_min_flows;
}

void FlowState::step(std::uint32_t id) {
  ++counters_.steps;
  const double now = next_step_[id];
  std::vector<std::uint32_t> seeds;
  for (std::uint32_t other = 0; other < next_step_.size(); ++other) {
    if (next_step_[other] == now) {
      seeds.push_back(other);
    }
  }
  resolve(seeds, now);
}

FlowNetwork::FlowNetwork(const RoutePlan& plan, const FlowAccuracy& accuracy)
    : state_(std::make_unique<FlowState>(plan, accuracy)) {}
FlowNetwork::~FlowNetwork() = default;
FlowNetwork::FlowNetwork(FlowNetwork&&) noexcept = default;
FlowNetwork& FlowNetwork::operator=(FlowNetwork&&) noexcept = default;

TransferId FlowNetwork::start(SimTime now, TransferSet transfer) {
  FlowState& state = *state_;
  const double seconds = now.seconds().value();
  MOESIM_CHECK(now >= state.now_, "transfers start in order of time");
  state.now_ = now;
  for (std::uint32_t id = state.earliest(); id != kNoIndex && state.next_step_[id] < seconds;
       id = state.earliest()) {
    state.step(id);
  }
  for (Component& component : state.components_) {
    if (component.is_alive) {
      state.settle(component, seconds);  // new flows take their place by service received so far
    }
  }
  const std::uint32_t id = state.add_transfer(seconds, std::move(transfer));
  state.rebuild_components(seconds);
  std::vector<std::uint32_t> all(state.components_.size());
  for (std::uint32_t i = 0; i < all.size(); ++i) {
    all[i] = i;
  }
  state.resolve(all, seconds);
  return TransferId{id};
}

std::optional<SimTime> FlowNetwork::next_change() const {
  std::optional<SimTime> next;
  if (const std::uint32_t id = state_->earliest(); id != kNoIndex) {
    next = std::max(state_->now_, SimTime::from_seconds(Seconds(state_->next_step_[id])));
  }
  if (!state_->arrivals_.empty()) {
    const SimTime arrival = std::max(state_->now_, state_->arrivals_.front().time);
    next = next ? std::min(*next, arrival) : arrival;
  }
  return next;
}

std::vector<RankCompletion> FlowNetwork::advance_to(SimTime now) {
  FlowState& state = *state_;
  MOESIM_CHECK(now >= state.now_, "time does not run backwards");
  for (std::uint32_t id = state.earliest();
       id != kNoIndex && SimTime::from_seconds(Seconds(state.next_step_[id])) <= now;
       id = state.earliest()) {
    state.step(id);
  }
  state.now_ = now;
  std::vector<RankCompletion> delivered;
  while (!state.arrivals_.empty() && state.arrivals_.front().time <= now) {
    delivered.push_back(state.arrivals_.front());
    std::pop_heap(state.arrivals_.begin(), state.arrivals_.end(), std::greater<>());
    state.arrivals_.pop_back();
  }
  return delivered;
}

SimTime FlowNetwork::finish() {
  while (const std::optional<SimTime> next = next_change()) {
    check_stopped();
    advance_to(*next);
  }
  return state_->now_;
}

std::span<const double> FlowNetwork::flow_ends(TransferId transfer) const {
  return state_->ends_of(static_cast<std::uint32_t>(transfer));
}

void FlowNetwork::forget(TransferId transfer) {
  Transfer& kept = state_->transfers_[static_cast<std::uint32_t>(transfer)];
  MOESIM_CHECK(kept.num_left == 0, "only a completed transfer can be forgotten");
  kept = Transfer{};
}

std::span<const double> FlowNetwork::link_bytes() const { return state_->link_bytes_; }

std::vector<BytesPerSecond> FlowNetwork::link_rates() const {
  const FlowState& state = *state_;
  std::vector<BytesPerSecond> rates(state.link_bytes_.size());
  const auto add = [&](std::uint32_t slot, double rate) {
    rates[state.link_of_slot_[slot]] += BytesPerSecond(rate);
  };
  const auto add_path = [&](const Bundle& bundle, double rate) {
    for (std::uint32_t i = state.path_offset_[bundle.path]; i < state.path_offset_[bundle.path + 1];
         ++i) {
      add(state.path_slots_[i], rate);
    }
  };
  for (std::uint32_t id = 0; id < state.bundles_.size(); ++id) {
    const Bundle& bundle = state.bundles_[id];
    if (bundle.num_bundled == 0) {
      continue;
    }
    add_path(bundle, state.rate_[id] * bundle.num_bundled);
    const auto add_ports = [&](std::uint32_t group, std::uint32_t counts) {
      if (group != kNoIndex) {
        for (std::uint32_t i = 0; i < state.groups_[group].num_ports; ++i) {
          add(state.groups_[group].first_slot + i, state.rate_[id] * state.counts_[counts + i]);
        }
      }
    };
    add_ports(bundle.out_group, bundle.out_counts);
    add_ports(bundle.in_group, bundle.in_counts);
  }
  for (const Component& component : state.components_) {
    for (const Single& single : component.singles) {
      if (single.out != kNoIndex) {
        add(single.out, single.rate);
      }
      if (single.in != kNoIndex) {
        add(single.in, single.rate);
      }
      if (single.bundle != kNoIndex) {
        add_path(state.bundles_[single.bundle], single.rate);
      }
    }
  }
  return rates;
}

const FlowCounters& FlowNetwork::counters() const { return state_->counters_; }

}  // namespace moesim

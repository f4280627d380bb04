// SPDX-License-Identifier: Apache-2.0
// Progressive filling of one component, and of those that depend on it.
//
// While all open rates rise together, the link with the least (capacity - fixed) / open saturates
// first and fixes its open flows at that level. Fixing flows below a link's own level only raises
// that level, so a heap of old levels is a heap of lower bounds: the top is looked at again and
// either still right or put back.
#include <algorithm>

#include "sim/base/error.h"
#include "sim/engine/flow_network_state.h"

namespace moesim {

namespace {

void sift_down(std::vector<FlowState::Level>& heap, std::size_t at) {
  const FlowState::Level item = heap[at];
  for (;;) {
    std::size_t child = 2 * at + 1;
    if (child >= heap.size()) {
      break;
    }
    if (child + 1 < heap.size() && heap[child + 1].level < heap[child].level) {
      ++child;
    }
    if (heap[child].level >= item.level) {
      break;
    }
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = item;
}

void add_scaled(double* to, const std::int32_t* counts, std::uint32_t size, double factor) {
  for (std::uint32_t i = 0; i < size; ++i) {
    to[i] += factor * counts[i];
  }
}

}  // namespace

void FlowState::add_single(Component& component, const Single& single) {
  const auto index = static_cast<std::uint32_t>(component.singles.size());
  component.singles.push_back(single);
  if (component.lists_stale) {
    return;
  }
  const auto link = [index](std::vector<std::uint32_t>& next, std::vector<std::uint32_t>& first,
                            std::uint32_t at) {
    next.push_back(kNoIndex);
    if (at != kNoIndex) {
      next.back() = first[at];
      first[at] = index;
    }
  };
  link(component.next_out, first_of_slot_, single.out);
  link(component.next_in, first_in_slot_, single.in);
  link(component.next_of_bundle, first_of_bundle_, single.bundle);
}

void FlowState::rebuild_lists(Component& component) {
  for (const std::uint32_t group : component.groups) {
    const PortGroup& ports = groups_[group];
    for (std::uint32_t slot = ports.first_slot; slot < ports.first_slot + ports.num_ports; ++slot) {
      first_of_slot_[slot] = kNoIndex;
      first_in_slot_[slot] = kNoIndex;
    }
  }
  for (const std::uint32_t bundle : component.bundles) {
    first_of_bundle_[bundle] = kNoIndex;
  }
  component.next_out.clear();
  component.next_in.clear();
  component.next_of_bundle.clear();
  component.lists_stale = false;
  std::vector<Single> singles;
  singles.swap(component.singles);
  component.singles.reserve(singles.size());
  for (const Single& single : singles) {
    add_single(component, single);
  }
}

void FlowState::open_component(std::uint32_t id) {
  Component& component = components_[id];
  const auto is_dead = [this](std::uint32_t bundle) { return !bundles_[bundle].is_live(); };
  std::erase_if(component.bundles, is_dead);
  if (component.lists_stale) {
    rebuild_lists(component);
  }
  for (const std::uint32_t slot : component.core_slots) {
    fixed_[slot] = 0.0;
    open_[slot] = 0.0;
    is_saturated_[slot] = 0;
  }
  for (const std::uint32_t bundle : component.bundles) {
    is_bundle_open_[bundle] = 1;
    const double count = bundles_[bundle].num_bundled;
    for (const std::uint32_t slot : path_of(bundles_[bundle])) {
      open_[slot] += count;
    }
  }
  for (const std::uint32_t group : component.groups) {
    PortGroup& ports = groups_[group];
    std::erase_if(ports.bundles, is_dead);
    const std::uint32_t first = ports.first_slot;
    for (std::uint32_t i = 0; i < ports.num_ports; ++i) {
      fixed_[first + i] = 0.0;
      open_[first + i] = 0.0;
      is_saturated_[first + i] = 0;
    }
    const bool is_stale = !ports.is_load_fresh;
    if (is_stale) {
      std::fill_n(foreign_load_.begin() + first, ports.num_ports, 0.0);
      ports.fastest_foreign = 0.0;
      ports.is_load_fresh = true;
    }
    if (is_stale || !component.bundles.empty()) {
      for (const std::uint32_t bundle : ports.bundles) {
        const bool is_own = bundles_[bundle].component == id;
        if (!is_own && !is_stale) {
          continue;
        }
        double* to = (is_own ? open_ : foreign_load_).data() + first;
        const double factor = is_own ? 1.0 : rate_[bundle];
        if (!is_own && bundles_[bundle].num_bundled > 0) {
          ports.fastest_foreign = std::max(ports.fastest_foreign, factor);
        }
        if (bundles_[bundle].out_group == group) {
          add_scaled(to, counts_.data() + bundles_[bundle].out_counts, ports.num_ports, factor);
        }
        if (bundles_[bundle].in_group == group) {
          add_scaled(to, counts_.data() + bundles_[bundle].in_counts, ports.num_ports, factor);
        }
      }
    }
    std::copy_n(foreign_load_.begin() + first, ports.num_ports, fixed_.begin() + first);
  }
  for (Single& single : component.singles) {
    single.rate = -1.0;
    if (single.out != kNoIndex) {
      open_[single.out] += 1.0;
    }
    if (single.in != kNoIndex) {
      open_[single.in] += 1.0;
    }
    if (single.bundle != kNoIndex) {
      for (const std::uint32_t slot : path_of(bundles_[single.bundle])) {
        open_[slot] += 1.0;
      }
    }
  }
}

void FlowState::fix_single(Component& component, std::uint32_t index, double level) {
  Single& single = component.singles[index];
  single.rate = level;
  const auto fix = [&](std::uint32_t slot) {
    fixed_[slot] += level;
    open_[slot] -= 1.0;
  };
  if (single.out != kNoIndex) {
    fix(single.out);
  }
  if (single.in != kNoIndex) {
    fix(single.in);
  }
  if (single.bundle != kNoIndex) {
    for (const std::uint32_t slot : path_of(bundles_[single.bundle])) {
      fix(slot);
    }
  }
}

void FlowState::fix_bundle(std::uint32_t id, std::uint32_t bundle_id, double level) {
  Component& component = components_[id];
  const Bundle& bundle = bundles_[bundle_id];
  is_bundle_open_[bundle_id] = 0;
  rate_[bundle_id] = level;
  const double count = bundle.num_bundled;
  for (const std::uint32_t slot : path_of(bundle)) {
    fixed_[slot] += count * level;
    open_[slot] -= count;
  }
  const auto fix_ports = [&](std::uint32_t group, std::uint32_t offset) {
    if (group != kNoIndex && groups_[group].component == id) {
      const PortGroup& ports = groups_[group];
      add_scaled(fixed_.data() + ports.first_slot, counts_.data() + offset, ports.num_ports, level);
      add_scaled(open_.data() + ports.first_slot, counts_.data() + offset, ports.num_ports, -1.0);
    }
  };
  fix_ports(bundle.out_group, bundle.out_counts);
  fix_ports(bundle.in_group, bundle.in_counts);
  if (bundle.num_singles > 0) {
    for (std::uint32_t i = first_of_bundle_[bundle_id]; i != kNoIndex;
         i = component.next_of_bundle[i]) {
      if (component.singles[i].rate < 0.0) {
        fix_single(component, i, level);
      }
    }
  }
}

void FlowState::detach(std::uint32_t id, std::uint32_t bundle_id, std::uint32_t slot) {
  Component& component = components_[id];
  Bundle& bundle = bundles_[bundle_id];
  const std::uint32_t group = group_of_slot_[slot];
  const std::uint32_t local = slot - groups_[group].first_slot;
  for (const Run& run : bundle.runs) {
    list_flows(run.transfer);
  }
  head_key_[bundle_id] = kInfinite;
  for (Run& run : bundle.runs) {
    std::vector<BundledFlow>& flows = transfers_[run.transfer].flows;
    for (std::uint32_t i = run.head; i < run.end; ++i) {
      BundledFlow& entry = flows[i];
      const bool is_here = (bundle.out_group == group && entry.out_local == local) ||
                           (bundle.in_group == group && entry.in_local == local);
      if (entry.flow == kNoIndex || !is_here) {
        continue;
      }
      Single single{entry.key - served_[bundle_id],
                    -1.0,
                    kNoIndex,
                    kNoIndex,
                    bundle_id,
                    run.transfer,
                    entry.flow};
      if (bundle.out_group != kNoIndex) {
        single.out = groups_[bundle.out_group].first_slot + entry.out_local;
        --counts_[bundle.out_counts + entry.out_local];
      }
      if (bundle.in_group != kNoIndex) {
        single.in = groups_[bundle.in_group].first_slot + entry.in_local;
        --counts_[bundle.in_counts + entry.in_local];
      }
      entry.flow = kNoIndex;
      --bundle.num_bundled;
      ++bundle.num_singles;
      ++counters_.singles;
      add_single(component, single);
      for (const std::uint32_t other : {bundle.out_group, bundle.in_group}) {
        if (other != kNoIndex && groups_[other].component != id) {
          wanted_groups_.push_back(other);
        }
      }
    }
    while (run.head < run.end && flows[run.head].flow == kNoIndex) {
      ++run.head;
    }
    if (run.head < run.end) {
      head_key_[bundle_id] = std::min(head_key_[bundle_id], flows[run.head].key);
    }
  }
}

bool FlowState::saturate_port(std::uint32_t id, std::uint32_t slot, double level) {
  const PortGroup& ports = groups_[group_of_slot_[slot]];
  const std::uint32_t local = slot - ports.first_slot;
  const double bearable = level * (1.0 + 10.0 * kSlop);
  const bool concerns_bundles =
      !components_[id].bundles.empty() || ports.fastest_foreign > bearable;
  for (const std::uint32_t bundle_id : ports.bundles) {
    if (!concerns_bundles) {
      break;
    }
    const Bundle& bundle = bundles_[bundle_id];
    const std::uint32_t group = group_of_slot_[slot];
    const bool touches = (bundle.out_group == group && counts_[bundle.out_counts + local] > 0) ||
                         (bundle.in_group == group && counts_[bundle.in_counts + local] > 0);
    if (!touches) {
      continue;
    }
    if (bundle.component == id) {
      if (is_bundle_open_[bundle_id]) {
        detach(id, bundle_id, slot);
      }
    } else if (rate_[bundle_id] > bearable) {
      return false;  // a flow assumed to pass below would be held back: solve it here
    }
  }
  Component& component = components_[id];
  for (std::uint32_t i = first_of_slot_[slot]; i != kNoIndex; i = component.next_out[i]) {
    if (component.singles[i].rate < 0.0) {
      fix_single(component, i, level);
    }
  }
  for (std::uint32_t i = first_in_slot_[slot]; i != kNoIndex; i = component.next_in[i]) {
    if (component.singles[i].rate < 0.0) {
      fix_single(component, i, level);
    }
  }
  return true;
}

bool FlowState::fill(std::uint32_t id) {
  ++counters_.fills;
  wanted_groups_.clear();
  open_component(id);
  heap_.clear();
  // At equal levels core links go first: they fix whole bundles and detach nothing.
  const auto level_of = [this](std::uint32_t slot) {
    const double level = std::max(0.0, capacity_[slot] - fixed_[slot]) / open_[slot];
    return slot < num_ports_ ? level * (1.0 + kSlop) : level;
  };
  for (const std::uint32_t slot : components_[id].core_slots) {
    if (open_[slot] > 0.0) {
      heap_.push_back({level_of(slot), slot});
    }
  }
  for (const std::uint32_t group : components_[id].groups) {
    const PortGroup& ports = groups_[group];
    for (std::uint32_t slot = ports.first_slot; slot < ports.first_slot + ports.num_ports; ++slot) {
      if (open_[slot] > 0.0) {
        heap_.push_back({level_of(slot), slot});
      } else if (fixed_[slot] > capacity_[slot] * (1.0 + 10.0 * kSlop)) {
        close_over_bundles(id);
        return false;
      }
    }
  }
  for (std::size_t i = heap_.size() / 2; i-- > 0;) {
    sift_down(heap_, i);
  }
  double level = 0.0;
  while (!heap_.empty()) {
    const std::uint32_t slot = heap_[0].slot;
    const bool is_open = open_[slot] > 0.5;
    if (is_open) {
      const double now = level_of(slot);
      if (now > heap_[0].level * (1.0 + 0.1 * kSlop)) {
        heap_[0].level = now;
        sift_down(heap_, 0);
        continue;
      }
    }
    heap_[0] = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) {
      sift_down(heap_, 0);
    }
    if (!is_open) {
      continue;
    }
    level = std::max(level, (capacity_[slot] - fixed_[slot]) / open_[slot]);  // rounding apart
    if (slot < num_ports_) {
      if (!saturate_port(id, slot, level)) {
        close_over_bundles(id);
        return false;
      }
      continue;
    }
    std::vector<std::uint32_t>& through = core_bundles_[slot - num_ports_];
    std::size_t kept = 0;
    for (const std::uint32_t bundle : through) {
      if (bundles_[bundle].is_live()) {
        through[kept++] = bundle;
        if (is_bundle_open_[bundle]) {
          fix_bundle(id, bundle, level);
        }
      }
    }
    through.resize(kept);
  }
  if (!wanted_groups_.empty()) {
    for (const std::uint32_t group : wanted_groups_) {
      merge_group(id, group);
    }
    close_over_bundles(id);
    return false;
  }
  return true;
}

bool FlowState::group_overflows(std::uint32_t id) {
  ++counters_.rechecks;
  PortGroup& group = groups_[id];
  scratch_.assign(group.num_ports, 0.0);
  std::erase_if(group.bundles,
                [this](std::uint32_t bundle) { return !bundles_[bundle].is_live(); });
  for (const std::uint32_t bundle : group.bundles) {
    if (bundles_[bundle].out_group == id) {
      add_scaled(scratch_.data(), counts_.data() + bundles_[bundle].out_counts, group.num_ports,
                 rate_[bundle]);
    }
    if (bundles_[bundle].in_group == id) {
      add_scaled(scratch_.data(), counts_.data() + bundles_[bundle].in_counts, group.num_ports,
                 rate_[bundle]);
    }
  }
  group.slack = kInfinite;
  bool overflows = false;
  for (std::uint32_t i = 0; i < group.num_ports; ++i) {
    const double capacity = capacity_[group.first_slot + i];
    overflows = overflows || scratch_[i] > capacity * (1.0 + 10.0 * kSlop);
    group.slack = std::min(group.slack, capacity - scratch_[i]);
  }
  return overflows;
}

bool FlowState::watch_ports(std::uint32_t id, std::vector<std::uint32_t>& dependents) {
  std::vector<std::uint32_t> spent;
  for (const std::uint32_t bundle_id : components_[id].bundles) {
    Bundle& bundle = bundles_[bundle_id];
    const double rise = rate_[bundle_id] - bundle.watched_rate;
    bundle.watched_rate = rate_[bundle_id];
    for (const std::uint32_t group_id : {bundle.out_group, bundle.in_group}) {
      if (group_id == kNoIndex) {
        continue;
      }
      PortGroup& group = groups_[group_id];
      if (group.component == id) {
        continue;
      }
      group.is_load_fresh = false;
      if (group.component != kNoIndex) {
        dependents.push_back(group.component);
      } else if (rise > 0.0 && bundle.num_bundled > 0) {
        group.slack -= rise * bundle.max_count;
        if (group.slack < 0.0) {
          spent.push_back(group_id);
        }
      }
    }
  }
  std::sort(spent.begin(), spent.end());
  spent.erase(std::unique(spent.begin(), spent.end()), spent.end());
  bool has_grown = false;
  for (const std::uint32_t group : spent) {
    if (group_overflows(group)) {
      merge_group(id, group);
      has_grown = true;
    }
  }
  if (has_grown) {
    close_over_bundles(id);
  }
  std::sort(dependents.begin(), dependents.end());
  dependents.erase(std::unique(dependents.begin(), dependents.end()), dependents.end());
  return !has_grown;
}

void FlowState::resolve(const std::vector<std::uint32_t>& seeds, double now) {
  // Components with bundles first, then the ports that depend on them; a port component that turns
  // joint may in turn concern other ports.
  std::vector<std::uint32_t> work, later, dependents;
  for (const std::uint32_t seed : seeds) {
    (components_[seed].bundles.empty() ? later : work).push_back(seed);
  }
  while (!work.empty() || !later.empty()) {
    std::vector<std::uint32_t>& list = work.empty() ? later : work;
    const std::uint32_t id = list.back();
    list.pop_back();
    if (!components_[id].is_alive) {
      continue;
    }
    settle(components_[id], now);
    complete_until(id, now + look_ahead(id, now));
    do {
      while (!fill(id)) {
      }
      dependents.clear();
    } while (!watch_ports(id, dependents));
    for (const std::uint32_t dependent : dependents) {
      if (std::find(later.begin(), later.end(), dependent) == later.end()) {
        later.push_back(dependent);
      }
    }
    schedule(id);
    Component& component = components_[id];
    if (component.bundles.empty() && component.singles.empty()) {
      for (const std::uint32_t group : component.groups) {
        groups_[group].component = kNoIndex;
        groups_[group].slack = -1.0;
      }
      component.groups.clear();
      component.is_alive = false;
      next_step_[id] = kInfinite;
    }
  }
}

}  // namespace moesim

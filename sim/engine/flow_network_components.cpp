// SPDX-License-Identifier: Apache-2.0
// Which links must be solved together: found anew when a transfer starts, joined when ports bind.
#include <algorithm>
#include <numeric>

#include "sim/base/error.h"
#include "sim/engine/flow_network_state.h"

namespace moesim {

namespace {

class DisjointSets {
 public:
  explicit DisjointSets(std::size_t size) : parent_(size) {
    std::iota(parent_.begin(), parent_.end(), 0u);
  }
  std::uint32_t find(std::uint32_t x) {
    while (parent_[x] != x) {
      parent_[x] = parent_[parent_[x]];
      x = parent_[x];
    }
    return x;
  }
  void join(std::uint32_t a, std::uint32_t b) {
    a = find(a);
    b = find(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<std::uint32_t> parent_;
};

}  // namespace

void FlowState::rebuild_components(double now) {
  std::vector<Single> singles;
  for (Component& component : components_) {
    if (component.is_alive) {
      settle(component, now);
      singles.insert(singles.end(), component.singles.begin(), component.singles.end());
    }
  }
  components_.clear();
  next_step_.clear();
  for (auto& list : core_bundles_) {
    list.clear();
  }
  for (PortGroup& group : groups_) {
    group.bundles.clear();
    group.component = kNoIndex;
    group.slack = -1.0;
    group.is_load_fresh = false;
  }
  // Elements: core links, then port groups. A single that left a bundle ties its ports to the core.
  const auto num_core = static_cast<std::uint32_t>(core_bundles_.size());
  DisjointSets sets(num_core + groups_.size());
  std::vector<char> is_solved(groups_.size(), 0);
  for (std::uint32_t id = 0; id < bundles_.size(); ++id) {
    Bundle& bundle = bundles_[id];
    bundle.component = kNoIndex;
    bundle.watched_rate = 0.0;
    if (!bundle.is_live()) {
      continue;
    }
    const std::span<const std::uint32_t> path = path_of(bundle);
    for (const std::uint32_t slot : path) {
      core_bundles_[slot - num_ports_].push_back(id);
      sets.join(path[0] - num_ports_, slot - num_ports_);
    }
    for (const std::uint32_t group : {bundle.out_group, bundle.in_group}) {
      if (group != kNoIndex) {
        groups_[group].bundles.push_back(id);
      }
    }
  }
  std::vector<char> is_joint(groups_.size(), 0);
  for (const Single& single : singles) {
    std::uint32_t element = kNoIndex;
    if (single.bundle != kNoIndex) {
      element = path_of(bundles_[single.bundle])[0] - num_ports_;
    }
    for (const std::uint32_t slot : {single.out, single.in}) {
      if (slot != kNoIndex) {
        const std::uint32_t group = group_of_slot_[slot];
        is_solved[group] = 1;
        if (element != kNoIndex) {
          sets.join(element, num_core + group);
        }
        element = num_core + group;
      }
    }
  }
  // A set with both ports and core links takes in every bundle that touches its ports, repeatedly.
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    std::vector<char> has_core(num_core + groups_.size(), 0);
    for (std::uint32_t core = 0; core < num_core; ++core) {
      has_core[sets.find(core)] = 1;
    }
    for (std::uint32_t group = 0; group < groups_.size(); ++group) {
      if (is_solved[group] && !is_joint[group] && has_core[sets.find(num_core + group)]) {
        is_joint[group] = 1;
        has_changed = true;
        for (const std::uint32_t id : groups_[group].bundles) {
          sets.join(num_core + group, path_of(bundles_[id])[0] - num_ports_);
        }
      }
    }
  }
  std::vector<std::uint32_t> component_of(num_core + groups_.size(), kNoIndex);
  const auto component_at = [&](std::uint32_t element) {
    std::uint32_t& id = component_of[sets.find(element)];
    if (id == kNoIndex) {
      id = static_cast<std::uint32_t>(components_.size());
      components_.emplace_back();
      components_.back().clock = now;
      next_step_.push_back(kInfinite);
    }
    return id;
  };
  for (std::uint32_t core = 0; core < num_core; ++core) {
    if (!core_bundles_[core].empty()) {
      components_[component_at(core)].core_slots.push_back(num_ports_ + core);
    }
  }
  for (std::uint32_t id = 0; id < bundles_.size(); ++id) {
    if (bundles_[id].is_live()) {
      bundles_[id].component = component_at(path_of(bundles_[id])[0] - num_ports_);
      components_[bundles_[id].component].bundles.push_back(id);
    }
  }
  for (std::uint32_t group = 0; group < groups_.size(); ++group) {
    if (is_solved[group]) {
      groups_[group].component = component_at(num_core + group);
      components_[groups_[group].component].groups.push_back(group);
    }
  }
  for (const Single& single : singles) {
    const std::uint32_t slot = single.out != kNoIndex ? single.out : single.in;
    const std::uint32_t element = slot != kNoIndex
                                      ? num_core + group_of_slot_[slot]
                                      : path_of(bundles_[single.bundle])[0] - num_ports_;
    components_[component_at(element)].singles.push_back(single);
  }
}

void FlowState::merge(std::uint32_t into, std::uint32_t other) {
  if (into == other) {
    return;
  }
  ++counters_.merges;
  Component& a = components_[into];
  Component& b = components_[other];
  settle(b, a.clock);
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), from.begin(), from.end());
    from.clear();
  };
  for (const std::uint32_t group : b.groups) {
    groups_[group].component = into;
  }
  for (const std::uint32_t bundle : b.bundles) {
    bundles_[bundle].component = into;
  }
  // What was a foreign load in either is one component's own now.
  for (const auto* component : {&a, &b}) {
    for (const std::uint32_t group : component->groups) {
      groups_[group].is_load_fresh = false;
    }
  }
  append(a.groups, b.groups);
  append(a.core_slots, b.core_slots);
  append(a.bundles, b.bundles);
  append(a.singles, b.singles);
  a.lists_stale = true;
  b.is_alive = false;
  next_step_[other] = kInfinite;
}

void FlowState::merge_group(std::uint32_t into, std::uint32_t group) {
  if (groups_[group].component != kNoIndex) {
    merge(into, groups_[group].component);
    return;
  }
  groups_[group].component = into;
  groups_[group].is_load_fresh = false;
  components_[into].groups.push_back(group);
  components_[into].lists_stale = true;
}

void FlowState::close_over_bundles(std::uint32_t component) {
  // `groups` grows while merging brings in joint components.
  for (std::size_t i = 0; i < components_[component].groups.size(); ++i) {
    for (const std::uint32_t id : groups_[components_[component].groups[i]].bundles) {
      if (bundles_[id].is_live()) {
        merge(component, bundles_[id].component);
      }
    }
  }
}

}  // namespace moesim

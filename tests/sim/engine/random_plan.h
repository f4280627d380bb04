// SPDX-License-Identifier: Apache-2.0
// Small random networks for property tests: ports in groups, core links, paths, absent parts.
#pragma once

#include <string>
#include <vector>

#include "sim/base/random.h"
#include "sim/cluster/route_plan.h"

namespace moesim {

/// `num_groups` switches with `per_group` ranks each. Between two switches a route takes one of a
/// few core paths of one to three random links; inside a switch only ports. Some ports are absent.
class RandomPlan : public RoutePlan {
 public:
  RandomPlan(std::uint64_t seed, std::uint32_t num_groups, std::uint32_t per_group)
      : num_groups_(num_groups), per_group_(per_group) {
    RandomStream random(seed, "random plan");
    // Scarce ports in one network, scarce core in the next: both kinds of bottleneck.
    const double port_scale = random.uniform() < 0.5 ? 1.0 : 4.0;
    const std::uint32_t num_ranks = num_groups * per_group;
    const bool is_even = random.uniform() < 0.3;
    const auto capacity = [&](double scale) {
      return BytesPerSecond(scale * (is_even ? 10.0 : 5.0 + 10.0 * random.uniform()));
    };
    const bool has_latency = random.uniform() < 0.5;
    for (std::uint32_t side = 0; side < 2; ++side) {
      for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
        links_.push_back({capacity(port_scale), Seconds(has_latency ? random.uniform() : 0.0),
                          side * num_groups + rank / per_group});
      }
    }
    const std::uint32_t num_core = 2 + static_cast<std::uint32_t>(random.below(3 * num_groups));
    for (std::uint32_t link = 0; link < num_core; ++link) {
      links_.push_back({capacity(per_group), Seconds(has_latency ? random.uniform() : 0.0)});
    }
    num_choices_ = 1 + static_cast<std::uint32_t>(random.below(3));
    for (std::uint32_t i = 0; i < num_groups * num_groups * num_choices_; ++i) {
      std::vector<LinkIndex> path;
      for (std::uint64_t length = 1 + random.below(3); path.size() < length;) {
        const auto link = static_cast<LinkIndex>(2 * num_ranks + random.below(num_core));
        bool is_new = true;
        for (const LinkIndex other : path) {
          is_new = is_new && other != link;
        }
        if (is_new) {
          path.push_back(link);
        } else {
          --length;
        }
      }
      paths_.push_back(path);
    }
    has_port_.resize(2 * num_ranks);
    for (std::size_t port = 0; port < has_port_.size(); ++port) {
      has_port_[port] = random.uniform() < 0.9;
    }
  }

  std::uint32_t num_ranks() const override { return num_groups_ * per_group_; }
  std::span<const FlowLink> links() const override { return links_; }
  std::string link_name(LinkIndex link) const override { return "link " + std::to_string(link); }
  std::uint32_t num_paths() const override { return static_cast<std::uint32_t>(paths_.size()); }
  std::span<const LinkIndex> path(std::uint32_t path) const override { return paths_[path]; }
  void routes_from(std::uint32_t source, std::span<const std::uint32_t> destinations,
                   std::span<FlowRoute> routes) const override {
    for (std::size_t i = 0; i < destinations.size(); ++i) {
      const std::uint32_t destination = destinations[i];
      routes[i] = FlowRoute{};
      if (destination == source) {
        continue;
      }
      const std::uint32_t from = source / per_group_, to = destination / per_group_;
      if (has_port_[source]) {
        routes[i].out_port = source;
      }
      if (has_port_[num_ranks() + destination]) {
        routes[i].in_port = num_ranks() + destination;
      }
      if (from != to) {
        routes[i].path = (from * num_groups_ + to) * num_choices_ +
                         (source * 7 + destination * 3) % num_choices_;
      }
    }
  }

 private:
  std::uint32_t num_groups_, per_group_, num_choices_ = 1;
  std::vector<FlowLink> links_;
  std::vector<std::vector<LinkIndex>> paths_;
  std::vector<bool> has_port_;
};

}  // namespace moesim

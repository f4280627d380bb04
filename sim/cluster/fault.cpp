// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster/fault.h"

#include "sim/base/error.h"
#include "sim/base/json.h"

namespace moesim {

namespace {

constexpr std::string_view kBetween = " -- ";

}  // namespace

void apply_faults(Topology& topology, std::span<const Fault> faults, const std::string& file) {
  Diagnostics problems;
  std::vector<std::string> names;
  for (const TopologyNode& node : topology.nodes()) {
    names.push_back(node.name);
  }
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const Fault& fault = faults[i];
    const std::string at = "/faults/" + std::to_string(i);
    if (!(fault.rate_fraction >= 0.0 && fault.rate_fraction < 1.0)) {
      problems.add(file, at + "/rate_fraction", number_text(fault.rate_fraction) + " is no loss",
                   "allowed: 0 (dead) to below 1");
      continue;
    }
    const auto node_of = [&](const std::string& name) {
      const std::uint32_t node = topology.find(name);
      if (node == kNoIndex) {
        const std::string near = nearest_word(name, names);
        problems.add(
            file, at + "/where", "\"" + name + "\" names no node",
            near.empty() ? "a node, or two as \"a -- b\"" : "did you mean \"" + near + "\"?");
      }
      return node;
    };
    const std::size_t split = fault.where.find(kBetween);
    const bool is_link = split != std::string::npos;
    const std::uint32_t a = node_of(fault.where.substr(0, split));
    const std::uint32_t b =
        is_link ? node_of(fault.where.substr(split + kBetween.size())) : kNoIndex;
    if (a == kNoIndex || (is_link && b == kNoIndex)) {
      continue;
    }
    if (fault.is_slow_gpu) {
      if (is_link || topology.nodes()[a].kind != NodeKind::gpu) {
        problems.add(file, at + "/where",
                     "\"" + fault.where + "\" is no GPU, and only GPUs compute",
                     "a GPU, for example node0/gpu0");
      }
      continue;
    }
    bool is_found = false;
    for (TopologyLink& link : topology.links()) {
      const bool is_hit = is_link ? (link.a == a && link.b == b) || (link.a == b && link.b == a)
                                  : link.a == a || link.b == a;
      if (!is_hit) {
        continue;
      }
      is_found = true;
      if (fault.rate_fraction == 0.0) {
        link.is_dead = true;
      } else {
        link.rate *= fault.rate_fraction;
        link.back_rate *= fault.rate_fraction;
      }
    }
    if (!is_found) {
      problems.add(file, at + "/where", "\"" + fault.where + "\" is no link",
                   "name two nodes that are joined");
    }
  }
  problems.throw_if_any();
}

}  // namespace moesim

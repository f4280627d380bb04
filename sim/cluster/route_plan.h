// SPDX-License-Identifier: Apache-2.0
// What the flow engine needs to know of a cluster: links, and the route of every pair of ranks.
//
// A route is  [out port] -> core path -> [in port].  Ports are links private to one rank and side
// (its NVLink into the switch, its NIC into the leaf); they come in groups, one per (switch, side),
// because flows between the same two groups over the same core path rise and fall together. Core
// paths are interned: a plan of a thousand ranks has a few thousand of them and no table of pairs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/base/units.h"

namespace moesim {

using LinkIndex = std::uint32_t;

/// "No such link, path or group".
inline constexpr std::uint32_t kNoIndex = UINT32_MAX;

/// One direction of one link.
struct FlowLink {
  BytesPerSecond capacity;              ///< > 0
  Seconds latency;                      ///< added once to each flow that crosses the link
  std::uint32_t port_group = kNoIndex;  ///< ports only: the group of ports at one switch and side
};

/// Each part may be absent (kNoIndex); a rank's copy to itself has no part and takes no time.
struct FlowRoute {
  LinkIndex out_port = kNoIndex;
  LinkIndex in_port = kNoIndex;
  std::uint32_t path = kNoIndex;
};

class RoutePlan {
 public:
  virtual ~RoutePlan() = default;

  virtual std::uint32_t num_ranks() const = 0;
  /// All links; ports carry their group. Constant for the life of the plan.
  virtual std::span<const FlowLink> links() const = 0;
  /// A name for people, such as "node3/gpu1/nic out".
  virtual std::string link_name(LinkIndex link) const = 0;
  virtual std::uint32_t num_paths() const = 0;
  /// The core links of a path, without repetition; none of them is a port.
  virtual std::span<const LinkIndex> path(std::uint32_t path) const = 0;
  /// Routes from `source` to each of `destinations`, into `routes` of the same length. Pure: equal
  /// arguments, equal routes.
  virtual void routes_from(std::uint32_t source, std::span<const std::uint32_t> destinations,
                           std::span<FlowRoute> routes) const = 0;
};

}  // namespace moesim

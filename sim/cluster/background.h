// SPDX-License-Identifier: Apache-2.0
// Traffic beside the flows that one studies: cache transfers, gradient sums, expert swaps, host
// copies. All of it contends on the links that it crosses.
//
// A stream is endless and is offered at a rate, or as much as the links let through. Its offer is a
// link of its own at the end of its path, so that max-min fairness holds as it is: a stream that
// offers less than its fair share gets what it offers, the others share what is left. Each stream
// is a rank of its own, so that the routes of the GPUs stay as they are.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/cluster/route_plan.h"
#include "sim/cluster/topology.h"
#include "sim/cluster/transfer_set.h"
#include "sim/input/scenario.h"

namespace moesim {

/// Endless flows from one rank to another.
struct Stream {
  std::uint32_t source = 0;
  std::uint32_t destination = 0;
  BytesPerSecond offered;   ///< of all its flows together
  std::uint32_t flows = 1;  ///< among which links are shared fairly
  std::uint32_t entry = 0;  ///< of /background
};

/// Nodes of the topology that `background` needs beside the deployment's: caches come from and go
/// to as many others. `profile` may have a fixed number of nodes, which is then the answer's limit.
std::int64_t nodes_with_background(std::span<const BackgroundSpec> background,
                                   const ClusterProfile& profile, std::int64_t nodes);
/// Whether any of it crosses PCIe and host memory.
bool needs_host(std::span<const BackgroundSpec> background);

/// The streams of a deployment of `nodes` nodes in `topology`. Throws InputError at `file`: names
/// of no endpoint, no node that caches could come from.
std::vector<Stream> background_streams(std::span<const BackgroundSpec> background,
                                       const Topology& topology, std::int64_t nodes,
                                       std::int64_t gpus_per_node, const std::string& file);

/// `base` with a limit link and a rank for each stream, numbered after those of `base`.
class SharedPlan final : public RoutePlan {
 public:
  SharedPlan(std::unique_ptr<RoutePlan> base, std::vector<Stream> streams);

  /// All streams as one endless transfer.
  TransferSet transfer() const;
  std::span<const Stream> streams() const { return streams_; }
  /// The link that carries stream `index` and nothing else.
  LinkIndex limit_link(std::size_t index) const {
    return static_cast<LinkIndex>(num_base_links_ + index);
  }

  std::uint32_t num_ranks() const override;
  std::span<const FlowLink> links() const override { return links_; }
  std::string link_name(LinkIndex link) const override;
  std::uint32_t num_paths() const override;
  std::span<const LinkIndex> path(std::uint32_t path) const override;
  void routes_from(std::uint32_t source, std::span<const std::uint32_t> destinations,
                   std::span<FlowRoute> routes) const override;

 private:
  std::unique_ptr<RoutePlan> base_;
  std::vector<Stream> streams_;
  std::size_t num_base_links_ = 0;
  std::vector<FlowLink> links_;
  std::vector<std::vector<LinkIndex>> paths_;  // [streams]
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Faults and stragglers of the machine: what is dead or slow, applied to a Topology before routing.
//
// A dead link takes no routes, so traffic re-routes where another path exists (spines, uplinks,
// PCIe or a second network) and `Topology::routes` names the GPUs that are cut off where none does.
// A slow one keeps its routes at a share of its rate: the straggler that everybody waits for. What
// a fault costs is the ratio of two runs, with and without it. A GPU that computes slowly has whole
// links: here its name is checked alone.
#pragma once

#include <span>
#include <string>

#include "sim/cluster/topology.h"

namespace moesim {

struct Fault {
  std::string where;  ///< a node ("node3/gpu1"): all its links; or "a -- b": the link of two
  double rate_fraction = 0.0;  ///< of the rate that is left, in [0, 1); 0: dead
  bool is_slow_gpu = false;    ///< `where` is a GPU that computes slowly; no link is hurt
};

/// Throws InputError with every fault that names no node or link (pointing at the nearest name), a
/// slow GPU that is none, or whose fraction is outside [0, 1). Faults of one link multiply.
void apply_faults(Topology& topology, std::span<const Fault> faults, const std::string& file = "");

}  // namespace moesim

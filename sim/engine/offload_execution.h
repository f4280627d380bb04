// SPDX-License-Identifier: Apache-2.0
// Expert caches of all GPUs of one node on one clock, their copies as flows on the node's graph.
//
// What moe/expert_cache_timing.h does for one GPU with a link of its own, done for several whose
// copies meet: on a PCIe switch's uplink, at the host's memory, at the drives. Every GPU has one
// copy stream (copies in the order asked for, demand before guesses of the same layer); a copy is a
// latency and a flow that shares links max-min fairly (engine/flow_network.h). With exchanges
// between the GPUs (expert parallelism) layers start in lockstep, so all wait for the slowest link.
#pragma once

#include <span>
#include <vector>

#include "sim/cluster/background.h"
#include "sim/cluster/topology.h"
#include "sim/moe/expert_cache_timing.h"

namespace moesim {

struct OffloadNode {
  OffloadSpec gpu;  ///< every GPU alike; its link and drive rates are the graph's
  bool is_in_lockstep = false;
  /// [GPUs][layers * experts] for preloading, instead of `gpu.cache.popularity`; empty: that.
  std::vector<std::vector<double>> popularity;
  std::vector<Stream> background;  ///< other copies on the node's links, endless
};

struct OffloadNodeReport {
  std::vector<OffloadReport> gpus;  ///< [GPUs]
  /// Of the counted time, the share for which the most loaded link was busy.
  double busiest_link_utilisation = 0;
  /// Index of the GPU that took longest.
  std::size_t slowest = 0;
};

/// Runs the steps of `demand` [GPUs], traces of equal shape; GPU g is rank g of `node`, which also
/// holds a host memory and, when host slots are limited, drives. Statistics leave out the first
/// `warm_up_steps`. Throws InputError for a bad spec.
OffloadNodeReport execute_offload(const Topology& node, std::span<const ExpertTrace> demand,
                                  const OffloadNode& spec, int warm_up_steps = 0);

}  // namespace moesim

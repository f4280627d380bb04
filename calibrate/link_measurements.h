// SPDX-License-Identifier: Apache-2.0
// What people's own benchmarks print about links and collectives, for a cluster profile.
//
// Three programs, told apart by content:
//   nvbandwidth --format json (https://github.com/NVIDIA/nvbandwidth, json_output.cpp): one matrix
//     of text cells a test case, GB/s or ns, "N/A" where a pair was not measured.
//   nccl-tests and rccl-tests (https://github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md and the
//     tables in its issues): "# Rank" lines, then a row a size: size, count, type, redop, root,
//     time (us), algbw, busbw, #wrong, the last four again in place. Out-of-place times are taken.
//   TransferBench p2p and a2a (https://github.com/ROCm/TransferBench, client/include/Presets): a
//     matrix of GB/s, text or CSV.
// Copies set rates of links, collectives their laws. A row or cell that cannot be right is reported
// with file, row and column and left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/collective_law_fit.h"
#include "sim/base/error.h"
#include "sim/input/cluster_profile.h"

namespace moesim {

/// The number of a profile that a measured rate or latency stands for.
enum class MeasuredLink {
  scale_up,          ///< bytes/s that one GPU sends to one other
  scale_up_all,      ///< bytes/s that a GPU sends to all others at once
  scale_up_latency,  ///< seconds
  host_link,         ///< bytes/s from host memory to one GPU alone
  host_link_all,     ///< bytes/s to each GPU when all copy
  nic,               ///< bytes/s of a GPU over the network
};

struct LinkSample {
  MeasuredLink link = MeasuredLink::scale_up;
  double value = 0;  ///< SI
  std::string what;  ///< test case or table
  std::string file;
};

struct LinkMeasurements {
  std::vector<LinkSample> links;
  std::vector<CollectiveSample> collectives;  ///< inside one node
  std::vector<std::string> unused;            ///< tests that say nothing about a profile
  std::vector<Diagnostic> problems;
};

/// Reads one file. Throws InputError when it cannot be read or is none of the three.
void read_link_measurements(const std::string& path, LinkMeasurements& measurements);

/// `base` with what was measured: medians with their count and spread; laws of collectives measured
/// at two group sizes or more. `source` says who measured.
ClusterProfile with_measurements(const ClusterProfile& base, const LinkMeasurements& measurements,
                                 const std::string& source);

}  // namespace moesim

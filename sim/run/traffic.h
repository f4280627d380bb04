// SPDX-License-Identifier: Apache-2.0
// One traffic matrix over one cluster: when does every pair's data arrive, and which links are
// busy.
//
// The library behind `moesim traffic`. Flows are fluid and max-min fair
// (sim/engine/flow_network.h); exact unless the matrix is large and its sizes differ, and then
// within a stated tolerance.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/cluster/transfer_set.h"
#include "sim/engine/flow_network.h"
#include "sim/input/cluster_profile.h"

namespace moesim {

struct TrafficOptions {
  FabricPaths paths = FabricPaths::trunked;
  /// End times may be off by this share of the makespan; 0: exact; absent: exact up to
  /// kExactFlows flows or one size for all, else kDefaultTolerance.
  std::optional<double> tolerance;
  bool wants_ends = false;  ///< per-flow end times
  Bytes message;            ///< size of the messages of a flow; 0: cards are not bound by them
};

/// Flows of different sizes that are still solved exactly without being told to.
inline constexpr std::uint32_t kExactFlows = 1u << 17;
inline constexpr double kDefaultTolerance = 1e-3;
inline constexpr double kMaxTolerance = 0.02;

struct LinkUse {
  std::string link;
  Bytes bytes;
  BytesPerSecond capacity;
  double utilisation = 0.0;  ///< bytes / (capacity * makespan)
};

struct TrafficResult {
  std::uint32_t num_ranks = 0;
  std::uint32_t num_flows = 0;
  Bytes total;
  Seconds makespan;
  double tolerance = 0.0;              ///< share of the makespan; 0: exact
  std::vector<double> ends_s;          ///< [flows] when asked for
  std::vector<LinkUse> busiest_links;  ///< at most ten, by utilisation
  FlowCounters counters;
  Seconds solver;  ///< CPU time of graph, routes and flows; differs from run to run
};

/// Throws InputError when the cluster has fewer GPUs than the transfer has ranks, or no graph.
TrafficResult run_traffic(const ClusterProfile& cluster, TransferSet transfer,
                          const TrafficOptions& options);

/// Reads `src,dst,bytes` rows (header line required, other columns ignored). Throws InputError with
/// the row of each problem (at most twenty): negative, NaN or infinite bytes, a rank that is no
/// integer in [0, num_ranks), missing columns, an empty matrix.
TransferSet read_traffic_matrix(const std::string& path, std::uint32_t num_ranks);
TransferSet parse_traffic_matrix(const std::string& text, const std::string& file,
                                 std::uint32_t num_ranks);

/// `src,dst,bytes,end_s` rows in the order of the flows; a rank's copy to itself is left out of a
/// uniform transfer.
std::string traffic_csv(const TransferSet& transfer, const std::vector<double>& ends_s);

/// Most memory that this process has held at a time.
Bytes peak_memory();

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Measured communication, from the tables of a comm/ folder to samples that laws can be fitted to.
//
// Files (columns as in the shared data's README): nccl_collectives.csv, custom_allreduce.csv,
// deepep_low_latency.csv, deepep_normal.csv, trtllm_mnnvl_alltoall.csv, ep_published.csv (DeepEP on
// H800; calibrate/published_comm.h has the rest of it). Expert exchanges get the bytes that their
// benchmark moved: DeepEP's own tests draw uniform scores, with at most `topk_groups` nodes a
// token, so copies to distinct ranks and nodes are expectations over that draw.
#pragma once

#include <string>
#include <vector>

#include "calibrate/collective_law_fit.h"
#include "sim/base/error.h"
#include "sim/cluster/collective.h"

namespace moesim {

/// One measured dispatch or combine.
struct ExchangeSample {
  std::string system;
  bool is_low_latency = true;
  ExchangeDirection direction = ExchangeDirection::dispatch;
  std::int64_t nodes = 1;
  ExchangeSize size;  ///< without the device's SM count, which the profile knows
  double tokens = 0;  ///< of a rank
  double top_k = 0;
  double seconds = 0;           ///< of the data kernel
  double notify_seconds = 0;    ///< of the size exchange before it; 0 where not measured
  bool is_slow_fabric = false;  ///< flagged by the source: a congested network
  std::string file;
  std::int64_t file_row = 0;

  std::int64_t ranks() const { return size.demand.ranks; }
  bool is_one_node() const { return size.is_one_node; }
};

enum class NvlinkPart : std::uint8_t { prepare, dispatch, combine, combine_low_precision };

/// One measured kernel of an exchange over NVLink (NvlinkExchange).
struct NvlinkSample {
  std::string system;
  bool is_one_sided = true;
  NvlinkPart part = NvlinkPart::dispatch;
  ExchangeSize size;
  double seconds = 0;
  std::string file;
  std::int64_t file_row = 0;
};

struct CommSamples {
  std::vector<CollectiveSample> collectives;
  std::vector<ExchangeSample> exchanges;
  std::vector<NvlinkSample> nvlink;
  std::vector<std::string> absent;   ///< files that are not there
  std::vector<Diagnostic> problems;  ///< bad cells: file, row, column; such rows are left out
};

/// Reads what `folder` holds.
CommSamples read_comm_samples(const std::string& folder);

/// Copies of a token under uniform scores: distinct ranks, and nodes other than the source's.
struct UniformFanOut {
  double ranks = 0;
  double remote_nodes = 0;
};
/// `groups` 0: no limit; else a token uses the `groups` nodes whose best expert scores highest.
UniformFanOut uniform_fan_out(std::int64_t ranks, std::int64_t nodes, std::int64_t experts,
                              std::int64_t top_k, std::int64_t groups);

}  // namespace moesim

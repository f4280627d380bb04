// SPDX-License-Identifier: Apache-2.0
// Predictions of the expert-cache model beside published measurements of offloading engines.
//
// Reads the shared tables `offload/expert_cache_hit_rates.csv` and `offload/throughput.csv`. Hit
// rates are predicted where the row itself says what is accessed (uniform routing, a popularity
// that is known, or a cache below the cyclic cliff); throughput where model and links are known.
// What an engine costs besides moving or reading weights (its GPU time, the rate its CPU kernels
// reach) is not in the data sheet of anything: it is calibrated on two rows of the same source,
// named below, and those rows do not count as predictions. Every other row is listed with the
// reason it was left out.
//
//   kt_r1     DeepSeek-R1, experts on the CPU: two single-socket rows give GPU time and bytes/s of
//   a socket kt_sched  Qwen3-Next, part of the experts on the GPU: the rows with 0% and 100% give
//   the ends imp       Qwen3-30B-A3B: the resident and the no-cache row give GPU time and time per
//   miss MoE-Infinity  Mixtral bf16 on 24 GB over PCIe 4.0: nothing calibrated
#pragma once

#include <string>
#include <vector>

namespace moesim {

struct OffloadCase {
  std::string group;  ///< "expert_cache_hit_rate" or "offload_throughput"
  std::string name;   ///< source, system, model, setting
  std::string unit;   ///< "fraction" or "tokens/s"
  double measured = 0.0;
  double predicted = 0.0;
  bool is_calibration = false;  ///< used to fit; not a prediction
  /// |predicted / measured - 1|; for hit rates |predicted - measured|.
  double error() const;
};

struct OffloadOmission {
  std::string group;
  std::string name;
  double measured = 0.0;  ///< 0 when the row has no single figure
  std::string reason;
};

struct OffloadValidation {
  std::vector<OffloadCase> cases;
  std::vector<OffloadOmission> omitted;
  std::vector<std::string> absent;  ///< tables that are not there

  /// Median error of the predictions of a group; 0 when it has none.
  double median_error(const std::string& group) const;
};

/// `data_folder` holds offload/ and, for popularities, routing/. Tables that are missing are listed
/// as absent, rows that are missing are simply not there. Throws InputError when a table lacks a
/// column.
OffloadValidation validate_offload(const std::string& data_folder);

}  // namespace moesim

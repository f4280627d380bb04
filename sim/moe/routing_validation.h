// SPDX-License-Identifier: Apache-2.0
// Routing against measurements: replay against the statistics of the same recordings, and the
// routing model against batches it has not seen. Behind `moesim validate --suite routing`.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace moesim {

struct RoutingComparison {
  std::string group;
  std::string name;  ///< which row of the data
  double measured = 0.0;
  double predicted = 0.0;
};

struct RoutingValidation {
  /// Groups: replay_load_stats (max/mean, cv), replay_locality (overlap by lag), model_hottest and
  /// model_active (hottest expert and active experts of random batches from expected loads alone:
  /// independent tokens), model_sigma_rank and model_sigma_expert (DeepSeek-R1 at EP32 from Gumbel
  /// sigma 1.1).
  std::vector<RoutingComparison> rows;
  /// (file or rows, why it was left out).
  std::vector<std::pair<std::string, std::string>> left_out;
};

/// Compares with the tables of `folder` (data/routing layout). Absent files are left out, not
/// errors; damaged ones throw InputError. Takes about a second.
RoutingValidation validate_routing(const std::string& folder);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Figures that describe how uneven recorded expert loads are, as the literature and the shared
// routing data define them.
#pragma once

#include <cstdint>
#include <span>

namespace moesim {

/// Shape of one histogram of selections per expert. All from shares, so any scale will do.
struct LoadStatistics {
  double max_over_mean = 1.0;
  double min_over_mean = 1.0;
  double cv = 0.0;               ///< population standard deviation / mean
  double gini = 0.0;             ///< 0 even, towards 1 all on one expert
  double norm_entropy = 1.0;     ///< entropy / ln(experts), natural
  double zipf_ols = 0.0;         ///< minus the slope of ln share on ln rank, experts with a count
  double zipf_mle = 0.0;         ///< exponent of rank^-a over all experts, maximum likelihood
  double dirichlet_alpha = 0.0;  ///< symmetric, by moments: ((E - 1) / cv^2 - 1) / E; inf if even
  double log_sd = 0.0;           ///< standard deviation of ln share, experts with a count
};

/// `counts` [experts] >= 0 with a positive sum.
LoadStatistics load_statistics(std::span<const double> counts);

}  // namespace moesim

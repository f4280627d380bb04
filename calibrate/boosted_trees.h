// SPDX-License-Identifier: Apache-2.0
// Fits ResidualTrees: gradient boosting with Huber's loss on binned features.
//
// Each round takes the residuals clipped at their 80% quantile (so outliers pull no harder than
// ordinary rows), picks question after question the (feature, threshold) that lowers the squared
// error most over all leaves at once, and adds a shrunken tree. Rows are drawn anew each round.
// Source: Friedman, "Greedy function approximation" (2001); oblivious trees as in ResidualTrees.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/cost/residual_trees.h"

namespace moesim {

struct BoostingOptions {
  int trees = 120;
  int depth = 6;
  double rate = 0.2;           ///< shrinkage of each tree
  double leaf_prior = 5;       ///< rows of zero residual added to each leaf
  int thresholds = 64;         ///< per feature at most
  double row_fraction = 0.45;  ///< of rows drawn for each tree
  double largest_clip = 0.3;   ///< upper bound of the clip
};

/// `features` [rows][num_features] row-major, `targets` [rows]; `rows` are the indices to fit to.
/// Same input, same trees. Cost: rows x features x depth x trees x ~1 ns.
ResidualTrees fit_boosted_trees(std::span<const float> features, std::size_t num_features,
                                std::span<const double> targets,
                                std::span<const std::uint32_t> rows,
                                const BoostingOptions& options);

}  // namespace moesim

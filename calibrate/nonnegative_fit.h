// SPDX-License-Identifier: Apache-2.0
// Linear laws with non-negative coefficients: t ~ sum of c_j * f_j, fitted to relative errors.
//
// Start-ups, seconds a byte and seconds a token cannot be negative; that also keeps laws sane
// outside the range of the fit. The active-set method solves the least-squares problem exactly;
// re-weighting by 1 / |error| makes it follow the median, so that a few odd rows do not bend it.
// Source: Lawson & Hanson, Solving Least Squares Problems (1974), chapter 23.
#pragma once

#include <span>
#include <vector>

namespace moesim {

struct NonnegativeFit {
  std::vector<double> coefficients;  ///< [features], each >= 0
  double mean_error = 0;             ///< mean of |predicted / measured - 1|
};

/// `features` [rows, num_features] row-major, `measured` [rows] > 0. `rounds` of re-weighting; 0:
/// plain least squares of relative errors. `known` [rows], when given, is a part of each time that
/// is not fitted. No rows give zeros.
NonnegativeFit fit_nonnegative(std::span<const double> features, std::size_t num_features,
                               std::span<const double> measured, int rounds = 8,
                               std::span<const double> known = {});

}  // namespace moesim

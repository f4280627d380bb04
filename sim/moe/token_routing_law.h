// SPDX-License-Identifier: Apache-2.0
// Closed forms of top-k routing: how often each expert is among a token's k, and the mean of the
// largest of several random counts.
//
// Under the Plackett-Luce law each expert e has an exponential clock of rate w_e and the first k to
// ring are chosen. With T the time at which the k-th of the *other* clocks rings,
//     p_e = E[1 - exp(-w_e T)] = integral of w_e exp(-w_e t) P(fewer than k others rang by t) dt,
// a one-dimensional integral over a Poisson-binomial tail, which is evaluated here by quadrature:
// exact to ~1e-7. (The familiar shortcut sum_e 1 - exp(-w_e t) = k takes T as fixed; it is off by
// a few percent on hot experts.)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// Probability that each expert is among the `top_k` drawn by weight without replacement
/// [experts]; sums to top_k, each <= 1. `weights` >= 0, at least top_k of them positive. Costs
/// about 60 * experts * top_k multiply-adds.
std::vector<double> inclusion_of_weights(std::span<const double> weights, std::int32_t top_k);

/// Weights whose inclusion probabilities are `inclusion` (sum top_k, each in [0, 1]) within 1e-4
/// relative or 1e-6: the inverse of the above by repeated proportional correction. A
/// probability of 1 gives a very large weight, 0 gives weight 0.
std::vector<double> weights_of_inclusion(std::span<const double> inclusion, std::int32_t top_k);

/// Scales `loads` >= 0 to sum top_k, then lowers what is above 1 to 1 and spreads the excess over
/// the rest in proportion, so that max/mean never exceeds experts/top_k: a token picks an expert at
/// most once. Fewer than top_k positive loads: the rest of each token goes evenly to the others.
std::vector<double> capped_inclusion(std::span<const double> loads, std::int32_t top_k);

/// Standard normal distribution function, absolute error < 1e-7 (Abramowitz & Stegun 26.2.17), from
/// portable arithmetic.
double normal_cdf(double z);

/// E[max_i X_i] of independent counts X_i with these means and variances. Small counts follow the
/// law of the (a, b, 0) family with that mean and variance (binomial, Poisson or negative
/// binomial: exact for binomial counts), large ones a normal with that family's skewness
/// (Wilson-Hilferty).
double expected_max_count(std::span<const double> means, std::span<const double> variances);

/// E[max(0, X - capacity)] of one such count.
double expected_excess_count(double mean, double variance, std::int64_t capacity);

}  // namespace moesim

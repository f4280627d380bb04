// SPDX-License-Identifier: Apache-2.0
// Laws of how popular experts are: each gives loads per expert of one layer, in random order of
// experts, from a named stream.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/base/random.h"

namespace moesim {

/// exp(sigma * N(0, 1)): weights of Gumbel-top-k, or loads of the lognormal kind [experts].
std::vector<double> lognormal_loads(std::int32_t experts, double sigma, RandomStream& stream);

/// r^-alpha for ranks 1.., in random order [experts].
std::vector<double> zipf_loads(std::int32_t experts, double alpha, RandomStream& stream);

/// A symmetric Dirichlet of concentration `alpha` > 0: small is skewed [experts].
std::vector<double> dirichlet_loads(std::int32_t experts, double alpha, RandomStream& stream);

/// Selections per expert as the collector of the shared compute tables draws them: weights i.i.d.
/// from p(x) ~ x^-exponent on [1, 0.8 tokens] when tokens * top_k > experts, else on [0.01, 2];
/// scaled to tokens * top_k, rounded, capped at `tokens`, the difference spread one by one
/// (aiconfigurator's power_law_A; data/compute/README.md) [experts]. Sums to tokens * top_k.
std::vector<std::int64_t> power_law_counts(std::int32_t experts, std::int32_t top_k,
                                           std::int64_t tokens, double exponent,
                                           RandomStream& stream);

/// Index of the contiguous group of `experts / groups` experts with the largest sum: the rank that
/// those tables time.
std::int32_t hottest_group(const std::vector<std::int64_t>& counts, std::int32_t groups);

}  // namespace moesim

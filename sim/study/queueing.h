// SPDX-License-Identifier: Apache-2.0
// Waiting times and occupancies of sized pools, in closed form.
//
// Waiting of Poisson arrivals at c servers of constant service time S and utilisation rho:
//     P(wait > 0) ~ rho^(sqrt(2(c+1)) - 1),   E[wait] ~ P(wait > 0) S / (2 c (1 - rho))
// (Sakasegawa, Annals of the Institute of Statistical Mathematics 29 (1977); the 1/2 is the
// Allen-Cunneen correction for constant service), the wait of those who wait taken as exponential.
// Requests in flight behind enough slots are Poisson, so their q-quantile is about
// n + z_q sqrt(n) (Palm's M/G/infinity theorem).
#pragma once

namespace moesim {

/// The wait that `quantile` of the requests do not exceed; infinite at `utilisation` >= 1.
double wait_quantile(double servers, double service_s, double utilisation, double quantile);

/// Slots that suffice for `quantile` of the time when `mean` requests are in flight on average.
double occupancy_quantile(double mean, double quantile);

/// Inverse of the standard normal distribution function; `p` in (0, 1).
double normal_quantile(double p);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Expert loads of the timed rank, as the measured MoE tables' benchmark made them.
//
// `balanced`: token t picks experts (t + j * ceil(E / k)) mod E; rank 0 is timed. `power_law_A`: E
// weights drawn independently from p(x) ~ x^-A on [1, 0.8 T] when T * k > E, else on [0.01, 2];
// scaled to T * k selections, rounded, at most T an expert, the difference handed out one by one;
// then the contiguous group with the largest total is the timed rank. The tables hold the mean of
// five unseeded draws, so a row's load is the mean of draws of our own. Source: the compute data's
// README and docs/POWER_LAW_DISTRIBUTION.md of aiconfigurator.
#pragma once

#include <string>

#include "sim/cost/physical_law.h"

namespace moesim {

/// Mean load of the timed rank. `distribution`: "balanced", "uniform", "power_law_1.2" or the
/// latter with "_eplb" (hot experts replicated, ranks levelled). Draws are seeded by the arguments,
/// so equal arguments give equal loads. Results are kept: repeated calls cost a look-up. Not
/// thread-safe. Throws InputError for an unknown distribution.
ExpertLoad sampled_expert_load(double tokens, int top_k, int experts, int expert_ways,
                               const std::string& distribution, int slots = 0);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The optimiser that all fits of laws share: NLopt's subplex, which needs no gradients of laws full
// of maxima and ceilings.
#pragma once

#include <nlopt.hpp>
#include <vector>

namespace moesim {

/// Minimises `objective(data)` within `low`..`high` from steps of `step` in each parameter, at most
/// `evaluations` times a round.
nlopt::opt subplex(nlopt::func objective, void* data, const std::vector<double>& low,
                   const std::vector<double>& high, double step, int evaluations);

/// One round from `x`, which holds the best point afterwards, `error` what it reaches. True when
/// the round ended by itself, not by its number of evaluations.
bool improve(nlopt::opt& optimiser, std::vector<double>& x, double& error);

}  // namespace moesim

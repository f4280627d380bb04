// SPDX-License-Identifier: Apache-2.0
// Planned figures beside those of more faithful simulations of the same deployment.
#pragma once

#include <vector>

#include "sim/study/plan.h"

namespace moesim {

/// The step of every pool with every rank and op as events, and if asked for, the whole deployment
/// with every request over time.
std::vector<Confirmation> confirmed(const PlanOption& option, const ServiceRequest& service,
                                    const CardLibrary& cards, bool with_requests);

}  // namespace moesim

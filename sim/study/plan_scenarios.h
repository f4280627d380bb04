// SPDX-License-Identifier: Apache-2.0
// The scenarios that an option of a plan stands for: one instance of each pool by itself, and the
// whole deployment with its requests over time. Who doubts a plan runs them.
#pragma once

#include <vector>

#include "sim/study/plan.h"

namespace moesim {

/// Sets the scenario of every pool of every option: one instance at its batch limit.
void fill_in_scenarios(std::vector<PlanOption>& options, const ServiceRequest& service,
                       const PlanRequest& request, const CardLibrary& cards);

}  // namespace moesim

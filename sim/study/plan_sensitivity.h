// SPDX-License-Identifier: Apache-2.0
// What the cheapest cost hangs on (a tornado), and what breaks first when the load grows.
#pragma once

#include "sim/study/plan.h"

namespace moesim {

/// Each assumption of the request moved down and up with everything else kept: the cheapest cost
/// over the layouts of `options` then. Widest bar first.
std::vector<TornadoBar> tornado_of(const PoolPoints& points, const std::vector<PlanOption>& options,
                                   const ServiceRequest& service, const PlanRequest& request,
                                   const std::vector<double>& prices, const CardLibrary& cards);

/// Load factors above 1 at which each limit of each pool fails, the first to break first.
std::vector<Breakage> breakages_of(const PlanOption& option, const ServiceRequest& service);

}  // namespace moesim

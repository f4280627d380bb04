// SPDX-License-Identifier: Apache-2.0
// Options enlarged until the closed form over time serves their load.
//
// The search sizes pools by single steps: every rank reads its even share of prompts. Over time
// prompts land unevenly, ranks wait for each other, and sequences wait while others' prompts are
// read. A pool that is just large enough for its steps may thus be too small for its requests.
#pragma once

#include "sim/study/plan.h"

namespace moesim {

/// Adds instances to the pool that limits `option` until its requests are served within the mean
/// limits of `service`, and recomputes what follows from their number. False: that takes more than
/// `max_gpus`. `price`: USD an hour and GPU.
bool grow_to_serve(PlanOption& option, const ServiceRequest& service, const CardLibrary& cards,
                   std::int64_t max_gpus, double price);

/// The cheapest `per_kind` options of every cluster and mode that serve their load over time, by
/// rising cost; `refused` counts those that cannot within the GPUs allowed.
std::vector<PlanOption> served_options(std::vector<PlanOption> options,
                                       const ServiceRequest& service, const PlanRequest& request,
                                       const CardLibrary& cards, const std::vector<double>& prices,
                                       std::size_t per_kind, std::int64_t& refused);

}  // namespace moesim

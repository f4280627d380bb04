// SPDX-License-Identifier: Apache-2.0
// Experts pruned, merged or added after training, as what they do to the loads of those that stay.
//
// Pruned experts are the least popular of each layer: their tokens go to the others in proportion
// to popularity. Merged ones are pairs of the next least popular: an expert takes the tokens of
// both. Added ones are copies of the most popular (upcycling): original and copy share its tokens.
// Scope: loads only; what the edits do to the quality of the model is not simulated.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/input/scenario.h"
#include "sim/moe/token_routing.h"

namespace moesim {

/// Loads [experts] after the edits [experts - pruned - merged + added], same total; experts that
/// stay keep their order, copies come last.
std::vector<double> edited_loads(std::span<const double> loads, const ModelEdits& edits);

/// `spec` of the unedited router as a routing of kind counts over the experts that are left.
RoutingSpec edited_routing(const RoutingSpec& spec, std::int32_t layers, const ModelEdits& edits);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Exact balance: every expert gets the same number of selections, to within one.
//
// Counts come from one fair cycle through the experts in bit-reversed order, so that after any
// number of selections each dyadic run of experts (a rank's, a node's) is even too. Token sets are
// random all the same (as sets of a well-trained router are): without groups each cycle is a random
// permutation cut into tokens, so the fan-out of a token is that of uniform routing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/base/random.h"
#include "sim/moe/token_routing_sampler.h"

namespace moesim {

/// The experts 0 .. experts-1 in bit-reversed order: each prefix is spread evenly.
std::vector<std::int32_t> even_order(std::int32_t experts);

/// Adds the selections number `first` to `first + selections - 1` of the endless cycle through
/// `order` [experts] to `counts` [experts].
void add_even_counts(std::span<const std::int32_t> order, std::int64_t first,
                     std::int64_t selections, std::span<std::int32_t> counts);

/// Random token sets [tokens, top_k] with even totals; a group limit is respected.
void draw_balanced_sets(const GateShape& gate, RandomStream& stream, std::int64_t tokens,
                        std::int16_t* out);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Which recorded tokens make up a batch: the same tokens for every layer, so that correlations
// between layers, and between neighbours where the order keeps them, survive.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/input/expert_config.h"
#include "sim/input/trace_file.h"

namespace moesim {

/// Token numbers [tokens] of batch `draw`.
/// shuffled: at random without repeats (a new shuffle each time the trace is used up);
/// token: consecutive, batch after batch through the trace and round again;
/// window: consecutive from a random place, never over the end while the batch fits;
/// sequence: whole sequences in random order, the last cut.
std::vector<std::int64_t> replay_batch(const TokenTrace& trace, ReplayOrder order,
                                       std::int64_t tokens, std::uint64_t seed, std::uint64_t draw);

/// Sets of those tokens at one layer (index into trace.layers) [tokens, top_k].
std::vector<std::int16_t> gather_sets(const TokenTrace& trace, std::size_t layer_index,
                                      std::span<const std::int64_t> tokens);

/// Selections per expert of one layer over the whole trace [experts].
std::vector<std::int64_t> layer_totals(const TokenTrace& trace, std::size_t layer_index);

/// Mean |S_t and S_(t-lag)| / k over pairs inside a sequence; 0 when there is no pair.
double lag_overlap(const TokenTrace& trace, std::size_t layer_index, std::int64_t lag);

}  // namespace moesim

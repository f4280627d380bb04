// SPDX-License-Identifier: Apache-2.0
// What happens when more tokens want an expert than it takes: capacity = ceil(factor * k * tokens /
// experts), overflow dropped, sent to the token's next best expert, or not limited at all.
//
// A dropped selection leaves the token to the residual connection, so dropping is a loss of model
// quality and is reported beside every rate. Sources: Switch Transformer (arXiv 2101.03961) 2.2,
// GShard (arXiv 2006.16668) algorithm 1, fairseq --moe-eval-capacity-token-fraction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/moe/token_routing_sampler.h"

namespace moesim {

enum class OverflowPolicy { dropless, drop, next_best };
std::span<const Choice<OverflowPolicy>> choices_of(OverflowPolicy);

/// Who is served first when an expert fills up.
enum class CapacityOrder {
  token,   ///< tokens in order, each with all its choices (fairseq, Megatron)
  choice,  ///< first choices of all tokens, then second choices ... (GShard, Switch)
};
std::span<const Choice<CapacityOrder>> choices_of(CapacityOrder);

struct CapacityRule {
  double factor = 1.0;  ///< > 0; unused when dropless
  OverflowPolicy overflow = OverflowPolicy::dropless;
  CapacityOrder order = CapacityOrder::choice;
  bool pads = false;  ///< experts compute `capacity` rows whether filled or not
  /// Evaluation capacity as a fraction of the batch's tokens instead of `factor`; 0: none (fairseq
  /// uses 0.25).
  double eval_token_fraction = 0.0;

  /// Rows an expert takes of `tokens` tokens that are gated together (at least 1, at most
  /// `tokens`), in training or, with `evaluating`, by the evaluation rule.
  std::int64_t capacity(const GateShape& gate, std::int64_t tokens, bool evaluating = false) const;
};

/// What became of one batch's selections. selections = processed + dropped.
struct CapacityOutcome {
  std::int64_t tokens = 0;
  std::int64_t selections = 0;        ///< tokens * top_k
  std::int64_t processed = 0;         ///< selections that an expert took
  std::int64_t dropped = 0;           ///< selections that nobody took
  std::int64_t rerouted = 0;          ///< of the processed: at a worse expert than chosen
  std::int64_t tokens_untouched = 0;  ///< tokens with every selection dropped
  std::int64_t padding = 0;           ///< rows computed for nobody
  std::vector<std::int64_t> loads;    ///< [experts] processed selections

  double dropped_fraction() const {
    return selections > 0 ? static_cast<double>(dropped) / static_cast<double>(selections) : 0.0;
  }
  /// Of the rows computed, those that are padding.
  double padding_fraction() const {
    const std::int64_t rows = processed + padding;
    return rows > 0 ? static_cast<double>(padding) / static_cast<double>(rows) : 0.0;
  }
};

/// Applies the rule to one gating group. `ranking` [tokens, width], width >= top_k, holds each
/// token's experts best first; columns beyond top_k are the alternatives of `next_best` (a token
/// out of alternatives drops). -1 entries are no selection and are skipped.
CapacityOutcome apply_capacity(const GateShape& gate, const CapacityRule& rule,
                               std::span<const std::int16_t> ranking, std::int32_t width,
                               bool evaluating = false);

/// Selections above `capacity`, summed over experts: what `drop` drops.
std::int64_t overflow_of(std::span<const std::int64_t> loads, std::int64_t capacity);

/// Expected dropped fraction of a batch of `tokens` independent tokens with these inclusion
/// probabilities [experts] (sum top_k) under `drop`.
double expected_dropped_fraction(std::span<const double> inclusion, double tokens,
                                 std::int64_t capacity);

}  // namespace moesim

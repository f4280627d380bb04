// SPDX-License-Identifier: Apache-2.0
// Guessing which experts a coming layer needs.
//
// A predictor is described by what is published of one: how many layers ahead it looks and which
// share of a layer's experts it names (its accuracy; the next layer's experts are guessed right at
// 0.52-0.62 from this layer's, at 0.8-0.9 by running the next gate early). For each true expert it
// names that expert with chance `accuracy`, else a wrong one at random: as many guesses as experts,
// so wrong ones cost transfers and slots. Scope: guesses stay inside a step, since the next token
// is not known before this one ends.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/base/random.h"
#include "sim/moe/expert_cache_trace.h"

namespace moesim {

struct PrefetchSpec {
  int lookahead_layers = 0;  ///< 0: no prefetch
  double accuracy = 1.0;     ///< [0, 1]
  std::uint64_t seed = 0;
};

class Predictor {
 public:
  /// `trace` must outlive the predictor.
  Predictor(const ExpertTrace& trace, const PrefetchSpec& spec);

  /// Guesses for the layer `lookahead_layers` after `layer` of `step`, in the order of the true
  /// set; empty when that is past the last layer. Valid until the next call.
  const std::vector<std::int16_t>& guesses(int step, int layer);

 private:
  const ExpertTrace& trace_;
  PrefetchSpec spec_;
  RandomStream random_;
  std::vector<std::int16_t> guesses_;
};

}  // namespace moesim

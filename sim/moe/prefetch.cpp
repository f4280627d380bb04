// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/prefetch.h"

#include <algorithm>

namespace moesim {

Predictor::Predictor(const ExpertTrace& trace, const PrefetchSpec& spec)
    : trace_(trace), spec_(spec), random_(spec.seed, "expert_cache/prefetch") {}

const std::vector<std::int16_t>& Predictor::guesses(int step, int layer) {
  guesses_.clear();
  const int target = layer + spec_.lookahead_layers;
  if (spec_.lookahead_layers <= 0 || target >= trace_.layers()) {
    return guesses_;
  }
  const auto truth = trace_.at(step, target);
  const auto contains = [](const auto& set, std::int16_t expert) {
    return std::find(set.begin(), set.end(), expert) != set.end();
  };
  for (const std::int16_t expert : truth) {
    if (random_.uniform() < spec_.accuracy) {
      guesses_.push_back(expert);
      continue;
    }
    // A wrong guess: none of the true set, none named already. Where the set leaves too few, no
    // guess.
    if (truth.size() + guesses_.size() >= static_cast<std::size_t>(trace_.experts())) {
      continue;
    }
    std::int16_t wrong = 0;
    do {
      wrong =
          static_cast<std::int16_t>(random_.below(static_cast<std::uint64_t>(trace_.experts())));
    } while (contains(truth, wrong) || contains(guesses_, wrong));
    guesses_.push_back(wrong);
  }
  return guesses_;
}

}  // namespace moesim

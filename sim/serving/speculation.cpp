// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/speculation.h"

#include <algorithm>
#include <cmath>

namespace moesim {

Speculation Speculation::of(double drafts, double acceptance) {
  Speculation result;
  result.drafts = drafts;
  double mean = 1;
  double square = 1;
  double chance = 1;
  double index = 1;
  for (double left = drafts; left > 0; left -= 1, index += 1) {
    chance *= acceptance;
    const double made = chance * std::min(1.0, left);
    mean += made;
    square += (2 * index + 1) * made;
  }
  result.tokens_per_step = mean;
  result.tokens_variance = std::max(0.0, square - mean * mean);
  return result;
}

double Speculation::steps_for(double tokens, double standard_normal) const {
  if (drafts <= 0) {
    return tokens;
  }
  const double mean = tokens / tokens_per_step;
  const double spread =
      std::sqrt(tokens * tokens_variance / (tokens_per_step * tokens_per_step * tokens_per_step));
  const double least = std::ceil(tokens / (1 + drafts));
  return std::clamp(std::ceil(mean + spread * standard_normal), least, std::max(least, tokens));
}

}  // namespace moesim

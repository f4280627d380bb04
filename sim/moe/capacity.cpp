// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/capacity.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/base/error.h"
#include "sim/moe/token_routing_law.h"

namespace moesim {

std::span<const Choice<OverflowPolicy>> choices_of(OverflowPolicy) {
  static constexpr std::array<Choice<OverflowPolicy>, 3> kChoices = {{
      {OverflowPolicy::dropless, "dropless", "no limit: every expert takes all its tokens"},
      {OverflowPolicy::drop, "drop", "overflow skips the layer on the residual connection"},
      {OverflowPolicy::next_best, "next_best",
       "overflow goes to the token's next best expert with room, else it is dropped"},
  }};
  return kChoices;
}

std::span<const Choice<CapacityOrder>> choices_of(CapacityOrder) {
  static constexpr std::array<Choice<CapacityOrder>, 2> kChoices = {{
      {CapacityOrder::token, "token", "tokens in order, each with all its choices"},
      {CapacityOrder::choice, "choice", "first choices of all tokens, then second choices ..."},
  }};
  return kChoices;
}

std::int64_t CapacityRule::capacity(const GateShape& gate, std::int64_t tokens,
                                    bool evaluating) const {
  if (overflow == OverflowPolicy::dropless || tokens < 1) {
    return tokens;
  }
  const double rows = evaluating && eval_token_fraction > 0.0
                          ? eval_token_fraction * static_cast<double>(tokens)
                          : factor * static_cast<double>(tokens) * gate.top_k / gate.experts;
  // A product that is whole up to rounding must not gain a row.
  const double whole = std::ceil(rows * (1.0 - 1e-12));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::min(whole, 1e18)), 1, tokens);
}

CapacityOutcome apply_capacity(const GateShape& gate, const CapacityRule& rule,
                               std::span<const std::int16_t> ranking, std::int32_t width,
                               bool evaluating) {
  MOESIM_CHECK(width >= gate.top_k && ranking.size() % static_cast<std::size_t>(width) == 0,
               "a ranking has whole rows of at least top_k experts");
  const std::size_t columns = static_cast<std::size_t>(width);
  const std::size_t tokens = ranking.size() / columns;
  const std::size_t k = static_cast<std::size_t>(gate.top_k);
  CapacityOutcome outcome;
  outcome.tokens = static_cast<std::int64_t>(tokens);
  outcome.loads.assign(static_cast<std::size_t>(gate.experts), 0);
  const std::int64_t capacity = rule.capacity(gate, outcome.tokens, evaluating);
  std::vector<std::int32_t> served(tokens, 0);
  std::vector<std::size_t> alternative(tokens, k);  // next column a token may fall back on

  const auto serve = [&](std::size_t t, std::size_t j) {
    const std::int16_t wanted = ranking[t * columns + j];
    if (wanted < 0) {
      return;
    }
    ++outcome.selections;
    std::int64_t* load = &outcome.loads[static_cast<std::size_t>(wanted)];
    if (*load >= capacity) {
      load = nullptr;
      while (rule.overflow == OverflowPolicy::next_best && alternative[t] < columns &&
             load == nullptr) {
        const std::int16_t other = ranking[t * columns + alternative[t]++];
        if (other >= 0 && outcome.loads[static_cast<std::size_t>(other)] < capacity) {
          load = &outcome.loads[static_cast<std::size_t>(other)];
          ++outcome.rerouted;
        }
      }
    }
    if (load == nullptr) {
      ++outcome.dropped;
      return;
    }
    ++*load;
    ++outcome.processed;
    ++served[t];
  };
  if (rule.order == CapacityOrder::choice) {
    for (std::size_t j = 0; j < k; ++j) {
      for (std::size_t t = 0; t < tokens; ++t) {
        serve(t, j);
      }
    }
  } else {
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t j = 0; j < k; ++j) {
        serve(t, j);
      }
    }
  }
  outcome.tokens_untouched = std::count(served.begin(), served.end(), 0);
  if (rule.pads) {
    // Without a limit, padded experts all run as many rows as the fullest.
    const std::int64_t rows = rule.overflow == OverflowPolicy::dropless
                                  ? *std::max_element(outcome.loads.begin(), outcome.loads.end())
                                  : capacity;
    outcome.padding = rows * gate.experts - outcome.processed;
  }
  return outcome;
}

std::int64_t overflow_of(std::span<const std::int64_t> loads, std::int64_t capacity) {
  std::int64_t over = 0;
  for (const std::int64_t load : loads) {
    over += std::max<std::int64_t>(0, load - capacity);
  }
  return over;
}

double expected_dropped_fraction(std::span<const double> inclusion, double tokens,
                                 std::int64_t capacity) {
  double over = 0.0;
  double selections = 0.0;
  for (const double p : inclusion) {
    over += expected_excess_count(tokens * p, tokens * p * (1.0 - p), capacity);
    selections += tokens * p;
  }
  return selections > 0.0 ? over / selections : 0.0;
}

}  // namespace moesim

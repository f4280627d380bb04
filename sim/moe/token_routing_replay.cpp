// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_replay.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {

std::vector<std::int64_t> replay_batch(const TokenTrace& trace, ReplayOrder order,
                                       std::int64_t tokens, std::uint64_t seed,
                                       std::uint64_t draw) {
  const std::int64_t recorded = trace.num_tokens();
  MOESIM_CHECK(recorded > 0 && tokens >= 0, "a trace holds tokens");
  std::vector<std::int64_t> batch;
  batch.reserve(static_cast<std::size_t>(tokens));
  RandomStream stream(seed, "routing/replay", draw);
  switch (order) {
    case ReplayOrder::shuffled: {
      std::vector<std::int64_t> all(static_cast<std::size_t>(recorded));
      std::iota(all.begin(), all.end(), std::int64_t{0});
      std::size_t used = 0;
      for (std::int64_t i = 0; i < tokens; ++i) {
        if (used == all.size()) {
          used = 0;
        }
        std::swap(all[used], all[used + stream.below(all.size() - used)]);
        batch.push_back(all[used++]);
      }
      break;
    }
    case ReplayOrder::token:
    case ReplayOrder::window: {
      // In 64 bits modulo the recorded length, whatever the draw number is.
      const std::uint64_t length = static_cast<std::uint64_t>(recorded);
      std::uint64_t at =
          order == ReplayOrder::token
              ? (draw % length) * (static_cast<std::uint64_t>(tokens) % length) % length
              : stream.below(
                    static_cast<std::uint64_t>(std::max<std::int64_t>(1, recorded - tokens + 1)));
      for (std::int64_t i = 0; i < tokens; ++i) {
        batch.push_back(static_cast<std::int64_t>(at));
        at = at + 1 == length ? 0 : at + 1;
      }
      break;
    }
    case ReplayOrder::sequence: {
      std::vector<std::int64_t> starts;
      for (std::int64_t t = 0; t < recorded; ++t) {
        const std::size_t i = static_cast<std::size_t>(t);
        if (t == 0 || trace.sequence[i] != trace.sequence[i - 1]) {
          starts.push_back(t);
        }
      }
      std::vector<std::size_t> turn(starts.size());
      std::iota(turn.begin(), turn.end(), std::size_t{0});
      std::size_t used = 0;
      while (static_cast<std::int64_t>(batch.size()) < tokens) {
        if (used == turn.size()) {
          used = 0;
        }
        std::swap(turn[used], turn[used + stream.below(turn.size() - used)]);
        const std::size_t s = turn[used++];
        const std::int64_t end = s + 1 < starts.size() ? starts[s + 1] : recorded;
        for (std::int64_t t = starts[s];
             t < end && static_cast<std::int64_t>(batch.size()) < tokens; ++t) {
          batch.push_back(t);
        }
      }
      break;
    }
  }
  return batch;
}

std::vector<std::int16_t> gather_sets(const TokenTrace& trace, std::size_t layer_index,
                                      std::span<const std::int64_t> tokens) {
  const std::span<const std::int16_t> layer = trace.layer_sets(layer_index);
  const std::size_t k = static_cast<std::size_t>(trace.top_k);
  std::vector<std::int16_t> sets(tokens.size() * k);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::copy_n(&layer[static_cast<std::size_t>(tokens[i]) * k], k, &sets[i * k]);
  }
  return sets;
}

std::vector<std::int64_t> layer_totals(const TokenTrace& trace, std::size_t layer_index) {
  std::vector<std::int64_t> totals(static_cast<std::size_t>(trace.experts), 0);
  for (const std::int16_t e : trace.layer_sets(layer_index)) {
    ++totals[static_cast<std::size_t>(e)];
  }
  return totals;
}

double lag_overlap(const TokenTrace& trace, std::size_t layer_index, std::int64_t lag) {
  const std::span<const std::int16_t> sets = trace.layer_sets(layer_index);
  const std::size_t k = static_cast<std::size_t>(trace.top_k);
  const std::size_t step = static_cast<std::size_t>(lag);
  std::vector<std::size_t> last(static_cast<std::size_t>(trace.experts), SIZE_MAX);
  std::int64_t pairs = 0;
  std::int64_t shared = 0;
  for (std::size_t t = step; t < trace.sequence.size(); ++t) {
    if (trace.sequence[t] != trace.sequence[t - step]) {
      continue;
    }
    ++pairs;
    for (std::size_t j = 0; j < k; ++j) {
      last[static_cast<std::size_t>(sets[(t - step) * k + j])] = t;
    }
    for (std::size_t j = 0; j < k; ++j) {
      shared += last[static_cast<std::size_t>(sets[t * k + j])] == t ? 1 : 0;
    }
  }
  return pairs > 0
             ? static_cast<double>(shared) / static_cast<double>(pairs) / static_cast<double>(k)
             : 0.0;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_balanced.h"

#include <algorithm>

namespace moesim {

std::vector<std::int32_t> even_order(std::int32_t experts) {
  std::int32_t bits = 0;
  while ((1 << bits) < experts) {
    ++bits;
  }
  std::vector<std::int32_t> order;
  for (std::int32_t i = 0; i < (1 << bits); ++i) {
    std::int32_t reversed = 0;
    for (std::int32_t b = 0; b < bits; ++b) {
      reversed |= ((i >> b) & 1) << (bits - 1 - b);
    }
    if (reversed < experts) {
      order.push_back(reversed);
    }
  }
  return order;
}

void add_even_counts(std::span<const std::int32_t> order, std::int64_t first,
                     std::int64_t selections, std::span<std::int32_t> counts) {
  const std::int64_t experts = static_cast<std::int64_t>(order.size());
  const std::int32_t rounds = static_cast<std::int32_t>(selections / experts);
  for (std::int32_t& count : counts) {
    count += rounds;
  }
  for (std::int64_t i = 0; i < selections % experts; ++i) {
    ++counts[static_cast<std::size_t>(order[static_cast<std::size_t>((first + i) % experts)])];
  }
}

namespace {

/// Experts of one group that this cycle has not used yet; refilled when it runs out.
struct Pool {
  std::int32_t first = 0;
  std::int32_t size = 0;
  std::vector<std::int16_t> left;
  std::int64_t taken = 0;

  std::int16_t take(RandomStream& stream, std::span<const std::int16_t> held) {
    if (left.empty()) {  // a new cycle, without what this token already holds from the last one
      for (std::int32_t e = first; e < first + size; ++e) {
        const std::int16_t expert = static_cast<std::int16_t>(e);
        if (std::find(held.begin(), held.end(), expert) == held.end()) {
          left.push_back(expert);
        }
      }
      // What the token holds belongs to the new cycle too: it comes back after this token.
      for (const std::int16_t expert : held) {
        if (expert >= first && expert < first + size) {
          owed.push_back(expert);
        }
      }
    }
    const std::size_t at = stream.below(left.size());
    const std::int16_t expert = left[at];
    left[at] = left.back();
    left.pop_back();
    ++taken;
    return expert;
  }
  void end_token() {
    left.insert(left.end(), owed.begin(), owed.end());
    owed.clear();
  }

 private:
  std::vector<std::int16_t> owed;
};

}  // namespace

void draw_balanced_sets(const GateShape& gate, RandomStream& stream, std::int64_t tokens,
                        std::int16_t* out) {
  const std::int32_t num_groups = gate.is_group_limited() ? gate.groups : 1;
  const std::int32_t chosen = gate.is_group_limited() ? gate.groups_chosen : 1;
  const std::int32_t size = gate.experts / num_groups;
  std::vector<Pool> pools(static_cast<std::size_t>(num_groups));
  std::vector<std::int32_t> order(static_cast<std::size_t>(num_groups));
  for (std::int32_t g = 0; g < num_groups; ++g) {
    pools[static_cast<std::size_t>(g)].first = g * size;
    pools[static_cast<std::size_t>(g)].size = size;
    order[static_cast<std::size_t>(g)] = g;
  }
  std::vector<std::int32_t> used(static_cast<std::size_t>(num_groups));
  const auto pool_of = [&](std::int32_t g) -> Pool& { return pools[static_cast<std::size_t>(g)]; };
  for (std::int64_t t = 0; t < tokens; ++t) {
    // The groups that got least so far, ties in random order.
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[stream.below(i)]);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return pool_of(a).taken < pool_of(b).taken;
    });
    std::fill(used.begin(), used.end(), 0);
    for (std::int32_t j = 0; j < gate.top_k; ++j) {
      std::int32_t best = -1;
      for (std::int32_t c = 0; c < chosen; ++c) {
        const std::int32_t g = order[static_cast<std::size_t>(c)];
        if (used[static_cast<std::size_t>(g)] < size &&
            (best < 0 || pool_of(g).taken < pool_of(best).taken)) {
          best = g;
        }
      }
      out[j] = pool_of(best).take(stream, {out, static_cast<std::size_t>(j)});
      ++used[static_cast<std::size_t>(best)];
    }
    for (std::int32_t c = 0; c < chosen; ++c) {
      pool_of(order[static_cast<std::size_t>(c)]).end_token();
    }
    out += gate.top_k;
  }
}

}  // namespace moesim

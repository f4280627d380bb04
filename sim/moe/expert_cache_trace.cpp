// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_cache_trace.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {

ExpertTrace::ExpertTrace(int layers, int experts) : layers_(layers), experts_(experts), begins_{0} {
  MOESIM_CHECK(layers >= 1 && experts >= 1 && experts <= INT16_MAX,
               "a trace has layers and experts");
}

void ExpertTrace::add_layer(std::span<const std::int16_t> set) {
  ids_.insert(ids_.end(), set.begin(), set.end());
  begins_.push_back(static_cast<std::int64_t>(ids_.size()));
}

std::span<const std::int16_t> ExpertTrace::at(int step, int layer) const {
  const auto i = static_cast<std::size_t>(step) * static_cast<std::size_t>(layers_) +
                 static_cast<std::size_t>(layer);
  return std::span(ids_).subspan(static_cast<std::size_t>(begins_[i]),
                                 static_cast<std::size_t>(begins_[i + 1] - begins_[i]));
}

std::vector<double> ExpertTrace::popularity(int first_step, int last_step) const {
  std::vector<double> counts(static_cast<std::size_t>(num_keys()), 0.0);
  for (int step = first_step; step < last_step; ++step) {
    for (int layer = 0; layer < layers_; ++layer) {
      for (const std::int16_t expert : at(step, layer)) {
        counts[static_cast<std::size_t>(key(layer, expert))] += 1.0;
      }
    }
  }
  return counts;
}

ExpertTrace ExpertTrace::slice(int first_step, int last_step) const {
  ExpertTrace part(layers_, experts_);
  for (int step = first_step; step < last_step; ++step) {
    for (int layer = 0; layer < layers_; ++layer) {
      part.add_layer(at(step, layer));
    }
  }
  return part;
}

ExpertTrace ExpertTrace::batched(int tokens) const {
  ExpertTrace merged(layers_, experts_);
  std::vector<int> seen(static_cast<std::size_t>(num_keys()), -1);
  std::vector<std::int16_t> set;
  for (int first = 0; first < steps(); first += tokens) {
    for (int layer = 0; layer < layers_; ++layer) {
      set.clear();
      for (int step = first; step < std::min(first + tokens, steps()); ++step) {
        for (const std::int16_t expert : at(step, layer)) {
          int& last = seen[static_cast<std::size_t>(key(layer, expert))];
          if (last != first) {
            last = first;
            set.push_back(expert);
          }
        }
      }
      merged.add_layer(set);
    }
  }
  return merged;
}

ExpertTrace ExpertTrace::reordered(std::span<const int> order) const {
  ExpertTrace other(layers_, experts_);
  for (const int step : order) {
    for (int layer = 0; layer < layers_; ++layer) {
      other.add_layer(at(step, layer));
    }
  }
  return other;
}

ExpertTrace sticky_trace(const StickyTraceSpec& spec) {
  MOESIM_CHECK(spec.top_k >= 1 && spec.top_k <= spec.experts, "a token takes some of the experts");
  ExpertTrace trace(spec.layers, spec.experts);
  std::vector<RandomStream> streams;
  for (int layer = 0; layer < spec.layers; ++layer) {
    streams.emplace_back(spec.seed, "expert_cache/sticky", static_cast<std::uint64_t>(layer));
  }
  std::vector<std::vector<std::int16_t>> last(static_cast<std::size_t>(spec.layers));
  std::vector<double> weights;
  std::vector<std::int16_t> set;
  for (int step = 0; step < spec.steps; ++step) {
    for (int layer = 0; layer < spec.layers; ++layer) {
      RandomStream& random = streams[static_cast<std::size_t>(layer)];
      if (spec.popularity.empty()) {
        weights.assign(static_cast<std::size_t>(spec.experts), 1.0);
      } else {
        weights = spec.popularity[static_cast<std::size_t>(layer) % spec.popularity.size()];
      }
      double total = std::accumulate(weights.begin(), weights.end(), 0.0);
      set.clear();
      const auto take = [&](std::int16_t expert) {
        set.push_back(expert);
        total -= weights[static_cast<std::size_t>(expert)];
        weights[static_cast<std::size_t>(expert)] = 0.0;
      };
      for (const std::int16_t expert : last[static_cast<std::size_t>(layer)]) {
        if (random.uniform() < spec.repeat_fraction) {
          take(expert);
        }
      }
      while (static_cast<int>(set.size()) < spec.top_k) {
        double left = random.uniform() * total;
        // The last expert with weight catches what rounding leaves over.
        std::int16_t chosen = -1;
        for (int e = 0; e < spec.experts && (chosen < 0 || left >= 0.0); ++e) {
          const double weight = weights[static_cast<std::size_t>(e)];
          if (weight > 0.0) {
            chosen = static_cast<std::int16_t>(e);
            left -= weight;
          }
        }
        MOESIM_CHECK(chosen >= 0, "at least top_k experts have a chance");
        take(chosen);
      }
      trace.add_layer(set);
      last[static_cast<std::size_t>(layer)] = set;
    }
  }
  return trace;
}

std::vector<int> swap_minimising_order(const ExpertTrace& trace) {
  const int n = trace.steps();
  const std::size_t words = (static_cast<std::size_t>(trace.num_keys()) + 63) / 64;
  std::vector<std::uint64_t> bits(static_cast<std::size_t>(n) * words, 0);
  for (int step = 0; step < n; ++step) {
    for (int layer = 0; layer < trace.layers(); ++layer) {
      for (const std::int16_t expert : trace.at(step, layer)) {
        const auto key = static_cast<std::size_t>(trace.key(layer, expert));
        bits[static_cast<std::size_t>(step) * words + key / 64] |= std::uint64_t{1} << (key % 64);
      }
    }
  }
  const auto shared = [&](int a, int b) {
    int common = 0;
    for (std::size_t w = 0; w < words; ++w) {
      common += std::popcount(bits[static_cast<std::size_t>(a) * words + w] &
                              bits[static_cast<std::size_t>(b) * words + w]);
    }
    return common;
  };
  std::vector<int> order;
  std::vector<bool> is_placed(static_cast<std::size_t>(n), false);
  for (int current = 0; n > 0 && current >= 0;) {
    order.push_back(current);
    is_placed[static_cast<std::size_t>(current)] = true;
    int next = -1;
    int most = -1;
    for (int step = 0; step < n; ++step) {
      if (!is_placed[static_cast<std::size_t>(step)] && shared(current, step) > most) {
        next = step;
        most = shared(current, step);
      }
    }
    current = next;
  }
  // 2-opt on the open path: reversing order[i..j] changes only the joints (i-1, i) and (j, j+1).
  const auto joint = [&](int i, int j) {
    return i < 0 || j >= n
               ? 0
               : shared(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
  };
  constexpr int kMaxPasses = 4;  // later passes change little
  bool is_improved = true;
  for (int pass = 0; pass < kMaxPasses && is_improved; ++pass) {
    is_improved = false;
    for (int i = 1; i < n; ++i) {
      for (int j = i + 1; j < n; ++j) {
        if (joint(i - 1, j) + joint(i, j + 1) > joint(i - 1, i) + joint(j, j + 1)) {
          std::reverse(order.begin() + i, order.begin() + j + 1);
          is_improved = true;
        }
      }
    }
  }
  return order;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_local.h"

#include <algorithm>
#include <numeric>

#include "sim/base/error.h"
#include "sim/moe/token_routing_skew.h"

namespace moesim {
namespace {

constexpr int kMaxTries = 64;

/// Experts from most to least popular.
std::vector<std::int16_t> by_popularity(const std::vector<double>& weights) {
  std::vector<std::int16_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::int16_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int16_t a, std::int16_t b) {
    return weights[static_cast<std::size_t>(a)] > weights[static_cast<std::size_t>(b)];
  });
  return order;
}

/// Index of the running sum that covers a random point.
std::size_t pick(const double* sums, std::size_t size, RandomStream& stream) {
  const double point = stream.uniform() * sums[size - 1];
  return std::min(static_cast<std::size_t>(std::upper_bound(sums, sums + size, point) - sums),
                  size - 1);
}

}  // namespace

LocalitySpec LocalitySpec::prefill() {
  return {.repeat_fraction = 0.045,
          .affinity_fraction = 0.79,
          .segment_sigma = 1.75,
          .segment_tokens = 15.0};
}

LocalitySpec LocalitySpec::decode() {
  LocalitySpec spec = prefill();
  spec.repeat_fraction = 0.14;
  return spec;
}

std::string problem_of(const LocalitySpec& locality) {
  const auto fraction = [](double x) { return x >= 0.0 && x < 1.0; };
  if (!fraction(locality.repeat_fraction) || !fraction(locality.affinity_fraction) ||
      !fraction(locality.repeat_fraction + locality.affinity_fraction)) {
    return "repeat_fraction and affinity_fraction must be at least 0 and sum below 1";
  }
  if (!(locality.segment_sigma >= 0.0 && locality.segment_sigma <= 20.0)) {
    return "segment_sigma must be 0 to 20";
  }
  return locality.segment_tokens >= 1.0 && locality.segment_tokens <= 1e9
             ? ""
             : "segment_tokens must be 1 to 1e9";
}

LocalRouting::LocalRouting(const RoutingSpec& spec, const LocalitySpec& locality,
                           std::int32_t layers)
    : spec_(spec), locality_(locality), pair_sums_(static_cast<std::size_t>(layers)) {
  check_routing(spec, "routing", "");
  MOESIM_CHECK(problem_of(locality).empty(), "locality is checked where it is read");
  MOESIM_CHECK(layers >= 1 && spec.kind != RoutingKind::trace && !spec.gate.is_group_limited(),
               "locality is drawn on top of a popularity without groups");
  for (std::int32_t l = 0; l < layers; ++l) {
    std::vector<double> weights = layer_popularity(spec, l);
    if (spec.kind != RoutingKind::gumbel) {
      weights = weights_of_inclusion(capped_inclusion(weights, spec.gate.top_k), spec.gate.top_k);
    }
    weights_.push_back(std::move(weights));
  }
  for (std::size_t l = 0; l + 1 < weights_.size(); ++l) {
    const std::vector<std::int16_t> here = by_popularity(weights_[l]);
    const std::vector<std::int16_t> next = by_popularity(weights_[l + 1]);
    std::vector<std::int16_t> successor(here.size());
    for (std::size_t r = 0; r < here.size(); ++r) {
      successor[static_cast<std::size_t>(here[r])] = next[r];
    }
    successor_.push_back(std::move(successor));
  }
}

void LocalRouting::set_pair_counts(std::int32_t layer, const std::vector<double>& pairs) {
  const std::size_t experts = static_cast<std::size_t>(spec_.gate.experts);
  MOESIM_CHECK(layer >= 0 && static_cast<std::size_t>(layer) + 1 < weights_.size() &&
                   pairs.size() == experts * experts,
               "pair counts of a layer that has a next one");
  std::vector<double>& sums = pair_sums_[static_cast<std::size_t>(layer)];
  sums.resize(pairs.size());
  for (std::size_t e = 0; e < experts; ++e) {
    std::partial_sum(pairs.begin() + static_cast<std::ptrdiff_t>(e * experts),
                     pairs.begin() + static_cast<std::ptrdiff_t>((e + 1) * experts),
                     sums.begin() + static_cast<std::ptrdiff_t>(e * experts));
  }
}

void LocalRouting::draw_sequence(std::int64_t number, std::int64_t tokens, std::int16_t* sets,
                                 std::size_t layer_stride) const {
  const std::size_t experts = static_cast<std::size_t>(spec_.gate.experts);
  const std::size_t k = static_cast<std::size_t>(spec_.gate.top_k);
  const std::size_t layers = weights_.size();
  RandomStream stream(spec_.seed, "routing/sequence", static_cast<std::uint64_t>(number));
  std::vector<double> sums(layers * experts);  // running sums of the tilted weights
  std::vector<std::int64_t> seen(experts, -1);
  std::int64_t stamp = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (t == 0 || stream.uniform() * locality_.segment_tokens < 1.0) {
      for (std::size_t l = 0; l < layers; ++l) {
        double sum = 0.0;
        for (std::size_t e = 0; e < experts; ++e) {
          sum += weights_[l][e] * portable_exp(locality_.segment_sigma * stream.normal());
          sums[l * experts + e] = sum;
        }
      }
    }
    for (std::size_t l = 0; l < layers; ++l) {
      std::int16_t* set = sets + l * layer_stride + static_cast<std::size_t>(t) * k;
      const std::int16_t* before = t > 0 ? set - k : nullptr;
      const std::int16_t* below = l > 0 ? set - layer_stride : nullptr;
      ++stamp;
      int tries = 0;
      for (std::size_t j = 0; j < k;) {
        const double u = stream.uniform();
        std::size_t e = 0;
        if (++tries > kMaxTries) {
          e = stream.below(experts);  // almost all weight is taken: any of the rest
        } else if (u < locality_.repeat_fraction && before != nullptr) {
          e = static_cast<std::size_t>(before[stream.below(k)]);
        } else if (u > 1.0 - locality_.affinity_fraction && below != nullptr) {
          const std::size_t from = static_cast<std::size_t>(below[stream.below(k)]);
          const std::vector<double>& pairs = pair_sums_[l - 1];
          const bool recorded = !pairs.empty() && pairs[(from + 1) * experts - 1] > 0.0;
          e = recorded ? pick(&pairs[from * experts], experts, stream)
                       : static_cast<std::size_t>(successor_[l - 1][from]);
        } else {
          e = pick(&sums[l * experts], experts, stream);
        }
        if (seen[e] != stamp) {
          seen[e] = stamp;
          set[j++] = static_cast<std::int16_t>(e);
          tries = 0;
        }
      }
    }
  }
}

TokenTrace LocalRouting::draw_sequences(std::int64_t first, std::int64_t sequences,
                                        std::int64_t tokens) const {
  MOESIM_CHECK(sequences >= 1 && tokens >= 1, "a trace holds tokens");
  TokenTrace trace;
  trace.name = "generated";
  trace.experts = spec_.gate.experts;
  trace.top_k = spec_.gate.top_k;
  trace.layers.resize(weights_.size());
  std::iota(trace.layers.begin(), trace.layers.end(), 0);
  const std::size_t k = static_cast<std::size_t>(trace.top_k);
  const std::size_t stride = static_cast<std::size_t>(sequences * tokens) * k;
  trace.sets.resize(stride * weights_.size());
  for (std::int64_t s = 0; s < sequences; ++s) {
    trace.sequence.insert(trace.sequence.end(), static_cast<std::size_t>(tokens),
                          static_cast<std::int32_t>(first + s));
    draw_sequence(first + s, tokens, &trace.sets[static_cast<std::size_t>(s * tokens) * k], stride);
  }
  return trace;
}

TokenTrace generated_sample_trace() {
  const RoutingSpec spec = {.kind = RoutingKind::gumbel,
                            .gate = {.experts = 64, .top_k = 6},
                            .sigma = 0.82,
                            .seed = 2026};
  return LocalRouting(spec, LocalitySpec::prefill(), 7).draw_sequences(0, 8, 136);
}

}  // namespace moesim

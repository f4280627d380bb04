// SPDX-License-Identifier: Apache-2.0
#include "calibrate/expert_load_sampling.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr int kDraws = 12;

ExpertLoad mean_of(const std::vector<ExpertLoad>& loads) {
  ExpertLoad mean;
  const double share = 1.0 / static_cast<double>(loads.size());
  for (const ExpertLoad& load : loads) {
    mean.assignments += share * load.assignments;
    mean.active_experts += share * load.active_experts;
    mean.hottest += share * load.hottest;
    mean.padded += share * load.padded;
  }
  return mean;
}

std::vector<std::int32_t> balanced_counts(std::int64_t tokens, int top_k, int experts) {
  std::vector<std::int32_t> counts(static_cast<std::size_t>(experts));
  const std::int64_t stride = (experts + top_k - 1) / top_k;
  for (int j = 0; j < top_k; ++j) {
    // Tokens walk through the experts one by one: whole rounds first, then the rest.
    for (std::int32_t& count : counts) {
      count += static_cast<std::int32_t>(tokens / experts);
    }
    for (std::int64_t t = 0; t < tokens % experts; ++t) {
      ++counts[static_cast<std::size_t>((t + j * stride) % experts)];
    }
  }
  return counts;
}

std::vector<std::int32_t> power_law_counts(std::int64_t tokens, int top_k, int experts,
                                           double exponent, RandomStream& random) {
  const double selections = static_cast<double>(tokens) * top_k;
  const double low = selections > experts ? 1.0 : 0.01;
  const double high =
      std::max(low * 1.0001, selections > experts ? 0.8 * static_cast<double>(tokens) : 2.0);
  const double e = 1.0 - exponent;
  const double from = portable_exp(e * portable_log(low));
  const double to = portable_exp(e * portable_log(high));
  std::vector<double> weights(static_cast<std::size_t>(experts));
  double sum = 0;
  for (double& weight : weights) {
    weight = portable_exp(portable_log(from + random.uniform() * (to - from)) / e);
    sum += weight;
  }
  std::vector<std::int32_t> counts(weights.size());
  std::int64_t total = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    counts[i] = static_cast<std::int32_t>(
        std::min(static_cast<double>(tokens), std::round(weights[i] / sum * selections)));
    total += counts[i];
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  const std::int64_t wanted = tokens * top_k;
  for (std::size_t i = 0; total != wanted; i = (i + 1) % order.size()) {
    std::int32_t& count = counts[order[i]];
    if (total < wanted && count < tokens) {
      ++count;
      ++total;
    } else if (total > wanted && count > 0) {
      --count;
      --total;
    }
  }
  return counts;
}

/// The contiguous group of experts with the largest total.
std::vector<std::int32_t> hottest_group(const std::vector<std::int32_t>& counts, int groups) {
  const std::size_t size =
      std::max<std::size_t>(1, counts.size() / static_cast<std::size_t>(groups));
  std::vector<std::int32_t> best;
  std::int64_t most = -1;
  for (std::size_t at = 0; at + size <= counts.size(); at += size) {
    const std::vector<std::int32_t> group(counts.begin() + static_cast<std::ptrdiff_t>(at),
                                          counts.begin() + static_cast<std::ptrdiff_t>(at + size));
    const std::int64_t total = std::accumulate(group.begin(), group.end(), std::int64_t{0});
    if (total > most) {
      most = total;
      best = group;
    }
  }
  return best;
}

/// Replicates the hottest experts into the spare slots and levels the groups (longest first, least
/// loaded group with room); returns the hottest group.
std::vector<std::int32_t> levelled_group(const std::vector<std::int32_t>& counts, int groups,
                                         int slots) {
  std::vector<int> replicas(counts.size(), 1);
  for (std::size_t spare = counts.size(); spare < static_cast<std::size_t>(slots); ++spare) {
    std::size_t hottest = 0;
    for (std::size_t i = 1; i < counts.size(); ++i) {
      if (static_cast<double>(counts[i]) / replicas[i] >
          static_cast<double>(counts[hottest]) / replicas[hottest]) {
        hottest = i;
      }
    }
    ++replicas[hottest];
  }
  std::vector<std::int32_t> parts;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    for (int r = 0; r < replicas[i]; ++r) {
      parts.push_back(counts[i] / replicas[i] + (r < counts[i] % replicas[i] ? 1 : 0));
    }
  }
  std::sort(parts.begin(), parts.end(), std::greater<>());
  const std::size_t room =
      std::max<std::size_t>(1, parts.size() / static_cast<std::size_t>(groups));
  std::vector<std::vector<std::int32_t>> packed(static_cast<std::size_t>(groups));
  std::vector<std::int64_t> totals(packed.size());
  for (const std::int32_t part : parts) {
    std::size_t least = packed.size();
    for (std::size_t g = 0; g < packed.size(); ++g) {
      if (packed[g].size() < room && (least == packed.size() || totals[g] < totals[least])) {
        least = g;
      }
    }
    if (least == packed.size()) {
      break;
    }
    packed[least].push_back(part);
    totals[least] += part;
  }
  const auto hottest = std::max_element(totals.begin(), totals.end()) - totals.begin();
  return packed[static_cast<std::size_t>(hottest)];
}

}  // namespace

ExpertLoad sampled_expert_load(double tokens, int top_k, int experts, int expert_ways,
                               const std::string& distribution, int slots) {
  using Key = std::tuple<double, int, int, int, std::string, int>;
  static std::map<Key, ExpertLoad> known;
  const Key key(tokens, top_k, experts, expert_ways, distribution, slots);
  if (const auto found = known.find(key); found != known.end()) {
    return found->second;
  }
  const auto whole_tokens = static_cast<std::int64_t>(tokens);
  ExpertLoad load;
  if (distribution == "balanced" || distribution == "uniform") {
    std::vector<std::int32_t> counts = balanced_counts(whole_tokens, top_k, experts);
    counts.resize(std::max<std::size_t>(1, counts.size() / static_cast<std::size_t>(expert_ways)));
    load = ExpertLoad::of(counts);
  } else if (distribution.rfind("power_law_", 0) == 0) {
    const double exponent = std::atof(distribution.c_str() + 10);
    if (exponent <= 0.5 || exponent > 5.0 || exponent == 1.0) {
      throw InputError("", "", "unknown exponent in \"" + distribution + "\"", "above 0.5, not 1");
    }
    const bool levelled = distribution.ends_with("_eplb");
    RandomStream random(20260821, "calibrate/" + distribution,
                        static_cast<std::uint64_t>(experts) * 1000003U +
                            static_cast<std::uint64_t>(whole_tokens) * 131U +
                            static_cast<std::uint64_t>(top_k));
    std::vector<ExpertLoad> draws;
    for (int draw = 0; draw < kDraws; ++draw) {
      const auto counts = power_law_counts(whole_tokens, top_k, experts, exponent, random);
      draws.push_back(
          ExpertLoad::of(levelled ? levelled_group(counts, expert_ways, std::max(slots, experts))
                                  : hottest_group(counts, expert_ways)));
    }
    load = mean_of(draws);
  } else {
    throw InputError("", "", "unknown distribution \"" + distribution + "\"",
                     "balanced, uniform, power_law_A, power_law_A_eplb");
  }
  known.emplace(key, load);
  return load;
}

}  // namespace moesim

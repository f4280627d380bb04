// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "sim/base/error.h"

namespace moesim {
namespace {

constexpr std::int32_t kMaxExperts = 32767;  // experts are stored as int16
/// Repeats in a row before the rest is drawn from an explicit list; rejection has no memory, so the
/// switch does not change the law.
constexpr int kMaxRepeats = 32;

/// Exponential variates by the ziggurat of 256 layers [Marsaglia & Tsang 2000], its tables made
/// with portable arithmetic: exact in law, a tenth of the cost of a logarithm.
class Ziggurat {
 public:
  Ziggurat() {
    constexpr double kEdge = 7.69711747013104972;    // start of the tail, from the same paper
    constexpr double kArea = 3.9496598225815572e-3;  // of each layer
    x_[0] = kArea * portable_exp(kEdge);
    x_[1] = kEdge;
    for (std::size_t i = 2; i < 256; ++i) {
      x_[i] = -portable_log(kArea / x_[i - 1] + portable_exp(-x_[i - 1]));
    }
    x_[256] = 0.0;
    for (std::size_t i = 0; i < x_.size(); ++i) {
      f_[i] = portable_exp(-x_[i]);
    }
  }
  double draw(RandomStream& stream) const {
    double tail = 0.0;
    while (true) {
      const std::uint64_t bits = stream.next();
      const std::size_t i = bits & 255;
      const double x = static_cast<double>(bits >> 11) * 0x1.0p-53 * x_[i];
      if (x < x_[i + 1]) {
        return tail + x;
      }
      if (i == 0) {
        tail += x_[1];
      } else if (f_[i] + stream.uniform() * (f_[i + 1] - f_[i]) < portable_exp(-x)) {
        return tail + x;
      }
    }
  }

 private:
  std::array<double, 257> x_;
  std::array<double, 257> f_;
};

const Ziggurat& exponentials() {
  static const Ziggurat kZiggurat;
  return kZiggurat;
}

/// exp(x), x >= 0, relative error below 2e-4 up to 1.5 (a Pade approximant), exact beyond: for
/// weights that are normalised right after.
double roughly_exp(double x) {
  if (x > 1.5) {
    return portable_exp(x);
  }
  const double even = 120.0 + 12.0 * x * x;
  const double odd = x * (60.0 + x * x);
  return (even + odd) / (even - odd);
}

}  // namespace

const char* problem_of(const GateShape& gate) {
  if (gate.experts < 1 || gate.experts > kMaxExperts) {
    return "experts must be 1 to 32767";
  }
  if (gate.top_k < 1 || gate.top_k > gate.experts) {
    return "top_k must be 1 to the number of experts";
  }
  if (gate.groups < 1 || gate.experts % gate.groups != 0) {
    return "groups must divide the number of experts";
  }
  if (gate.groups_chosen < 1 || gate.groups_chosen > gate.groups) {
    return "groups_chosen must be 1 to the number of groups";
  }
  if (gate.top_k > gate.groups_chosen * (gate.experts / gate.groups)) {
    return "the chosen groups must hold at least top_k experts";
  }
  if (gate.group_score_terms < 1 || gate.group_score_terms > gate.experts / gate.groups) {
    return gate.groups > 1 ? "group_score_terms must be 1 to the experts of a group" : "";
  }
  return "";
}

TokenSetSampler::TokenSetSampler(const GateShape& gate, std::span<const double> weights)
    : gate_(gate), weights_(weights.begin(), weights.end()), cells_(weights.size()) {
  MOESIM_CHECK(*problem_of(gate) == '\0', "a gate's shape is checked where it is read");
  MOESIM_CHECK(weights.size() == static_cast<std::size_t>(gate.experts), "one weight an expert");
  const std::int32_t num_groups = gate.is_group_limited() ? gate.groups : 1;
  const std::int32_t size = gate.experts / num_groups;
  for (std::int32_t g = 0; g < num_groups; ++g) {
    Group group{.first = g * size, .size = size};
    for (std::int32_t e = group.first; e < group.first + size; ++e) {
      const double w = weights_[static_cast<std::size_t>(e)];
      MOESIM_CHECK(w >= 0.0 && w < std::numeric_limits<double>::infinity(), "weights are finite");
      group.total += w;
      group.positive += w > 0.0 ? 1 : 0;
    }
    build_alias(group);
    groups_.push_back(group);
  }
  // The worst choice of groups must still hold top_k experts that can be drawn.
  std::vector<std::int32_t> positives;
  for (const Group& group : groups_) {
    positives.push_back(group.positive);
  }
  std::sort(positives.begin(), positives.end());
  std::int32_t fewest = 0;
  const std::int32_t chosen = gate.is_group_limited() ? gate.groups_chosen : 1;
  for (std::int32_t g = 0; g < chosen; ++g) {
    fewest += positives[static_cast<std::size_t>(g)];
  }
  MOESIM_CHECK(fewest >= gate.top_k, "at least top_k experts need a positive weight");
}

void TokenSetSampler::build_alias(const Group& group) {
  const double mean = group.total / group.size;
  std::vector<double> rest(static_cast<std::size_t>(group.size));
  std::vector<std::int32_t> below;
  std::vector<std::int32_t> above;
  for (std::int32_t i = 0; i < group.size; ++i) {
    const std::size_t at = static_cast<std::size_t>(i);
    rest[at] = mean > 0.0 ? weights_[static_cast<std::size_t>(group.first + i)] / mean : 1.0;
    (rest[at] < 1.0 ? below : above).push_back(i);
    const std::uint16_t own = static_cast<std::uint16_t>(group.first + i);
    cells_[static_cast<std::size_t>(group.first + i)] = {0xffffffffu, own, own};
  }
  while (!below.empty() && !above.empty()) {
    const std::int32_t low = below.back();
    below.pop_back();
    const std::int32_t high = above.back();
    AliasCell& cell = cells_[static_cast<std::size_t>(group.first + low)];
    const double kept = rest[static_cast<std::size_t>(low)];
    cell.threshold = static_cast<std::uint32_t>(std::min(kept * 0x1.0p32, 4294967295.0));
    cell.other = static_cast<std::uint16_t>(group.first + high);
    rest[static_cast<std::size_t>(high)] -= 1.0 - kept;
    if (rest[static_cast<std::size_t>(high)] < 1.0) {
      above.pop_back();
      below.push_back(high);
    }
  }
}

void TokenSetSampler::draw_plain(RandomStream& stream, std::int64_t tokens,
                                 std::int16_t* out) const {
  const std::uint64_t experts = static_cast<std::uint64_t>(gate_.experts);
  const std::int32_t top_k = gate_.top_k;
  const AliasCell* cells = cells_.data();
  std::vector<std::uint32_t> seen_store(static_cast<std::size_t>(gate_.experts), 0);
  std::uint32_t* seen = seen_store.data();
  std::uint32_t stamp = 0;
  RandomStream local = stream;  // a copy in registers; handed back below
  std::uint64_t bits = 0;
  bool has_half = false;
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (++stamp == 0) {
      std::fill(seen_store.begin(), seen_store.end(), 0u);
      stamp = 1;
    }
    int repeats = 0;
    for (std::int32_t j = 0; j < top_k;) {
      // One 64-bit draw serves two selections; the low half of the product is the fraction.
      bits = has_half ? bits >> 32 : local.next();
      has_half = !has_half;
      const std::uint64_t product = (bits & 0xffffffffu) * experts;
      const AliasCell cell = cells[product >> 32];
      const std::uint32_t expert =
          static_cast<std::uint32_t>(product) < cell.threshold ? cell.own : cell.other;
      if (seen[expert] != stamp) {
        seen[expert] = stamp;
        out[j++] = static_cast<std::int16_t>(expert);
        repeats = 0;
      } else if (++repeats > kMaxRepeats) {
        const std::int32_t rest = draw_remaining(groups_[0], local, seen_store, stamp);
        seen[rest] = stamp;
        out[j++] = static_cast<std::int16_t>(rest);
      }
    }
    out += top_k;
  }
  stream = local;
}

std::int32_t TokenSetSampler::draw_remaining(const Group& group, RandomStream& stream,
                                             std::span<const std::uint32_t> seen,
                                             std::uint32_t stamp) const {
  double total = 0.0;
  for (std::int32_t e = group.first; e < group.first + group.size; ++e) {
    total +=
        seen[static_cast<std::size_t>(e)] == stamp ? 0.0 : weights_[static_cast<std::size_t>(e)];
  }
  double point = stream.uniform() * total;
  std::int32_t last = -1;
  for (std::int32_t e = group.first; e < group.first + group.size; ++e) {
    const double w = weights_[static_cast<std::size_t>(e)];
    if (seen[static_cast<std::size_t>(e)] == stamp || w <= 0.0) {
      continue;
    }
    last = e;
    if (point < w) {
      break;
    }
    point -= w;
  }
  MOESIM_CHECK(last >= 0, "an expert with a positive weight is left");
  return last;
}

std::int32_t TokenSetSampler::draw_unseen(const Group& group, RandomStream& stream,
                                          std::span<const std::uint32_t> seen,
                                          std::uint32_t stamp) const {
  for (int repeats = 0; repeats <= kMaxRepeats; ++repeats) {
    const std::uint64_t product = (stream.next() >> 32) * static_cast<std::uint64_t>(group.size);
    const AliasCell cell = cells_[static_cast<std::size_t>(group.first) + (product >> 32)];
    const std::uint32_t expert =
        static_cast<std::uint32_t>(product) < cell.threshold ? cell.own : cell.other;
    if (seen[expert] != stamp) {
      return static_cast<std::int32_t>(expert);
    }
  }
  return draw_remaining(group, stream, seen, stamp);
}

/// Arrivals of one group within one token: times rise, experts differ.
struct TokenSetSampler::Scratch {
  std::vector<double> times;           ///< [groups, top_k + terms + 1]
  std::vector<std::int32_t> arrivals;  ///< same shape
  std::vector<std::int32_t> known;     ///< [groups] arrivals drawn so far
  std::vector<std::int32_t> used;      ///< [groups] arrivals selected so far
  std::vector<double> left;            ///< [groups] weight not yet arrived
  std::vector<double> score;           ///< [groups] product of the first arrival times
  std::vector<std::int32_t> order;     ///< [groups] groups by rising product
  std::vector<std::pair<std::size_t, std::size_t>> selected;  ///< [top_k] (group, arrival)
  std::size_t row = 0;
};

template <class Selected>
void TokenSetSampler::draw_grouped(RandomStream& stream, std::int64_t tokens,
                                   Selected selected) const {
  const Ziggurat& ziggurat = exponentials();
  const std::int32_t num_groups = gate_.groups;
  const std::size_t groups = static_cast<std::size_t>(num_groups);
  const std::int32_t terms = gate_.group_score_terms;
  const std::size_t row = static_cast<std::size_t>(gate_.top_k + terms + 1);
  Scratch s;
  s.row = row;
  s.times.resize(groups * row);
  s.arrivals.resize(groups * row);
  s.known.resize(groups);
  s.used.resize(groups);
  s.left.resize(groups);
  s.score.resize(groups);
  s.order.resize(groups);
  s.selected.resize(static_cast<std::size_t>(gate_.top_k));
  std::vector<std::uint32_t> seen(static_cast<std::size_t>(gate_.experts), 0);
  std::uint32_t stamp = 0;
  const double never = std::numeric_limits<double>::infinity();

  const auto draw_next = [&](std::size_t g) {
    const Group& group = groups_[g];
    const std::int32_t n = s.known[g]++;
    const std::size_t at = g * row + static_cast<std::size_t>(n);
    if (n >= group.positive) {
      s.times[at] = never;
      s.arrivals[at] = -1;
      return;
    }
    const double start = n == 0 ? 0.0 : s.times[at - 1];
    s.times[at] = start + ziggurat.draw(stream) / s.left[g];
    const std::int32_t expert = draw_unseen(group, stream, seen, stamp);
    seen[static_cast<std::size_t>(expert)] = stamp;
    // Rounding must not leave the rest at or below zero while experts remain.
    s.left[g] =
        std::max(s.left[g] - weights_[static_cast<std::size_t>(expert)], group.total * 1e-15);
    s.arrivals[at] = expert;
  };

  for (std::int64_t t = 0; t < tokens; ++t) {
    if (++stamp == 0) {
      std::fill(seen.begin(), seen.end(), 0u);
      stamp = 1;
    }
    for (std::size_t g = 0; g < groups; ++g) {
      s.known[g] = 0;
      s.used[g] = 0;
      s.left[g] = groups_[g].total;
      s.score[g] = 1.0;
      for (std::int32_t n = 0; n < terms; ++n) {
        draw_next(g);
        s.score[g] *= s.times[g * row + static_cast<std::size_t>(n)];
      }
      // Insertion keeps `order` sorted; a handful of groups.
      std::size_t i = g;
      for (; i > 0 && s.score[static_cast<std::size_t>(s.order[i - 1])] > s.score[g]; --i) {
        s.order[i] = s.order[i - 1];
      }
      s.order[i] = static_cast<std::int32_t>(g);
    }
    for (std::int32_t j = 0; j < gate_.top_k; ++j) {
      std::size_t best = 0;
      double best_time = never;
      for (std::int32_t c = 0; c < gate_.groups_chosen; ++c) {
        const std::size_t g = static_cast<std::size_t>(s.order[static_cast<std::size_t>(c)]);
        if (s.used[g] == s.known[g]) {
          draw_next(g);
        }
        const double time = s.times[g * row + static_cast<std::size_t>(s.used[g])];
        if (time < best_time) {
          best_time = time;
          best = g;
        }
      }
      MOESIM_CHECK(best_time < never, "the chosen groups hold top_k experts");
      s.selected[static_cast<std::size_t>(j)] = {best, static_cast<std::size_t>(s.used[best]++)};
    }
    selected(s);
  }
}

void TokenSetSampler::draw(RandomStream& stream, std::int64_t tokens, std::int16_t* out) const {
  if (gate_.is_group_limited()) {
    const std::size_t k = static_cast<std::size_t>(gate_.top_k);
    draw_grouped(stream, tokens, [&out, k](const Scratch& s) {
      for (std::size_t j = 0; j < k; ++j) {
        const auto [group, index] = s.selected[j];
        *out++ = static_cast<std::int16_t>(s.arrivals[group * s.row + index]);
      }
    });
  } else {
    draw_plain(stream, tokens, out);
  }
}

/// Who stands behind selected arrivals, summed over tokens. Given the times t_1 < ... < t_n of a
/// group's arrivals known so far, the expert of arrival i is e with probability
/// ~ w_e exp(w_e (t_n - t_i)), and is none of the group's other known arrivals.
///
/// Only the wait t_n - t_i changes from token to token, so waits are rounded to bins and each bin
/// sums the normalisers its law was asked for with; what the law must leave out is taken off at
/// once. A token then costs its known arrivals, not all experts of its groups. A bin moves the
/// heaviest weight of the group by 2.5% at most, up as often as down: 1e-4 of the mean.
class TokenSetSampler::InclusionSums {
 public:
  explicit InclusionSums(const TokenSetSampler& sampler)
      : sampler_(sampler),
        sums_(sampler.weights_.size(), 0.0),
        asked_(sampler.groups_.size() * kBins, 0.0) {
    for (const Group& group : sampler.groups_) {
      const std::span<const double> weights = weights_of(group);
      bins_per_second_.push_back(kBinsPerUnit * *std::max_element(weights.begin(), weights.end()));
      for (std::size_t bin = 0; bin < kBins; ++bin) {
        // Bin 0 is no wait at all, which is frequent: the last arrival known.
        const double middle = std::max(0.0, static_cast<double>(bin) - 0.5);
        totals_.push_back(append_law(weights, middle / bins_per_second_.back(), law_));
      }
    }
  }

  /// Selected arrival `index` of the `arrivals` known of group `g`, `wait` before the last of them.
  void add(std::size_t g, std::span<const std::int32_t> arrivals, std::size_t index, double wait) {
    const Group& group = sampler_.groups_[g];
    const auto first = static_cast<std::size_t>(group.first);
    const double place = std::ceil(wait * bins_per_second_[g]);
    if (place < kBins) {
      const auto row = static_cast<std::size_t>(place);
      const std::size_t bin = g * kBins + row;
      const double* law = &law_[first * kBins + row * static_cast<std::size_t>(group.size)];
      double left = totals_[bin];
      for (std::size_t i = 0; i < arrivals.size(); ++i) {
        left -= i == index ? 0.0 : law[static_cast<std::size_t>(arrivals[i]) - first];
      }
      if (left > kSmallestRest * totals_[bin]) {
        const double share = 1.0 / left;
        asked_[bin] += share;
        for (std::size_t i = 0; i < arrivals.size(); ++i) {
          const auto e = static_cast<std::size_t>(arrivals[i]);
          sums_[e] -= i == index ? 0.0 : share * law[e - first];
        }
        return;
      }
    }
    // Waits beyond the bins, and rests that a difference would lose: the law itself, divided by
    // the largest of its exponentials, which may overflow.
    posterior_.assign(static_cast<std::size_t>(group.size), 0.0);
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
      posterior_[static_cast<std::size_t>(arrivals[i]) - first] = i == index ? 0.0 : -1.0;
    }
    double heaviest = 0.0;
    for (std::size_t e = 0; e < posterior_.size(); ++e) {
      heaviest = posterior_[e] < 0.0 ? heaviest : std::max(heaviest, sampler_.weights_[first + e]);
    }
    double total = 0.0;
    for (std::size_t e = 0; e < posterior_.size(); ++e) {
      const double w = sampler_.weights_[first + e];
      posterior_[e] = posterior_[e] < 0.0 ? 0.0 : w * portable_exp((w - heaviest) * wait);
      total += posterior_[e];
    }
    for (std::size_t e = 0; e < posterior_.size(); ++e) {
      sums_[first + e] += posterior_[e] / total;
    }
  }

  /// Expected selections of each expert over all tokens added [experts].
  std::vector<double> sums() const {
    std::vector<double> sums = sums_;
    for (std::size_t g = 0; g < sampler_.groups_.size(); ++g) {
      const auto first = static_cast<std::size_t>(sampler_.groups_[g].first);
      const auto size = static_cast<std::size_t>(sampler_.groups_[g].size);
      for (std::size_t bin = 0; bin < kBins; ++bin) {
        for (std::size_t e = 0; e < size; ++e) {
          sums[first + e] += asked_[g * kBins + bin] * law_[first * kBins + bin * size + e];
        }
      }
    }
    for (double& sum : sums) {
      sum = std::max(0.0, sum);
    }
    return sums;
  }

 private:
  static constexpr std::size_t kBins = 64;
  static constexpr double kBinsPerUnit = 20.0;   // of wait times the heaviest weight
  static constexpr double kSmallestRest = 1e-6;  // of a law's total, that a difference keeps

  std::span<const double> weights_of(const Group& group) const {
    return std::span(sampler_.weights_)
        .subspan(static_cast<std::size_t>(group.first), static_cast<std::size_t>(group.size));
  }
  static double append_law(std::span<const double> weights, double wait, std::vector<double>& law) {
    double total = 0.0;
    for (const double w : weights) {
      law.push_back(w * roughly_exp(w * wait));
      total += law.back();
    }
    return total;
  }

  const TokenSetSampler& sampler_;
  std::vector<double> sums_;             // [experts]
  std::vector<double> bins_per_second_;  // [groups], of the arrival times' own unit
  std::vector<double> law_;              // [groups][kBins][experts of the group]
  std::vector<double> totals_;           // [groups][kBins]
  std::vector<double> asked_;            // [groups][kBins] sum of 1 / what a law leaves
  std::vector<double> posterior_;
};

std::vector<double> TokenSetSampler::estimate_inclusion(RandomStream& stream, std::int64_t tokens,
                                                        std::int16_t* out) const {
  MOESIM_CHECK(gate_.is_group_limited() && tokens > 0, "plain top-k has a closed form");
  InclusionSums sums(*this);
  draw_grouped(stream, tokens, [&](const Scratch& s) {
    for (const auto& [g, index] : s.selected) {
      const std::size_t row = g * s.row;
      if (out != nullptr) {
        *out++ = static_cast<std::int16_t>(s.arrivals[row + index]);
      }
      std::size_t known = static_cast<std::size_t>(s.known[g]);
      while (s.arrivals[row + known - 1] < 0) {  // "never": the group has no more experts
        --known;
      }
      sums.add(g, std::span(s.arrivals).subspan(row, known), index,
               s.times[row + known - 1] - s.times[row + index]);
    }
  });
  std::vector<double> inclusion = sums.sums();
  for (double& p : inclusion) {
    p /= static_cast<double>(tokens);
  }
  return inclusion;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_law.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/exp_lanes.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

/// Gauss-Legendre on [-1, 1], 8 points (Abramowitz & Stegun, table 25.4): positive half.
constexpr std::array<double, 4> kNodes = {0.1834346424956498, 0.5255324099163290,
                                          0.7966664774136267, 0.9602898564975363};
constexpr std::array<double, 4> kNodeWeights = {0.3626837833783620, 0.3137066458778873,
                                                0.2223810344533745, 0.1012285362903763};
/// From this mean on counts are treated as skewed normals; the error in a maximum is below 0.2%.
constexpr double kLarge = 48.0;
constexpr double kTailMass = 1e-9;  ///< what the quadrature range leaves out on each side

/// The first `k` probabilities (0 .. k-1 clocks rang) of clocks taken one by one.
class RangCount {
 public:
  RangCount(std::span<const double> weights, std::int32_t top_k)
      : weights_(weights),
        k_(static_cast<std::size_t>(top_k)),
        rang_(weights.size()),
        prefix_((weights.size() + 1) * k_),
        suffix_(k_) {}

  /// P(fewer than k of all clocks rang by `t`).
  double below_k(double t) {
    ring(t);
    fill_prefixes();
    const double* all = &prefix_[weights_.size() * k_];
    double sum = 0.0;
    for (std::size_t j = 0; j < k_; ++j) {
      sum += all[j];
    }
    return sum;
  }

  /// Adds scale * w_e t exp(-w_e t) P(fewer than k others rang by t) to `sums` [experts].
  void add_density(double t, double scale, std::span<double> sums) {
    ring(t);
    fill_prefixes();
    std::fill(suffix_.begin(), suffix_.end(), 0.0);
    suffix_[0] = 1.0;
    for (std::size_t e = weights_.size(); e-- > 0;) {
      const double* prefix = &prefix_[e * k_];
      double cumulative = 0.0;
      double others = 0.0;
      for (std::size_t j = 0; j < k_; ++j) {  // prefix has k-1-j rung, suffix at most j
        cumulative += suffix_[j];
        others += prefix[k_ - 1 - j] * cumulative;
      }
      sums[e] += scale * weights_[e] * t * (1.0 - rang_[e]) * others;
      push(suffix_.data(), suffix_.data(), rang_[e]);
    }
  }

 private:
  void ring(double t) {
    for (std::size_t e = 0; e < weights_.size(); ++e) {
      rang_[e] = 1.0 - portable_exp(-weights_[e] * t);
    }
  }
  void push(const double* from, double* to, double rang) const {
    for (std::size_t j = k_; j-- > 1;) {
      to[j] = from[j] * (1.0 - rang) + from[j - 1] * rang;
    }
    to[0] = from[0] * (1.0 - rang);
  }
  void fill_prefixes() {
    std::fill(prefix_.begin(), prefix_.begin() + static_cast<std::ptrdiff_t>(k_), 0.0);
    prefix_[0] = 1.0;
    for (std::size_t e = 0; e < weights_.size(); ++e) {
      push(&prefix_[e * k_], &prefix_[(e + 1) * k_], rang_[e]);
    }
  }

  std::span<const double> weights_;
  std::size_t k_;
  std::vector<double> rang_;
  std::vector<double> prefix_;
  std::vector<double> suffix_;
};

/// The x = log t where P(fewer than k rang) crosses `level`, within 0.05.
double crossing(RangCount& count, double low, double high, double level) {
  while (high - low > 0.05) {
    const double middle = 0.5 * (low + high);
    (count.below_k(portable_exp(middle)) > level ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace

std::vector<double> inclusion_of_weights(std::span<const double> weights, std::int32_t top_k) {
  const std::size_t experts = weights.size();
  std::vector<double> inclusion(experts, 0.0);
  std::vector<double> positive;
  std::vector<std::size_t> index;
  for (std::size_t e = 0; e < experts; ++e) {
    if (weights[e] > 0.0) {
      positive.push_back(weights[e]);
      index.push_back(e);
    }
  }
  const std::size_t k = static_cast<std::size_t>(top_k);
  MOESIM_CHECK(index.size() >= k && k >= 1, "at least top_k experts need a positive weight");
  if (index.size() == k) {
    for (const std::size_t e : index) {
      inclusion[e] = 1.0;
    }
    return inclusion;
  }
  double total = 0.0;
  for (const double w : positive) {
    total += w;
  }
  const double largest = *std::max_element(positive.begin(), positive.end());
  const double smallest = *std::min_element(positive.begin(), positive.end());
  if (largest - smallest <= 1e-12 * largest) {
    for (const std::size_t e : index) {
      inclusion[e] = static_cast<double>(k) / static_cast<double>(index.size());
    }
    return inclusion;
  }

  // Every expert's own factor is a probability density in x = log t; the tail P(fewer than k others
  // rang) cuts it off. Left of `from`, nobody else has reached k rings and the integral is 1 -
  // exp(-w t).
  RangCount count(positive, top_k);
  const double low = portable_log(1e-12 / total);
  const double high = portable_log(50.0 * static_cast<double>(k) / smallest);
  const double from = crossing(count, low, high, 1.0 - kTailMass) - 0.05;
  const double to = crossing(count, from, high, kTailMass) + 0.05;
  const int panels = std::max(3, static_cast<int>(std::ceil((to - from) / 0.7)));
  const double half = 0.5 * (to - from) / panels;
  std::vector<double> sums(positive.size(), 0.0);
  for (int panel = 0; panel < panels; ++panel) {
    const double centre = from + (2 * panel + 1) * half;
    for (std::size_t i = 0; i < kNodes.size(); ++i) {
      for (const double side : {-1.0, 1.0}) {
        count.add_density(portable_exp(centre + side * half * kNodes[i]), half * kNodeWeights[i],
                          sums);
      }
    }
  }
  const double start = portable_exp(from);
  double sum = 0.0;
  for (std::size_t i = 0; i < positive.size(); ++i) {
    sums[i] += 1.0 - portable_exp(-positive[i] * start);
    sum += sums[i];
  }
  for (std::size_t i = 0; i < positive.size(); ++i) {
    inclusion[index[i]] = std::min(1.0, sums[i] * static_cast<double>(k) / sum);
  }
  return inclusion;
}

std::vector<double> weights_of_inclusion(std::span<const double> inclusion, std::int32_t top_k) {
  constexpr double kAlmostOne = 1.0 - 1e-7;
  std::vector<double> weights(inclusion.size());
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    weights[e] = -portable_log(1.0 - std::min(inclusion[e], kAlmostOne));
  }
  for (int round = 0; round < 30; ++round) {
    const std::vector<double> reached = inclusion_of_weights(weights, top_k);
    double worst = 0.0;
    for (std::size_t e = 0; e < inclusion.size(); ++e) {
      const double wanted = std::min(inclusion[e], kAlmostOne);
      if (wanted <= 0.0 || reached[e] <= 0.0) {
        continue;
      }
      const double now = std::min(reached[e], kAlmostOne);
      worst =
          std::max(worst, std::min(std::fabs(now / wanted - 1.0), std::fabs(now - wanted) * 100.0));
      // Scale by the ratio of the log-survivals: the step that is exact when T is fixed.
      weights[e] *= portable_log(1.0 - wanted) / portable_log(1.0 - now);
    }
    if (worst < 1e-4) {
      break;
    }
  }
  return weights;
}

std::vector<double> capped_inclusion(std::span<const double> loads, std::int32_t top_k) {
  std::vector<double> inclusion(loads.size(), 0.0);
  std::vector<bool> full(loads.size(), false);
  double left = top_k;
  while (true) {
    double sum = 0.0;
    std::size_t open = 0;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      sum += full[e] ? 0.0 : loads[e];
      open += full[e] ? 0 : 1;
    }
    bool changed = false;
    double taken = 0.0;
    for (std::size_t e = 0; e < loads.size(); ++e) {
      if (full[e]) {
        continue;
      }
      inclusion[e] = sum > 0.0 ? loads[e] * left / sum : left / static_cast<double>(open);
      if (inclusion[e] >= 1.0) {
        inclusion[e] = 1.0;
        full[e] = true;
        taken += 1.0;
        changed = true;
      }
    }
    if (!changed) {
      return inclusion;
    }
    left = std::max(0.0, left - taken);
  }
}

namespace {

/// The distribution function at `z`, `exponential` = exp(-z^2 / 2).
double normal_cdf_of_tail(double z, double exponential) {
  const double x = std::fabs(z);
  if (x > 38.0) {
    return z > 0.0 ? 1.0 : 0.0;
  }
  const double t = 1.0 / (1.0 + 0.2316419 * x);
  const double poly =
      t *
      (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const double tail = 0.3989422804014327 * exponential * poly;
  return z > 0.0 ? 1.0 - tail : tail;
}

}  // namespace

double normal_cdf(double z) {
  const double x = std::fabs(z);
  return normal_cdf_of_tail(z, portable_exp(-0.5 * x * x));
}

namespace {

/// Distribution function of one count, asked for at rising n = 0, 1, 2 ...
class CountLaw {
 public:
  CountLaw(double mean, double variance) : mean_(mean) {
    // (a, b, 0): P(n) = (a + b/n) P(n-1), mean (a+b)/(1-a), variance mean/(1-a).
    const double a = variance > 0.0 ? 1.0 - mean / variance : -1e12;
    degenerate_ = mean <= 0.0 || a < -1e6;
    if (degenerate_) {
      return;
    }
    a_ = a;
    b_ = mean * (1.0 - a) - a;
    const double log_zero = std::fabs(a) < 1e-9 ? -mean : portable_log(1.0 - a) * (a_ + b_) / a;
    last_ = portable_exp(log_zero);
    sum_ = last_;
  }
  /// P(X <= n); `n` is one more than at the last call, or 0 at first.
  double at(int n) {
    if (degenerate_) {
      return n + 1e-9 >= mean_ ? 1.0 : 0.0;
    }
    if (n > 0) {
      last_ *= std::max(0.0, a_ + b_ / n);
      sum_ += last_;
    }
    return std::min(1.0, sum_);
  }

 private:
  double mean_;
  bool degenerate_ = false;
  double a_ = 0.0;
  double b_ = 0.0;
  double last_ = 0.0;
  double sum_ = 0.0;
};

double small_expected_max(std::span<const double> means, std::span<const double> variances) {
  std::vector<CountLaw> laws;
  for (std::size_t i = 0; i < means.size(); ++i) {
    laws.emplace_back(means[i], variances[i]);
  }
  double expected = 0.0;
  for (int n = 0;; ++n) {
    double all_below = 1.0;
    for (CountLaw& law : laws) {
      all_below *= law.at(n);
    }
    expected += 1.0 - all_below;
    if (all_below > 1.0 - 1e-9 || n > 4096) {
      return expected;
    }
  }
}

/// P(X <= x) of a large count: shifted gamma with the mean, variance and skewness given. Beyond
/// `kCertain` deviations of the normal that stands for it, the result is 1 to the last bit;
/// `is_certain` then says that it stays so for larger x.
constexpr double kCertain = 8.5;  // the tail is 1e-17 there, half a bit of 1 is 5.5e-17
double skewed_cdf(double x, double mean, double sd, double skewness, bool& is_certain) {
  if (sd <= 0.0) {
    is_certain = x >= mean;
    return x >= mean ? 1.0 : 0.0;
  }
  const double z = (x - mean) / sd;
  const double g = std::fabs(skewness);
  if (g < 1e-4) {
    is_certain = z > kCertain;
    return normal_cdf(z);
  }
  const double shape = 4.0 / (g * g);
  const double y = 1.0 + (skewness > 0.0 ? z : -z) / std::sqrt(shape);
  if (y <= 0.0) {
    is_certain = skewness < 0.0;
    return skewness > 0.0 ? 0.0 : 1.0;
  }
  const double third = portable_exp(portable_log(y) / 3.0);
  const double argument = (third - 1.0 + 1.0 / (9.0 * shape)) * 3.0 * std::sqrt(shape);
  is_certain = (skewness > 0.0 ? argument : -argument) > kCertain;
  const double p = normal_cdf(argument);
  return skewness > 0.0 ? p : 1.0 - p;
}

/// A large count, for `skewed_cdf`.
struct LargeLaw {
  double mean, sd, skewness;
};

/// `skewed_cdf` of kExpLanes laws: the same bits.
void skewed_cdf(double x, const LargeLaw* laws, ExpLanes& cdf,
                std::array<bool, kExpLanes>& is_certain) {
  ExpLanes shape;
  ExpLanes y;
  bool usual = true;
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    const LargeLaw& law = laws[i];
    const double z = (x - law.mean) / law.sd;
    const double g = std::fabs(law.skewness);
    shape[i] = 4.0 / (g * g);
    y[i] = 1.0 + (law.skewness > 0.0 ? z : -z) / std::sqrt(shape[i]);
    usual = usual && law.sd > 0.0 && g >= 1e-4 && y[i] > 0.0;
  }
  if (!usual) {
    for (std::size_t i = 0; i < kExpLanes; ++i) {
      is_certain[i] = false;
      cdf[i] = skewed_cdf(x, laws[i].mean, laws[i].sd, laws[i].skewness, is_certain[i]);
    }
    return;
  }
  ExpLanes third;
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    third[i] = portable_log(y[i]) / 3.0;
  }
  third = portable_exp(third);
  ExpLanes argument;
  ExpLanes tail;
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    argument[i] = (third[i] - 1.0 + 1.0 / (9.0 * shape[i])) * 3.0 * std::sqrt(shape[i]);
    const double away = std::fabs(argument[i]);
    tail[i] = -0.5 * away * away;
  }
  tail = portable_exp(tail);
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    const bool rises = laws[i].skewness > 0.0;
    is_certain[i] = (rises ? argument[i] : -argument[i]) > kCertain;
    const double p = normal_cdf_of_tail(argument[i], tail[i]);
    cdf[i] = rises ? p : 1.0 - p;
  }
}

double large_expected_max(std::span<const double> means, std::span<const double> variances) {
  double low = 0.0;
  double widest = 0.0;
  for (std::size_t i = 0; i < means.size(); ++i) {
    low = std::max(low, means[i] - 6.0 * std::sqrt(variances[i]));
    widest = std::max(widest, std::sqrt(variances[i]));
  }
  if (widest <= 0.0) {
    return *std::max_element(means.begin(), means.end());
  }
  std::vector<LargeLaw> laws;
  for (std::size_t i = 0; i < means.size(); ++i) {
    const double sd = std::sqrt(variances[i]);
    if (means[i] + 6.0 * sd > low) {
      // (1 + a) / (1 - a) / sd of the (a, b, 0) family, a = 1 - mean/variance.
      laws.push_back({means[i], sd, sd > 0.0 ? (2.0 * sd * sd / means[i] - 1.0) / sd : 0.0});
    }
  }
  // Highest first: where the maximum cannot lie yet, a few factors show it.
  std::stable_sort(laws.begin(), laws.end(),
                   [](const LargeLaw& a, const LargeLaw& b) { return a.mean > b.mean; });
  const double step = widest / 8.0;
  double expected = low;
  for (double x = low + 0.5 * step;; x += step) {
    double all_below = 1.0;
    std::size_t open = 0;
    std::size_t i = 0;
    while (i < laws.size() && all_below > 1e-18) {
      // A last incomplete row of lanes is filled up with the last law, whose results are ignored.
      const std::size_t lanes = std::min(kExpLanes, laws.size() - i);
      std::array<LargeLaw, kExpLanes> row;
      for (std::size_t lane = 0; lane < kExpLanes; ++lane) {
        row[lane] = laws[i + std::min(lane, lanes - 1)];
      }
      ExpLanes cdf;
      std::array<bool, kExpLanes> is_certain{};
      skewed_cdf(x, row.data(), cdf, is_certain);
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        all_below *= cdf[lane];
        if (!is_certain[lane]) {
          laws[open++] = row[lane];  // factors of 1 from here on are left out
        }
      }
      i += lanes;
    }
    laws.erase(laws.begin() + static_cast<std::ptrdiff_t>(open),
               laws.begin() + static_cast<std::ptrdiff_t>(i));
    expected += step * (1.0 - all_below);
    if (all_below > 1.0 - 1e-9) {
      return expected;
    }
  }
}

}  // namespace

double expected_max_count(std::span<const double> means, std::span<const double> variances) {
  MOESIM_CHECK(!means.empty() && means.size() == variances.size(), "one variance a mean");
  const double largest = *std::max_element(means.begin(), means.end());
  return largest < kLarge ? small_expected_max(means, variances)
                          : large_expected_max(means, variances);
}

double expected_excess_count(double mean, double variance, std::int64_t capacity) {
  // The sum of P(X > n) over n >= capacity.
  double excess = 0.0;
  if (mean < kLarge) {
    CountLaw law(mean, variance);
    for (int n = 0; n < 8192; ++n) {
      const double above = 1.0 - law.at(n);
      if (n >= capacity) {
        excess += above;
      }
      if (above < 1e-12) {
        break;
      }
    }
    return excess;
  }
  const double sd = std::sqrt(variance);
  const double at = static_cast<double>(capacity);
  if (sd <= 0.0 || at < mean - 8.0 * sd) {
    return std::max(0.0, mean - at);
  }
  const double skewness = (2.0 * variance / mean - 1.0) / sd;
  const double step = sd / 16.0;
  for (double x = at + 0.5 * step;; x += step) {
    bool is_certain = false;
    const double above = 1.0 - skewed_cdf(x, mean, sd, skewness, is_certain);
    excess += step * above;
    if (above < 1e-9) {
      return excess;
    }
  }
}

}  // namespace moesim

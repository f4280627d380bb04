// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

/// E[ln rank] when P(rank) ~ rank^-a.
double mean_log_rank(std::size_t experts, double a) {
  double sum = 0.0;
  double weighted = 0.0;
  for (std::size_t r = 1; r <= experts; ++r) {
    const double log_rank = portable_log(static_cast<double>(r));
    const double p = portable_exp(-a * log_rank);
    sum += p;
    weighted += p * log_rank;
  }
  return weighted / sum;
}

}  // namespace

LoadStatistics load_statistics(std::span<const double> counts) {
  std::vector<double> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const double experts = static_cast<double>(sorted.size());
  double total = 0.0;
  for (const double c : sorted) {
    MOESIM_CHECK(c >= 0.0, "counts are not negative");
    total += c;
  }
  MOESIM_CHECK(total > 0.0, "a histogram holds selections");
  const double mean = total / experts;
  LoadStatistics s;
  s.max_over_mean = sorted.front() / mean;
  s.min_over_mean = sorted.back() / mean;
  double squares = 0.0;
  double ranked = 0.0;
  double entropy = 0.0;
  double log_rank_sum = 0.0;
  double n = 0.0;
  double x = 0.0;
  double y = 0.0;
  double xx = 0.0;
  double xy = 0.0;
  double yy = 0.0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const double rank = static_cast<double>(i + 1);
    const double log_rank = portable_log(rank);
    squares += (sorted[i] - mean) * (sorted[i] - mean);
    ranked += (experts + 1.0 - rank) * sorted[i];  // ascending rank of this count
    log_rank_sum += sorted[i] * log_rank;
    if (sorted[i] > 0.0) {
      const double log_share = portable_log(sorted[i] / total);
      entropy -= sorted[i] / total * log_share;
      n += 1.0;
      x += log_rank;
      y += log_share;
      xx += log_rank * log_rank;
      xy += log_rank * log_share;
      yy += log_share * log_share;
    }
  }
  s.cv = std::sqrt(squares / experts) / mean;
  s.gini = 2.0 * ranked / (experts * total) - (experts + 1.0) / experts;
  s.norm_entropy = experts > 1.0 ? entropy / portable_log(experts) : 1.0;
  s.dirichlet_alpha = s.cv > 0.0 ? ((experts - 1.0) / (s.cv * s.cv) - 1.0) / experts
                                 : std::numeric_limits<double>::infinity();
  const double spread = n * xx - x * x;
  s.zipf_ols = spread > 0.0 ? -(n * xy - x * y) / spread : 0.0;
  s.log_sd = std::sqrt(std::max(0.0, yy / n - (y / n) * (y / n)));
  // The likelihood is largest where E_a[ln rank] equals the observed mean; it falls with a.
  const double observed = log_rank_sum / total;
  double low = 0.0;
  double high = 20.0;
  for (int i = 0; i < 60 && experts > 1.0; ++i) {
    const double a = 0.5 * (low + high);
    (mean_log_rank(sorted.size(), a) > observed ? low : high) = a;
  }
  s.zipf_mle = 0.5 * (low + high);
  return s;
}

}  // namespace moesim

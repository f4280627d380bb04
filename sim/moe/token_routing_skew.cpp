// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing_skew.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/base/error.h"

namespace moesim {

std::vector<double> lognormal_loads(std::int32_t experts, double sigma, RandomStream& stream) {
  std::vector<double> loads(static_cast<std::size_t>(experts));
  for (double& load : loads) {
    load = portable_exp(sigma * stream.normal());
  }
  return loads;
}

std::vector<double> zipf_loads(std::int32_t experts, double alpha, RandomStream& stream) {
  std::vector<double> loads(static_cast<std::size_t>(experts));
  for (std::size_t r = 0; r < loads.size(); ++r) {
    loads[r] = portable_exp(-alpha * portable_log(static_cast<double>(r + 1)));
  }
  for (std::size_t i = loads.size(); i > 1; --i) {
    std::swap(loads[i - 1], loads[stream.below(i)]);
  }
  return loads;
}

std::vector<double> dirichlet_loads(std::int32_t experts, double alpha, RandomStream& stream) {
  std::vector<double> loads(static_cast<std::size_t>(experts));
  for (double& load : loads) {
    load = std::max(stream.gamma(alpha), 1e-300);
  }
  return loads;
}

std::vector<std::int64_t> power_law_counts(std::int32_t experts, std::int32_t top_k,
                                           std::int64_t tokens, double exponent,
                                           RandomStream& stream) {
  MOESIM_CHECK(tokens >= 1 && top_k <= experts, "a batch that fits the gate");
  const std::int64_t selections = tokens * top_k;
  const bool many = selections > experts;
  const double low = many ? 1.0 : 0.01;
  const double high = many ? std::max(0.8 * static_cast<double>(tokens), 1.0) : 2.0;
  std::vector<double> weights(static_cast<std::size_t>(experts));
  double sum = 0.0;
  const double power = 1.0 - exponent;
  for (double& w : weights) {
    const double u = stream.uniform();
    if (std::fabs(power) < 1e-12) {  // the inverse of the distribution function at exponent 1
      w = low * portable_exp(u * portable_log(high / low));
    } else {
      const double a = portable_exp(power * portable_log(low));
      const double b = portable_exp(power * portable_log(high));
      w = portable_exp(portable_log(a + u * (b - a)) / power);
    }
    sum += w;
  }
  std::vector<std::int64_t> counts(weights.size());
  std::int64_t left = selections;
  for (std::size_t e = 0; e < weights.size(); ++e) {
    const double share = weights[e] / sum * static_cast<double>(selections);
    counts[e] = std::min(static_cast<std::int64_t>(std::floor(share + 0.5)), tokens);
    left -= counts[e];
  }
  while (left != 0) {
    const std::int64_t step = left > 0 ? 1 : -1;
    const std::size_t e = stream.below(counts.size());
    if (counts[e] + step >= 0 && counts[e] + step <= tokens) {
      counts[e] += step;
      left -= step;
    }
  }
  return counts;
}

std::int32_t hottest_group(const std::vector<std::int64_t>& counts, std::int32_t groups) {
  const std::size_t size = counts.size() / static_cast<std::size_t>(groups);
  std::int32_t best = 0;
  std::int64_t most = -1;
  for (std::int32_t g = 0; g < groups; ++g) {
    const auto first =
        counts.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(g) * size);
    const std::int64_t sum =
        std::accumulate(first, first + static_cast<std::ptrdiff_t>(size), std::int64_t{0});
    if (sum > most) {
      most = sum;
      best = g;
    }
  }
  return best;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "calibrate/nonnegative_fit.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {
namespace {

/// Solves the equations of the `passive` features by elimination with pivots; a feature that adds
/// nothing new gets 0.
std::vector<double> solve_passive(const std::vector<double>& gram, const std::vector<double>& right,
                                  const std::vector<bool>& passive) {
  const std::size_t n = right.size();
  std::vector<std::size_t> at;
  for (std::size_t j = 0; j < n; ++j) {
    if (passive[j]) {
      at.push_back(j);
    }
  }
  const std::size_t m = at.size();
  std::vector<double> a(m * (m + 1));
  for (std::size_t r = 0; r < m; ++r) {
    for (std::size_t c = 0; c < m; ++c) {
      a[r * (m + 1) + c] = gram[at[r] * n + at[c]];
    }
    a[r * (m + 1) + m] = right[at[r]];
  }
  std::vector<bool> is_free(m, false);
  for (std::size_t k = 0; k < m; ++k) {
    std::size_t pivot = k;
    for (std::size_t r = k + 1; r < m; ++r) {
      if (std::fabs(a[r * (m + 1) + k]) > std::fabs(a[pivot * (m + 1) + k])) {
        pivot = r;
      }
    }
    if (std::fabs(a[pivot * (m + 1) + k]) < 1e-12) {
      is_free[k] = true;
      continue;
    }
    std::swap_ranges(a.begin() + static_cast<std::ptrdiff_t>(k * (m + 1)),
                     a.begin() + static_cast<std::ptrdiff_t>((k + 1) * (m + 1)),
                     a.begin() + static_cast<std::ptrdiff_t>(pivot * (m + 1)));
    for (std::size_t r = 0; r < m; ++r) {
      const double factor = r == k ? 0 : a[r * (m + 1) + k] / a[k * (m + 1) + k];
      for (std::size_t c = k; factor != 0 && c <= m; ++c) {
        a[r * (m + 1) + c] -= factor * a[k * (m + 1) + c];
      }
    }
  }
  std::vector<double> solution(n, 0.0);
  for (std::size_t k = 0; k < m; ++k) {
    solution[at[k]] = is_free[k] ? 0.0 : a[k * (m + 1) + m] / a[k * (m + 1) + k];
  }
  return solution;
}

/// min |A x - b| for x >= 0 from A'A and A'b; columns of A have length 1.
std::vector<double> nonnegative_solution(const std::vector<double>& gram,
                                         const std::vector<double>& right) {
  const std::size_t n = right.size();
  std::vector<double> x(n, 0.0);
  std::vector<bool> passive(n, false);
  for (std::size_t round = 0; round < 3 * n + 10; ++round) {
    std::size_t best = n;
    double steepest = 1e-10;
    for (std::size_t j = 0; j < n; ++j) {
      double slope = right[j];
      for (std::size_t k = 0; k < n; ++k) {
        slope -= gram[j * n + k] * x[k];
      }
      if (!passive[j] && slope > steepest) {
        best = j;
        steepest = slope;
      }
    }
    if (best == n) {
      break;
    }
    passive[best] = true;
    for (std::size_t inner = 0; inner < n + 1; ++inner) {
      const std::vector<double> z = solve_passive(gram, right, passive);
      double step = 1.0;
      for (std::size_t j = 0; j < n; ++j) {
        if (passive[j] && z[j] <= 0) {
          step = std::min(step, x[j] / std::max(x[j] - z[j], 1e-300));
        }
      }
      for (std::size_t j = 0; j < n; ++j) {
        x[j] = passive[j] ? x[j] + step * (z[j] - x[j]) : 0.0;
      }
      if (step >= 1.0) {
        break;
      }
      for (std::size_t j = 0; j < n; ++j) {
        if (passive[j] && x[j] <= 1e-14) {
          passive[j] = false;
          x[j] = 0;
        }
      }
    }
  }
  return x;
}

}  // namespace

NonnegativeFit fit_nonnegative(std::span<const double> features, std::size_t num_features,
                               std::span<const double> measured, int rounds,
                               std::span<const double> known) {
  const std::size_t rows = measured.size();
  MOESIM_CHECK(features.size() == rows * num_features, "features are [rows, num_features]");
  MOESIM_CHECK(known.empty() || known.size() == rows, "known parts are [rows]");
  NonnegativeFit best;
  best.coefficients.assign(num_features, 0.0);
  best.mean_error = rows == 0 ? 0 : 1e300;
  std::vector<double> weights(rows, 1.0);
  std::vector<double> gram(num_features * num_features);
  std::vector<double> right(num_features);
  std::vector<double> length(num_features);
  for (int round = 0; rows > 0 && round <= rounds; ++round) {
    std::fill(gram.begin(), gram.end(), 0.0);
    std::fill(right.begin(), right.end(), 0.0);
    for (std::size_t r = 0; r < rows; ++r) {
      const double* row = &features[r * num_features];
      const double weight = weights[r] / measured[r];
      const double fitted_share = known.empty() ? 1.0 : 1.0 - known[r] / measured[r];
      for (std::size_t j = 0; j < num_features; ++j) {
        right[j] += row[j] * weight * fitted_share;
        for (std::size_t k = 0; k <= j; ++k) {
          gram[j * num_features + k] += row[j] * row[k] * weight / measured[r];
        }
      }
    }
    for (std::size_t j = 0; j < num_features; ++j) {
      length[j] = std::sqrt(std::max(gram[j * num_features + j], 1e-300));
    }
    for (std::size_t j = 0; j < num_features; ++j) {
      right[j] /= length[j];
      for (std::size_t k = 0; k <= j; ++k) {
        gram[j * num_features + k] /= length[j] * length[k];
        gram[k * num_features + j] = gram[j * num_features + k];
      }
    }
    std::vector<double> x = nonnegative_solution(gram, right);
    double sum = 0;
    for (std::size_t j = 0; j < num_features; ++j) {
      x[j] /= length[j];
    }
    for (std::size_t r = 0; r < rows; ++r) {
      double predicted = known.empty() ? 0.0 : known[r];
      for (std::size_t j = 0; j < num_features; ++j) {
        predicted += features[r * num_features + j] * x[j];
      }
      const double error = std::fabs(predicted / measured[r] - 1.0);
      sum += error;
      weights[r] = 1.0 / std::max(error, 0.02);
    }
    if (sum / static_cast<double>(rows) < best.mean_error) {
      best.mean_error = sum / static_cast<double>(rows);
      best.coefficients = std::move(x);
    }
  }
  return best;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/base/random.h"

#include <bit>
#include <cmath>
#include <limits>

#include "sim/base/error.h"
#include "sim/base/exp_lanes.h"

namespace moesim {
namespace {

__extension__ typedef unsigned __int128 Uint128;

constexpr double kLn2Hi =
    6.93147180369123816490e-01;  // upper bits of ln 2, exact in products with small integers
constexpr double kLn2Lo = 1.90821492927058770002e-10;  // ln 2 - kLn2Hi

std::uint64_t split_mix(std::uint64_t& x) {
  std::uint64_t z = (x += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/// FNV-1a, 64 bits: names are short and fixed in the code, so a simple hash is enough.
std::uint64_t name_hash(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  }
  return hash;
}

}  // namespace

double portable_log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), |s| <= 0.1716:
  // the odd series ends at s^21.
  std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>((bits >> 52) & 0x7ff);
  if (exponent == 0) {  // subnormal: scale up first
    bits = std::bit_cast<std::uint64_t>(x * 0x1.0p54);
    exponent = static_cast<int>((bits >> 52) & 0x7ff) - 54;
  }
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull);
  exponent -= 1023;
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double series = 1.0 / 21.0;
  for (int k = 19; k >= 3; k -= 2) {
    series = series * s2 + 1.0 / k;
  }
  const double e = static_cast<double>(exponent);
  return e * kLn2Hi + (2.0 * s + (2.0 * s * s2 * series + e * kLn2Lo));
}

double portable_exp(double x) {
  if (x > 709.8) {
    return std::numeric_limits<double>::infinity();
  }
  if (x < -745.0) {
    return 0.0;
  }
  // x = n ln 2 + r, |r| <= 0.35; the Taylor series of exp(r) needs 14 terms for 1e-17.
  const double n_real = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - n_real * kLn2Hi) - n_real * kLn2Lo;
  double series = 1.0;
  for (int k = 14; k >= 1; --k) {
    series = 1.0 + series * r / k;
  }
  int n = static_cast<int>(n_real);
  double scale = 1.0;
  while (n < -1022) {
    scale *= 0x1.0p-1022;
    n += 1022;
  }
  if (n > 1023) {
    scale *= 2.0;
    --n;
  }
  return series * scale * std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52);
}

ExpLanes portable_exp(const ExpLanes& x) {
  // The usual case of portable_exp above, operation by operation; other lanes go through it.
  ExpLanes n_real;
  ExpLanes r;
  ExpLanes series;
  bool usual = true;
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    usual = usual && x[i] < 709.0 && x[i] > -708.0;  // 2^n is a normal number then
  }
  if (!usual) {
    for (std::size_t i = 0; i < kExpLanes; ++i) {
      series[i] = portable_exp(x[i]);
    }
    return series;
  }
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    n_real[i] = std::floor(x[i] * 1.4426950408889634 + 0.5);
    r[i] = (x[i] - n_real[i] * kLn2Hi) - n_real[i] * kLn2Lo;
    series[i] = 1.0;
  }
  for (int k = 14; k >= 1; --k) {
    for (std::size_t i = 0; i < kExpLanes; ++i) {
      series[i] = 1.0 + series[i] * r[i] / k;
    }
  }
  for (std::size_t i = 0; i < kExpLanes; ++i) {
    const auto n = static_cast<std::uint64_t>(static_cast<int>(n_real[i]) + 1023);
    series[i] = series[i] * 1.0 * std::bit_cast<double>(n << 52);
  }
  return series;
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view name, std::uint64_t index) {
  std::uint64_t x = seed;
  x = split_mix(x) ^ name_hash(name);
  x = split_mix(x) ^ index;
  for (std::uint64_t& word : state_) {
    word = split_mix(x);
  }
}

std::uint64_t RandomStream::below(std::uint64_t bound) {
  MOESIM_CHECK(bound >= 1, "a bounded draw needs a bound of at least 1");
  Uint128 product = static_cast<Uint128>(next()) * bound;
  if (static_cast<std::uint64_t>(product) < bound) {
    const std::uint64_t threshold = (0 - bound) % bound;
    while (static_cast<std::uint64_t>(product) < threshold) {
      product = static_cast<Uint128>(next()) * bound;
    }
  }
  return static_cast<std::uint64_t>(product >> 64);
}

double RandomStream::normal() {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  double u = 0.0;
  double v = 0.0;
  double s = 0.0;
  do {
    u = 2.0 * uniform() - 1.0;
    v = 2.0 * uniform() - 1.0;
    s = u * u + v * v;
  } while (s >= 1.0 || s == 0.0);
  const double factor = std::sqrt(-2.0 * portable_log(s) / s);
  spare_normal_ = v * factor;
  has_spare_normal_ = true;
  return u * factor;
}

double RandomStream::exponential() { return -portable_log(1.0 - uniform()); }

double RandomStream::gumbel() {
  double e = exponential();
  while (e == 0.0) {
    e = exponential();
  }
  return -portable_log(e);
}

double RandomStream::gamma(double shape) {
  if (shape < 1.0) {  // Gamma(a) = Gamma(a + 1) * U^(1/a)
    const double g = gamma(shape + 1.0);
    return g * portable_exp(-exponential() / shape);
  }
  const double d = shape - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  while (true) {
    const double x = normal();
    const double v = 1.0 + c * x;
    if (v <= 0.0) {
      continue;
    }
    const double v3 = v * v * v;
    const double u = 1.0 - uniform();
    if (portable_log(u) < 0.5 * x * x + d - d * v3 + d * portable_log(v3)) {
      return d * v3;
    }
  }
}

std::int64_t RandomStream::binomial(std::int64_t trials, double p) {
  MOESIM_CHECK(trials >= 0 && p >= 0.0 && p <= 1.0, "a binomial needs trials >= 0 and p in [0, 1]");
  // While the mean is large, split at the median order statistic of the uniforms, a beta variate
  // (Devroye 1986, X.4.3): each split halves the trials, so the cost is logarithmic; what is left
  // is counted by geometric gaps.
  std::int64_t successes = 0;
  while (trials > 16 && static_cast<double>(trials) * (p < 0.5 ? p : 1.0 - p) > 16.0) {
    const std::int64_t i = trials / 2 + 1;
    const double x = gamma(static_cast<double>(i));
    const double y = gamma(static_cast<double>(trials + 1 - i));
    const double split = x / (x + y);
    if (split <= p) {  // i of the uniforms lie at or below the split, all successes
      successes += i;
      trials -= i;
      p = split < 1.0 ? (p - split) / (1.0 - split) : 0.0;
    } else {
      trials = i - 1;
      p = p / split;
    }
    p = p < 0.0 ? 0.0 : (p > 1.0 ? 1.0 : p);
  }
  const bool flipped = p > 0.5;
  const double q = flipped ? 1.0 - p : p;
  if (q <= 0.0) {
    return successes + (flipped ? trials : 0);
  }
  const double log_miss = portable_log(1.0 - q);
  std::int64_t hits = 0;
  double position = 0.0;
  while (true) {  // gaps between successes are geometric
    position += log_miss < 0.0 ? std::floor(-exponential() / log_miss) + 1.0
                               : static_cast<double>(trials) + 1.0;
    if (position > static_cast<double>(trials)) {
      break;
    }
    ++hits;
  }
  return successes + (flipped ? trials - hits : hits);
}

}  // namespace moesim

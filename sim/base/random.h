// SPDX-License-Identifier: Apache-2.0
// Seeded, named random streams with our own distributions: the same numbers on every platform.
//
// A stream is a counter-free xoshiro256** generator [Blackman & Vigna 2018,
// https://prng.di.unimi.it/], seeded by SplitMix64 from (run seed, name, index). Naming streams
// ("routing/layer", 17) makes results independent of the order in which parts of a simulation run
// and of the number of threads. std:: distributions are avoided because they differ between
// libraries, and std::log/std::exp because their last bit differs between C libraries;
// `portable_log` and `portable_exp` use only +, -, *, /.
#pragma once

#include <cstdint>
#include <string_view>

namespace moesim {

/// Natural logarithm from basic arithmetic, relative error < 1e-15; `x` > 0 and finite.
double portable_log(double x);
/// Exponential from basic arithmetic, relative error < 1e-15 for |x| <= 700; 0 below -745, infinity
/// above 709.8.
double portable_exp(double x);

class RandomStream {
 public:
  /// The stream `name[index]` of run seed `seed`; equal arguments give equal numbers everywhere,
  /// for ever.
  RandomStream(std::uint64_t seed, std::string_view name, std::uint64_t index = 0);

  /// 64 uniform bits.
  std::uint64_t next() {
    const std::uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate_left(state_[3], 45);
    return result;
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// Uniform integer in [0, bound), without bias (Lemire 2019, arXiv:1805.10941); `bound` >= 1.
  std::uint64_t below(std::uint64_t bound);
  /// Standard normal (Marsaglia's polar method).
  double normal();
  /// Exponential with mean 1.
  double exponential();
  /// Standard Gumbel: -log(-log(u)).
  double gumbel();
  /// Gamma with shape `shape` > 0 and scale 1 (Marsaglia & Tsang 2000).
  double gamma(double shape);
  /// Number of successes in `trials` draws of probability `p` in [0, 1]; exact by inversion or by
  /// splitting at a beta variate.
  std::int64_t binomial(std::int64_t trials, double p);

 private:
  static constexpr std::uint64_t rotate_left(std::uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
  }

  std::uint64_t state_[4];
  double spare_normal_ = 0.0;
  bool has_spare_normal_ = false;
};

}  // namespace moesim

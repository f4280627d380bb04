// SPDX-License-Identifier: Apache-2.0
// Times of one stream's ops, kept apart by what they were for until the layer knows how often they
// count. Part of step_cost.cpp.
#pragma once

#include <array>

#include "sim/cost/step_cost.h"

namespace moesim {

/// Seconds of a run of ops on one stream, by what they were for.
struct Part {
  double seconds = 0;
  std::array<double, kNumOpKinds> by_kind{};
  std::array<double, kNumOpFamilies> by_family{};
  std::array<double, 4> by_basis{};
  double flops = 0;

  void add(OpKind kind, double time, Basis basis) {
    seconds += time;
    by_kind[static_cast<std::size_t>(kind)] += time;
    by_basis[static_cast<std::size_t>(basis)] += time;
  }
};

inline void accumulate(StepCost& total, const Part& part, double times) {
  total.seconds += Seconds(part.seconds * times);
  total.flops += part.flops * times;
  for (std::size_t i = 0; i < kNumOpKinds; ++i) {
    total.by_kind[i] += part.by_kind[i] * times;
  }
  for (std::size_t i = 0; i < kNumOpFamilies; ++i) {
    total.by_family[i] += part.by_family[i] * times;
  }
  for (std::size_t i = 0; i < total.by_basis.size(); ++i) {
    total.by_basis[i] += part.by_basis[i] * times;
  }
}

}  // namespace moesim

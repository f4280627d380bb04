// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/two_batch.h"

#include <algorithm>

namespace moesim {

double two_batch_period(const HalfBatch& half) {
  const double compute = half.compute();
  if (compute <= 0) {
    return 2.0 * half.exchange();
  }
  // Compute advances at the share of SMs that an exchange leaves: its tax is paid once per
  // exchanged second, by whatever runs beside it.
  const double taxed =
      half.dispatch * half.dispatch_sm_fraction + half.combine * half.combine_sm_fraction;
  const double slower = 1.0 + taxed / compute;
  const double before = half.before * slower;
  const double experts = half.experts * slower;
  const double shared = half.shared * slower;
  // Max-plus recurrences; the pattern repeats after at most a few layers (one critical cycle of two
  // halves).
  constexpr int kSettle = 8;
  constexpr int kMeasured = 4;
  double free_a = 0;  // end of the combine of half A of the layer before
  double free_b = 0;
  double stream = 0;  // the compute stream is free from here on
  double network = 0;
  double settled = 0;
  for (int layer = 0; layer < kSettle + kMeasured; ++layer) {
    if (layer == kSettle) {
      settled = free_b;
    }
    const double before_a = std::max(stream, free_a) + before;
    const double before_b = std::max(before_a, free_b) + before;
    const double sent_a = std::max(network, before_a) + half.dispatch;
    const double sent_b = std::max(sent_a, before_b) + half.dispatch;
    const double experts_a = std::max(before_b, sent_a) + experts;
    const double experts_b = std::max(experts_a + shared, sent_b) + experts;
    free_a = std::max(sent_b, experts_a) + half.combine;
    free_b = std::max(free_a, experts_b) + half.combine;
    network = free_b;
    stream = experts_b + shared;
  }
  return (free_b - settled) / kMeasured;
}

PeriodWeights two_batch_weights(const HalfBatch& half) {
  // The period is linear between its corners, so a small difference gives the exact derivative.
  const double period = two_batch_period(half);
  const double step = 1e-6 * period;
  const auto of = [&](double HalfBatch::*part) {
    HalfBatch longer = half;
    longer.*part += step;
    return step > 0 ? (two_batch_period(longer) - period) / (2.0 * step) : 0.0;
  };
  return {of(&HalfBatch::before), of(&HalfBatch::shared), of(&HalfBatch::experts),
          of(&HalfBatch::dispatch), of(&HalfBatch::combine)};
}

}  // namespace moesim

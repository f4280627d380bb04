// SPDX-License-Identifier: Apache-2.0
// How long a MoE layer takes when two half batches share a GPU: one computes while the other's
// tokens travel.
//
// Streams run in program order, as serving engines issue the work (and engine/step_graph does):
//     compute   before A | before B | experts A | shared A | experts B | shared B | next layer ...
//     network   dispatch A | dispatch B | combine A | combine B
// experts wait for the dispatch of their half, the next layer of a half for its combine. Neither
// stream is ever idle only if no segment is shorter than the exchange beside it, so the layer takes
// max(compute, exchange) at best and more when one exchange is longer than the compute next to it,
// although both sums fit.
#pragma once

namespace moesim {

/// Seconds of one half batch on the rank that the others wait for.
struct HalfBatch {
  double before = 0;   ///< attention, router: all that comes before tokens leave
  double experts = 0;  ///< routed experts
  double shared = 0;   ///< shared experts, beside the combine
  double dispatch = 0;
  double combine = 0;
  double dispatch_sm_fraction = 0;  ///< of the SMs, while the exchange runs
  double combine_sm_fraction = 0;

  double compute() const { return before + experts + shared; }
  double exchange() const { return dispatch + combine; }
};

/// Seconds between two layers alike, for both halves together, in the steady state. At least
/// 2 * compute + the SM time that the exchanges take, and at least 2 * exchange. Cost: 0.1 us.
double two_batch_period(const HalfBatch& half);

/// How a step's time follows the times of a layer's parts: its partial derivatives.
struct PeriodWeights {
  double fixed = 1;  ///< all that comes before tokens leave
  double shared = 1;
  double experts = 1;
  double dispatch = 1;
  double combine = 1;
};

/// Of half a two-batch period.
PeriodWeights two_batch_weights(const HalfBatch& half);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The time of one step in closed form: the template's ops on the busiest rank, layer by layer,
// under an overlap rule, and how far off it may be.
//
// For a MoE layer with compute K = attention + shared + experts + rest and exchange M = dispatch +
// combine, both of the rank that the others wait for:
//     serial         K + M
//     shared_expert  K - S + max(D, S) + C            S shared experts, D dispatch, C combine
//     two_batch      two_batch_period (cost/two_batch.h), at least max(2K' + f*2M', 2M') of half
//                    batches K', M'; f SMs taken by the exchange kernels
//     perfect        max(K, M)
// Two half batches read every weight twice: 2K' > K. No graph is built. Ops of equal shape are
// evaluated once a step, whatever their number of layers.
//
// Errors (80% bands, linearised: dT = sum of exposed seconds * d log of an op's time):
//     one error shared by all ops of a family: their exposed seconds add before they are weighted;
//     one error of its own for every distinct shape, the same in all layers that repeat it;
//     one error of the machine against others of its kind, shared by everything;
//     all of these independent of each other, so that half-widths add as squares.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "sim/cluster/collective.h"
#include "sim/cost/cost_model.h"
#include "sim/cost/load_view.h"
#include "sim/input/scenario.h"
#include "sim/workload/step_template.h"

namespace moesim {

/// Seconds of one step and what they were spent on. Kinds add up to the step.
struct StepCost {
  Seconds seconds;
  std::array<double, kNumOpKinds> by_kind{};       ///< exposed seconds
  std::array<double, kNumOpFamilies> by_family{};  ///< compute seconds, before overlap
  std::array<double, 4> by_basis{};                ///< exposed seconds by Basis
  Seconds exchange;                                ///< dispatch + combine, hidden or not
  double flops = 0;                                ///< of one rank
};

/// A source of error that is independent of the others: an op family, exchanges, tensor syncs.
struct ErrorSource {
  double exposed_s = 0;    ///< d step / d log(time of its ops)
  double shared_s = 0;     ///< half-width of the step's 80% band from the shared error
  double own_squared = 0;  ///< sum of squared half-widths of distinct shapes

  double half_width_s() const;
};

/// The 80% band of a step: seconds * exp(+-log_half_width).
struct StepBand {
  std::array<ErrorSource, kNumOpFamilies> families{};
  ErrorSource exchange;       ///< dispatch and combine
  ErrorSource sync;           ///< collectives of tensor parallelism
  ErrorSource machine;        ///< one machine against others of its kind
  double extrapolated_s = 0;  ///< exposed seconds of ops outside the shapes their curve has seen
  double log_half_width = 0;
};

/// One op of the step's distinct shapes, with what it means for the step.
struct ExposedOp {
  Op op;
  CurvePick pick;
  OpKind kind = OpKind::norm;  ///< of its first use
  CostEstimate cost;
  double exposed_s = 0;  ///< d step / d log(its time), all layers together
};

class StepCostModel {
 public:
  /// Reads the curves of the scenario's device (once per process). Throws InputError for a broken
  /// file of curves. Cost: some tens of microseconds. `loads`: those of another model of the same
  /// routing, placement and layout, to share them.
  explicit StepCostModel(const Scenario& scenario, const RoutingSpec& routing,
                         const LoadView* loads = nullptr);
  /// The same deployment in steps of another phase: loads are shared, automatic exchange kernels
  /// are those of the phase.
  StepCostModel(const StepCostModel& other, Phase phase);

  /// Expected time of a step in which every replica works on `batch`. Thread-safe, no allocation.
  StepCost evaluate(const StepBatch& batch) const { return evaluate(batch, overlap_); }
  StepCost evaluate(const StepBatch& batch, OverlapRule overlap) const;
  /// The same with the band; at most twice the cost.
  StepCost evaluate(const StepBatch& batch, StepBand& band) const;

  /// What the band is made of, op by op; for explanations, not for loops.
  std::vector<ExposedOp> exposed_ops(const StepBatch& batch) const;

  /// The same deployment, experts where they are, under another routing of the same gate.
  StepCostModel under(const RoutingSpec& routing) const {
    StepCostModel model = *this;
    model.loads_ = loads_.under(routing);
    return model;
  }

  const StepTemplate& step_template() const { return template_; }
  const CostModel& cost_model() const { return cost_; }
  const CollectiveModel& collectives() const { return collectives_; }
  const LoadView& loads() const { return loads_; }
  OverlapRule overlap() const { return overlap_; }
  /// The sets of curves that predict some op of the step, in order of preference.
  std::vector<const CurveSource*> curve_sources() const;
  /// The kernels that carry an exchange of a step of this phase.
  ExchangeKernel exchange_kernel() const { return kernel_; }

 private:
  struct Plan;
  class Evaluation;

  /// Finds the curve of every op of the compiled template; needs `kernel_`.
  void plan_step();

  std::shared_ptr<const StepTemplate> compiled_;  ///< as the scenario says
  StepTemplate template_;  ///< with the layout of experts, without what their curves include
  CostModel cost_;
  CollectiveModel collectives_;
  LoadView loads_;
  OverlapRule overlap_;
  DispatchKernel dispatch_;
  ExchangeKernel kernel_;
  double host_overhead_s_ = 0;
  std::shared_ptr<const Plan> plan_;
};

}  // namespace moesim

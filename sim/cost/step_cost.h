// SPDX-License-Identifier: Apache-2.0
// The time of one step in closed form: the template's ops on the busiest rank, layer by layer,
// under an overlap rule.
//
// For a MoE layer with compute K = attention + shared + experts + rest and exchange M = dispatch +
// combine, both of the rank that the others wait for:
//     serial         K + M
//     shared_expert  K - S + max(D, S) + C            S shared experts, D dispatch, C combine
//     two_batch      max(2K' + f*2M', 2M')            K', M' of half the batch; f SMs taken by the
//     exchange kernels perfect        max(K, M)
// Two half batches read every weight twice: 2K' > K. No graph is built: about 10 us for 58 layers
// with loads of their own, 1 us when all are alike.
#pragma once

#include <array>

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

class StepCostModel {
 public:
  explicit StepCostModel(const Scenario& scenario, const RoutingSpec& routing);
  /// The same deployment in steps of another phase: loads are shared, automatic exchange kernels
  /// are those of the phase.
  StepCostModel(const StepCostModel& other, Phase phase);

  /// Expected time of a step in which every replica works on `batch`.
  StepCost evaluate(const StepBatch& batch) const { return evaluate(batch, overlap_); }
  StepCost evaluate(const StepBatch& batch, OverlapRule overlap) const;

  const StepTemplate& step_template() const { return template_; }
  const CostModel& cost_model() const { return cost_; }
  const CollectiveModel& collectives() const { return collectives_; }
  const LoadView& loads() const { return loads_; }
  OverlapRule overlap() const { return overlap_; }
  /// The kernels that carry an exchange of a step of this phase.
  ExchangeKernel exchange_kernel() const { return kernel_; }

 private:
  struct Part;

  Part evaluate_ops(const std::vector<TemplateOp>& ops, const StepBatch& batch) const;
  Part evaluate_syncs(const std::vector<TemplateSync>& syncs, const StepBatch& batch) const;
  void add_layer(const LayerTemplate& layer, const StepBatch& batch, OverlapRule overlap,
                 StepCost& total) const;

  StepTemplate template_;
  CostModel cost_;
  CollectiveModel collectives_;
  LoadView loads_;
  OverlapRule overlap_;
  DispatchKernel dispatch_;
  ExchangeKernel kernel_;
  double host_overhead_s_ = 0;
};

}  // namespace moesim

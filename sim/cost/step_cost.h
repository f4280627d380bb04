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
#include <cstdint>
#include <memory>

#include "sim/cluster/collective.h"
#include "sim/cost/cost_model.h"
#include "sim/input/scenario.h"
#include "sim/moe/token_routing_profile.h"
#include "sim/workload/step_template.h"

namespace moesim {

/// The exchange and the expert work of one MoE layer as the rank sees it that the others wait for.
struct LayerLoad {
  ExpertLoad experts;
  ExchangeDemand exchange;
  double dropped_fraction = 0;  ///< of the selections, at full experts
};

/// Expected loads of every MoE layer for any batch; made once per routing, placement and layout,
/// shared by all steps.
class LoadView {
 public:
  /// `routing` must fit the template's experts; `domain_gpus` ranks reach each other without the
  /// network.
  /// `capacity_factor` > 0: selections beyond ceil(factor * top_k * tokens / experts) an expert are
  /// dropped.
  LoadView(const RoutingSpec& routing, const StepTemplate& step, std::int64_t domain_gpus,
           double capacity_factor = 0);

  /// Every layer has the same loads (balanced or uniform routing).
  bool layers_are_alike() const { return alike_; }
  /// `tokens` enter the exchange on each of its ranks; `share` is what each rank sends of its
  /// replica's tokens.
  LayerLoad at(std::int64_t moe_layer, double tokens_per_rank) const;
  LoadProfile profile(std::int64_t moe_layer, double tokens) const {
    return profiles_->at(static_cast<std::int32_t>(moe_layer), tokens);
  }
  const LayerLoads& layer(std::int64_t moe_layer) const {
    return profiles_->layer(static_cast<std::int32_t>(moe_layer));
  }
  std::int64_t ranks() const { return ranks_; }

 private:
  void drop_overflow(LayerLoad& load, const LoadProfile& profile, std::int64_t layer) const;

  std::shared_ptr<const RoutingProfiles> profiles_;
  std::vector<double> node_imbalance_;  // [MoE layers] hottest node's share / mean
  double top_k_ = 0;
  std::int64_t ranks_ = 1;
  double capacity_factor_ = 0;
  bool alike_ = false;
};

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
  ExchangeKernel kernel_;
  double host_overhead_s_ = 0;
};

/// The scenario's routing as the moe module takes it; reads the recorded counts if there are any.
/// Throws InputError.
RoutingSpec routing_of(const Scenario& scenario);

}  // namespace moesim

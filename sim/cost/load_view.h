// SPDX-License-Identifier: Apache-2.0
// What a step's cost needs to know of routing, placement and capacity: for every MoE layer and any
// batch, the expert work and the exchange of the rank that the others wait for.
//
// Loads are expectations over routing noise, looked up from cached profiles
// (moe/token_routing_profile.h); drawn loads of single steps are the event fidelity's
// (engine/step_loads.h).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/cluster/collective.h"
#include "sim/input/scenario.h"
#include "sim/moe/token_routing_profile.h"
#include "sim/workload/op.h"
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
  double experts_ = 0;
  std::int64_t ranks_ = 1;
  double capacity_factor_ = 0;
  bool alike_ = false;
};

/// The scenario's routing as the moe module takes it; reads the recorded counts if there are any.
/// Throws InputError.
RoutingSpec routing_of(const Scenario& scenario);

}  // namespace moesim

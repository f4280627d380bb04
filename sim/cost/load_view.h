// SPDX-License-Identifier: Apache-2.0
// What a step's cost needs to know of routing, placement and capacity: for every MoE layer and any
// batch, the expert work and the exchange of the rank that the others wait for.
//
// Loads are expectations over routing noise, looked up from cached profiles
// (moe/token_routing_profile.h); drawn loads of single steps are the event fidelity's
// (engine/step_loads.h). Capacity acts on expected counts: what exceeds an expert's places is
// dropped, or goes to experts with places left in proportion to their popularity; with padding the
// places are computed and sent whether filled or not.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/cluster/collective.h"
#include "sim/input/scenario.h"
#include "sim/moe/placement_plan.h"
#include "sim/moe/token_routing_profile.h"
#include "sim/workload/op.h"
#include "sim/workload/step_template.h"

namespace moesim {

/// The exchange and the expert work of one MoE layer as the rank sees it that the others wait for.
struct LayerLoad {
  ExpertLoad experts;
  ExchangeDemand exchange;
  double dropped_fraction = 0;   ///< of the selections, at full experts
  double rerouted_fraction = 0;  ///< of the selections, at a worse expert than chosen
  double padding_fraction = 0;   ///< of the rows computed, those for nobody
};

/// Expected loads of every MoE layer for any batch; made once per routing, placement and layout,
/// shared by all steps.
class LoadView {
 public:
  /// `routing` must fit the template's experts; `domain_gpus` ranks reach each other without the
  /// network. Throws InputError for placement files and programs that do not fit.
  LoadView(const Scenario& scenario, const RoutingSpec& routing, const StepTemplate& step,
           std::int64_t domain_gpus);

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
  /// How many layers before `moe_layer` share its choices (/routing/distinct_layers).
  std::int64_t copy_of(std::int64_t moe_layer) const { return moe_layer % layer_stride_; }
  std::int64_t ranks() const { return ranks_; }
  /// Places of an expert for `tokens` of all ranks together; 0: no limit.
  std::int64_t places(double tokens) const;
  const CapacityConfig& capacity() const { return capacity_; }
  /// The expert is stored in the cold format.
  bool is_cold(std::int64_t moe_layer, std::size_t expert) const {
    return !cold_.empty() && cold_[alike_ ? 0 : static_cast<std::size_t>(moe_layer)][expert];
  }
  /// How experts were placed, or null where nothing was planned (contiguous, one slot an expert).
  const PlacementPlan* plan() const { return plan_.get(); }
  /// The same placement under another routing of the same gate (one domain of a mixture).
  LoadView under(const RoutingSpec& routing) const;
  /// The same layout under another routing and another plan; `routings`, one a layer, spare their
  /// making.
  LoadView under(const RoutingSpec& routing, std::shared_ptr<const PlacementPlan> plan,
                 std::vector<std::shared_ptr<const LayerRouting>> routings) const;
  /// What a plan for this layout must know.
  PlacementContext placement_context(const Scenario& scenario, const RoutingSpec& routing,
                                     const StepTemplate& step) const;

 private:
  LoadView() = default;
  void make_profiles(const RoutingSpec& routing, const ExpertMap& contiguous,
                     std::vector<std::shared_ptr<const LayerRouting>> routings = {});
  void limit(LayerLoad& load, const LoadProfile& profile, std::int64_t layer,
             std::int64_t places) const;

  std::shared_ptr<const RoutingProfiles> profiles_;
  std::shared_ptr<const PlacementPlan> plan_;
  std::vector<double> node_imbalance_;   // [MoE layers] hottest node's share / mean
  std::vector<std::vector<bool>> cold_;  // [MoE layers][experts]; empty: none is cold
  CapacityConfig capacity_;
  std::int64_t num_layers_ = 0;
  double top_k_ = 0;
  std::int64_t experts_ = 0;
  std::int64_t ranks_ = 1;
  std::int64_t ranks_per_node_ = 1;
  double cold_fraction_ = 0;
  std::int64_t layer_stride_ = 1;
  bool alike_ = false;
};

/// The scenario's routing as the moe module takes it; reads the recorded counts if there are any.
/// Throws InputError.
RoutingSpec routing_of(const Scenario& scenario);

/// Selections that `next_best` moves: lowers `kept` [experts] to the places, gives the excess to
/// experts with places left in proportion to `popularity`, and returns what found no place.
double pour_overflow(std::vector<double>& kept, std::span<const double> popularity, double excess,
                     double places);

}  // namespace moesim

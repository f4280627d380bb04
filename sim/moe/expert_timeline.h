// SPDX-License-Identifier: Apache-2.0
// Routing and placement of experts while a deployment serves: stretches of time in which neither
// changes, one after the other.
//
// A stretch ends when the shares of the mixture move (a drift counts as four equal steps), when a
// burst begins or ends, or when a window of observation ends and the rule of re-balancing is asked
// (moe/rebalance.h). A plan knows the windows before it and nothing of the future, so a placement
// is stale from a change of the traffic until the first plan after it. A window's loads are the
// mixture's mean over the window.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "sim/moe/placement_plan.h"

namespace moesim {

/// Times are those of the mixture: 0 is where its phases begin.
struct ExpertEpoch {
  Seconds start;
  Seconds end;                 ///< infinity: it stays so
  Seconds seen_at;             ///< its shares stand for the stretch
  std::vector<double> shares;  ///< [domains]
  std::size_t plan = 0;        ///< which slots are in force
  /// Of the expected loads under these slots, mean over layers; `has_new_plan` and what was moved
  /// when the stretch began.
  RebalanceStep state;
};

class ExpertTimeline {
 public:
  /// `spec` is a mixture, seen from `spec.time` on; `base` the plan in force then (null: contiguous
  /// for ever). Windows before that only teach the rule. Throws InputError as plan_placement does.
  ExpertTimeline(const PlacementConfig& config, const RoutingSpec& spec, std::int32_t layers,
                 const PlacementContext& context, const PlacementPlan* base);

  /// Makes those before it, too. References stay good until another epoch is asked for.
  const ExpertEpoch& epoch(std::size_t index);
  /// [layers][slots]
  const SlotTable& slots(std::size_t plan) const { return plans_[plan]; }
  bool rebalances() const { return rebalancer_ != nullptr; }

 private:
  LoadWindow loads_of(const std::vector<double>& shares) const;
  void append();

  std::shared_ptr<const DomainRouting> mixture_;
  Seconds from_;
  std::int32_t layers_ = 1;
  PlacementRequest request_;
  std::unique_ptr<Rebalancer> rebalancer_;
  double window_s_ = 0;
  std::int64_t window_ = 0;         ///< that the newest epoch lies in
  std::vector<double> share_time_;  ///< [domains] share x seconds in that window so far
  std::vector<SlotTable> plans_;
  std::vector<ExpertEpoch> epochs_;
};

}  // namespace moesim

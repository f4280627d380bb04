// SPDX-License-Identifier: Apache-2.0
// Step times over a long run, epoch by epoch.
//
// In an epoch routing, placement and cluster stay as they are. Routing of kind domains drifts and
// bursts with the run's clock (0 is /routing/time_s), /placement/rebalance plans anew from what was
// seen, and spells of a broken or slow part change the links; an epoch that begins with a new plan
// begins with the time in which weights move. Epochs in the same state share their step times,
// which are evaluated when first asked for: a run whose routing stays has one epoch for ever.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "sim/moe/expert_timeline.h"
#include "sim/serving/step_times.h"

namespace moesim {

/// A stretch of the run in which the deployment has other links than usual.
struct ClusterSpell {
  double begin_s = 0;
  double end_s = 0;
  std::shared_ptr<const Scenario> scenario;  ///< the deployment with what is left
};

struct StepEpoch {
  double begin_s = 0;
  double end_s = std::numeric_limits<double>::infinity();
  std::size_t state = 0;  ///< of those whose step times it shares
  double stall_s = 0;     ///< that every instance loses at the beginning to moved weights
  RebalanceStep experts;  ///< balancedness of expected loads; what moved at the beginning
};

class StepTimeline {
 public:
  /// `scenario` and `rules` must outlive this; `like` as in StepTimes, for the run's beginning.
  StepTimeline(const Scenario& scenario, const EngineRules& rules, const StepTimes* like = nullptr);
  /// The same deployment (it must outlive this) with spells, which do not overlap and rise.
  StepTimeline(const StepTimeline& other, std::vector<ClusterSpell> spells);
  ~StepTimeline();

  /// Experts below GPU memory: steps wait for those that are not in their GPU's cache, of which
  /// `memory` tells the size. To be called before times are asked for; `like` lends its costs where
  /// they are the same.
  void swap_experts(const MemoryBudget& memory, const StepTimes* like = nullptr);

  /// Makes the epochs up to `now`.
  std::size_t epoch_at(double now);
  const StepEpoch& epoch(std::size_t index) const { return epochs_[index]; }
  const std::vector<StepEpoch>& epochs() const { return epochs_; }
  StepTimes& times(std::size_t epoch);
  /// Of the run's beginning, made at once.
  StepTimes& first_times() { return *first_; }

  /// Experts have a routing or a placement that may change.
  bool experts_change() const { return experts_ != nullptr; }
  bool rebalances() const;
  const std::vector<ClusterSpell>& spells() const { return spells_; }
  /// Busiest rank over the mean, mean over layers, at `tokens` a step of all ranks together.
  double rank_max_over_mean(std::size_t epoch, double tokens);
  std::int64_t evaluations() const;

 private:
  class Experts;  ///< routing and placement over time, loads of each state
  static constexpr std::size_t kNoSpell = std::numeric_limits<std::size_t>::max();
  struct State {
    std::size_t loads = 0;  ///< of Experts
    std::size_t spell = kNoSpell;
    std::unique_ptr<StepTimes> made;  ///< null until asked for
    StepTimes* times = nullptr;
  };
  void append();
  std::shared_ptr<ExpertSwap> swap_of(std::size_t loads, const StepTimes& times,
                                      const Scenario& scenario) const;
  std::size_t state_of(std::size_t loads, std::size_t spell);

  const Scenario& scenario_;
  const EngineRules& rules_;
  std::shared_ptr<StepTimes> first_;
  std::shared_ptr<Experts> experts_;
  std::optional<MemoryBudget> swapped_;  ///< with experts below GPU memory
  std::vector<ClusterSpell> spells_;
  std::vector<State> states_;
  std::vector<StepEpoch> epochs_;
  std::size_t expert_epoch_ = 0;  ///< that the newest epoch lies in
};

}  // namespace moesim

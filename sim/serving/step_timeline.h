// SPDX-License-Identifier: Apache-2.0
// Step times over a long run in which routing drifts and experts are placed anew.
//
// Time is cut into epochs of /placement/rebalance/window_s when the routing is a mixture of domains
// whose shares change (/routing/phases, bursts). Each epoch has the loads of its beginning under
// the placement then in force, and begins with the time that moving weights costs. Without a
// mixture there is one epoch for ever.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "sim/serving/step_times.h"

namespace moesim {

class StepTimeline {
 public:
  /// `scenario` and `rules` must outlive this; `like` as in StepTimes, for the first epoch.
  StepTimeline(const Scenario& scenario, const EngineRules& rules, const StepTimes* like = nullptr);

  std::size_t epoch_at(double now) const;
  /// When the epoch ends; infinity for the only one.
  double end_of(std::size_t epoch) const;
  /// Made when first asked for.
  StepTimes& times(std::size_t epoch);
  /// Time that every instance loses at the epoch's beginning to moved weights.
  double stall_s(std::size_t epoch);
  /// Busiest rank over the mean, mean over layers, at `tokens` a step; of epochs made so far.
  std::vector<double> imbalances(double tokens) const;
  double epoch_s() const { return epoch_s_; }
  std::int64_t evaluations() const;

 private:
  struct Epoch {
    Scenario scenario;
    std::unique_ptr<StepTimes> times;
    double stall_s = 0;
  };
  Epoch& epoch(std::size_t index);

  const Scenario& scenario_;
  const EngineRules& rules_;
  const StepTimes* like_;
  double epoch_s_ = 0;
  std::vector<std::unique_ptr<Epoch>> epochs_;
};

}  // namespace moesim

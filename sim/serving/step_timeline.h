// SPDX-License-Identifier: Apache-2.0
// Step times over a long run, epoch by epoch.
//
// An epoch has loads and a placement of its own and may begin with the time that moving weights
// costs. Today a run has one epoch for ever: drift of the routing (/routing/phases, bursts) and
// re-balancing while serving are not simulated yet, only within `kind: step`. What reads step
// times asks by epoch already, so that these need a change here alone.
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

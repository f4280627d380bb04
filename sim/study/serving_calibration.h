// SPDX-License-Identifier: Apache-2.0
// What end-to-end measurements of one machine with one software say about its efficiency.
//
// Four numbers for a (device, framework, version): how fast the machine's memory and arithmetic are
// against the model, seconds a step more (or less) than it says, seconds a request before its first
// step. Fitted by damped Gauss-Newton on log(measured / predicted) of TPOT and TTFT, each number
// drawn to "as modelled" by a prior, so that few rows move it little.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "sim/study/serving_validation.h"

namespace moesim {

struct EfficiencySet {
  double memory = 1;      ///< factor on the memory bandwidth
  double arithmetic = 1;  ///< factor on the peak rates
  double step_s = 0;      ///< added to every step; may be negative
  double request_s = 0;   ///< added to every TTFT: network, tokeniser, front end
};

/// Simulates `spec` on a machine of this efficiency.
ServingPrediction predict_serving(const ScenarioSpec& spec, const EfficiencySet& efficiency,
                                  const CardLibrary& cards, const std::string& name);

/// Fits one set to `cases` (none left out). Never worse than the default on them, prior included.
EfficiencySet fit_efficiency(std::span<const ServingCase* const> cases, const CardLibrary& cards);

/// One of the four numbers and what the measurements say of it.
struct FittedNumber {
  std::string name;  ///< "memory", "arithmetic", "step_s", "request_s"
  double value = 0;
  double low = 0, high = 0;  ///< 80% interval
  /// Share of the prior's variance that the measurements removed: 0 knows nothing, 1 all.
  double identified = 0;
};

/// A load that was not measured, and what measuring it would be worth.
struct NextMeasurement {
  double concurrency = 0;
  double prompt_tokens = 0;
  double bits = 0;  ///< about the four numbers together, at 5% scatter
};

struct EfficiencyFit {
  EfficiencySet set;
  std::vector<FittedNumber> numbers;
  std::vector<NextMeasurement> next;  ///< most informative first
};

/// The same fit with intervals (linearised at the fit) and the loads that would tell most: each of
/// `candidates` is a serving scenario in closed loop.
EfficiencyFit explain_efficiency(std::span<const ServingCase* const> cases,
                                 std::span<const ScenarioSpec> candidates,
                                 const CardLibrary& cards);

}  // namespace moesim

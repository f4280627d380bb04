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

}  // namespace moesim

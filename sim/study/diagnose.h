// SPDX-License-Identifier: Apache-2.0
// Why a measured deployment is not as fast as predicted: a waterfall of named causes.
//
// Each cause is a change of the scenario (graphs off, skewed experts, one slow rail, slow host,
// small cache ...) that is simulated at full strength; a measurement is a point in (TPOT, TTFT,
// throughput) for every measured load. Strengths s_c in [0, 1] are fitted to
//
//     minimise  sum over quantities ((r - sum_c s_c e_c) / sigma)^2 + lambda sum_c s_c |e_c /
//     sigma|
//
// r = log(measured / predicted), e_c = log(with cause c / predicted), sigma the half-width of the
// prediction's band (or kDefaultHalfWidth). The price lambda is on what a cause explains, so that a
// large change at small strength is no cheaper than a small one, and keeps out what explains
// little: one number cannot name two culprits. What a cause has evidence for (recorded expert
// loads) is applied first, at full strength. The rest stays unexplained, and is told beside the
// band.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/base/json.h"
#include "sim/input/card_library.h"
#include "sim/input/scenario.h"
#include "sim/input/serving_measurements.h"

namespace moesim {

/// One quantity at one load.
struct MeasuredPoint {
  std::string row;       ///< id of the measured row
  std::string quantity;  ///< "tpot_s", "ttft_s", "output_tokens_per_s_per_gpu"
  double measured = 0;
  double predicted = 0;
  std::optional<double> low;  ///< 80% band of the prediction
  std::optional<double> high;
};

struct DiagnosedCause {
  std::string name;
  std::string change;              ///< what was simulated: "/serving/cuda_graphs = false"
  bool evidence = false;           ///< applied because a file says so, not fitted
  double strength = 0;             ///< of the change, 0 to 1
  std::vector<double> log_effect;  ///< on each point, at this strength
};

struct Diagnosis {
  std::vector<MeasuredPoint> points;
  std::vector<DiagnosedCause> causes;   ///< largest mean effect first; strength 0 left out
  std::vector<std::string> ruled_out;   ///< causes whose best strength is 0
  std::vector<double> log_unexplained;  ///< of each point
  std::vector<std::string> notes;
};

/// `rows` were measured on the scenario's deployment; rows that state a closed-loop concurrency and
/// lengths are simulated at theirs, the others at the scenario's. `experts_file` may be "": a
/// counts file of recorded expert loads. Throws InputError when no row measures anything that the
/// scenario predicts.
Diagnosis diagnose(const ScenarioSpec& spec, const std::string& file,
                   const std::vector<ServingMeasurement>& rows, const std::string& experts_file,
                   const CardLibrary& cards);

Json to_json(const Diagnosis& diagnosis);

}  // namespace moesim

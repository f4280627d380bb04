// SPDX-License-Identifier: Apache-2.0
// Which measured serving runs say enough to be simulated, and as which scenario.
//
// The rule is code, not a list of rows: a row is taken when model, GPUs, layout, precision, load
// and both lengths are stated and this version can simulate them; otherwise `left_out` says what is
// missing. What a source means by its cells (lengths drawn from 80-100% of the nominal ones, tp
// that counts attention's data-parallel ranks too) is read here and nowhere else. Nothing measured
// by a row, or by any other, enters the scenario.
#pragma once

#include <optional>
#include <string>

#include "sim/input/card_library.h"
#include "sim/input/card_names.h"
#include "sim/input/scenario.h"
#include "sim/input/serving_measurements.h"

namespace moesim {

enum class LoadKind { closed_loop, offline, local_batch, poisson };

/// What was asked of the system, in the words of the benchmark.
struct MeasuredLoad {
  LoadKind kind = LoadKind::closed_loop;
  double concurrency = 0;     ///< closed loop: requests in flight, whole system
  double requests = 0;        ///< of the whole run; 0: many
  double requests_per_s = 0;  ///< poisson
  double batch_per_gpu = 0;   ///< local batch: sequences (decode) or tokens (prefill) a GPU
  double input_tokens = 0;    ///< nominal
  double output_tokens = 0;   ///< nominal
  double shortest_share = 1;  ///< lengths are uniform in [share, 1] x nominal
  double prefix_hit = 0;      ///< fraction of input tokens that are cached

  double mean_input() const { return input_tokens * (1 + shortest_share) / 2; }
  double mean_output() const { return output_tokens * (1 + shortest_share) / 2; }
};

struct ServingCase {
  ServingMeasurement row;
  std::string left_out;  ///< why it is not simulated; "" when it is. The rest then holds
  ScenarioSpec spec;  ///< model, cluster, layout, precision; the workload is added by who runs it
  SoftwareName software;
  MeasuredLoad load;
  std::string family;    ///< model and hardware, with " early-2025 software" where that applies
  std::string series;    ///< rows that differ in concurrency only
  bool has_goal = true;  ///< false for software of early 2025 and for AMD hardware: reported apart
  /// Output tokens a second and GPU: as stated, else what a closed loop's TTFT and TPOT imply.
  std::optional<double> output_rate;
  bool rate_is_derived = false;
  std::string ttft_left_out;  ///< why its TTFT is not judged; "" when it is
};

/// Applies the rule. Never throws for what a row says.
ServingCase serving_case(const ServingMeasurement& row, const CardLibrary& cards);

}  // namespace moesim

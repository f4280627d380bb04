// SPDX-License-Identifier: Apache-2.0
// What a report draws beside the answer: the load of every GPU layer by layer, and what other batch
// sizes would give.
#pragma once

#include <string>
#include <vector>

#include "sim/input/scenario.h"

namespace moesim {

/// The deployment at another batch size.
struct BatchPoint {
  double batch_per_gpu = 0;
  double tokens_per_s_per_gpu = 0;
  double tokens_per_s_per_user = 0;
  bool fits = true;
};

/// How one time is spread over the requests of a run.
struct LatencyCurve {
  std::string name;             ///< "ttft_s", as among the metrics
  std::vector<double> seconds;  ///< rising: that `shares` of the requests stay below
  std::vector<double> shares;
};

struct DeploymentDetails {
  /// [MoE layers][expert-parallel ranks]: expected selections over the mean; one row when all
  /// layers are alike, none for a dense model.
  std::vector<std::vector<double>> rank_load;
  std::vector<BatchPoint> batches;      ///< decode and mixed steps, by rising batch
  std::vector<LatencyCurve> latencies;  ///< of a serving run with its requests over time
};

/// Closed form; some milliseconds. Throws InputError for recorded routing that cannot be read.
DeploymentDetails deployment_details(const Scenario& scenario);

/// The curves of a serving run: its requests are simulated once more. Empty for steps, for steady
/// states, and where links are shared with other traffic or faulty (their runs change the
/// scenario).
std::vector<LatencyCurve> latency_curves(const Scenario& scenario);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What a report draws beside the answer: the load of every GPU layer by layer, and what other batch
// sizes would give.
#pragma once

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

struct DeploymentDetails {
  /// [MoE layers][expert-parallel ranks]: expected selections over the mean; one row when all
  /// layers are alike, none for a dense model.
  std::vector<std::vector<double>> rank_load;
  std::vector<BatchPoint> batches;  ///< decode and mixed steps, by rising batch
};

/// Closed form; some milliseconds. Throws InputError for recorded routing that cannot be read.
DeploymentDetails deployment_details(const Scenario& scenario);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What a routing does to batches: hottest expert, active experts, drops by capacity factor, with
// standard errors from the run itself. Behind `moesim route`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/moe/capacity.h"
#include "sim/moe/router.h"
#include "sim/moe/token_routing.h"
#include "sim/moe/token_routing_statistics.h"

namespace moesim {

/// A mean over batches with its standard error.
struct BatchMean {
  double mean = 0.0;
  double standard_error = 0.0;
};

struct RouteStudyOptions {
  std::int64_t batch_tokens = 1024;
  std::int64_t batches = 200;  ///< random batches; at least 2
  std::vector<double> capacity_factors = {1.0, 1.25, 1.5, 2.0, 4.0};
};

struct RouteStudy {
  std::int32_t experts = 0;
  std::int32_t top_k = 0;
  std::int64_t recorded_tokens = 0;  ///< of a trace; 0 for a model of routing
  std::int64_t batch_tokens = 0;
  std::int64_t batches = 0;
  BatchMean max_over_mean;   ///< of experts, mean over layers
  BatchMean active_experts;  ///< distinct experts a layer, mean over layers
  BatchMean experts_per_token;
  std::vector<double> batch_max_over_mean;  ///< [batches] of the above, for paired comparisons

  struct Layer {
    std::int32_t layer = 0;
    LoadStatistics loads;          ///< of the expected (or recorded) loads
    BatchMean max_over_mean;       ///< of batches
    BatchMean active_experts;      ///< of batches
    double overlap_previous = -1;  ///< with the token before; < 0 when not recorded
  };
  std::vector<Layer> layers;

  struct Drop {
    double capacity_factor = 0.0;
    std::int64_t capacity = 0;  ///< rows an expert takes of a batch
    /// Mean over batches and layers. Of a trace: exact replay of consecutive batches that do not
    /// overlap, the last partial one left out (all of it when shorter than a batch); else of the
    /// random batches.
    BatchMean dropped_fraction;
    std::int64_t batches = 0;
    std::vector<double> batch_fractions;  ///< [batches] of the above
  };
  std::vector<Drop> drops;
};

/// Studies `layers` layers of `spec`; a trace's random batches are drawn without repeats whatever
/// `spec.replay` says. With a `router` (not for traces and counts of which no logits are known),
/// batches are what it makes of drawn scores. Throws InputError for a spec that makes no sense.
RouteStudy study_routing(const RoutingSpec& spec, std::int32_t layers,
                         const RouteStudyOptions& options, const Router* router = nullptr);

/// A difference between two studies of equal scores: batch by batch, so that what batches have in
/// common cancels.
struct PairedDifference {
  double mean = 0.0;  ///< second minus first
  double low = 0.0;   ///< 95% confidence interval (normal)
  double high = 0.0;
};

/// `first` and `second` [batches] of equal length, at least 2.
PairedDifference paired_difference(std::span<const double> first, std::span<const double> second);

}  // namespace moesim

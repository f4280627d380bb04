// SPDX-License-Identifier: Apache-2.0
// MoE or dense? The same request planned three times: as it is, and with the experts of each layer
// replaced by one feed-forward of equal active, and of equal total, parameters (same depth, width,
// attention and number formats). What a systems simulator cannot say - which of them answers better
// - stays with the reader: equal total parameters bound what the MoE model could know, equal active
// ones what a token may cost.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/study/plan.h"

namespace moesim {

struct AdvisorVariant {
  std::string name;  ///< "moe", "dense, equal active parameters", "dense, equal total parameters"
  std::optional<DenseEdit> dense;
  double total_parameters = 0;
  double active_parameters = 0;
  double weight_bytes = 0;
  std::optional<PlanOption> cheapest;  ///< absent: nothing meets the limits
  double usd_per_million_tokens = 0;   ///< output tokens at the load
  double least_tpot_s = 0;             ///< shortest time per token of any deployment of the search
  std::int64_t fewest_gpus = 0;        ///< of one instance that holds the model
};

struct Advice {
  ServiceRequest service;
  std::vector<AdvisorVariant> variants;  ///< MoE first
  std::vector<std::string> verdict;      ///< sentences with the numbers behind them
};

/// Throws InputError for a dense model and for cards or prices that are missing.
Advice advise(const ServiceRequest& service, const PlanRequest& request, const CardLibrary& cards,
              const std::string& file);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Which experts every GPU needs, step by step, for the caches of experts that live in host memory:
// drawn from a routing with its temporal locality, or replayed from a recording.
//
// In decode the same sequences go on step after step, so a token resembles the one before
// (token_routing_local.h); prompts of successive prefill steps are new. A step's tokens are merged:
// a layer needs the union of their experts, on each GPU those that live there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/moe/expert_cache_trace.h"
#include "sim/moe/token_routing_local.h"
#include "sim/moe/token_routing_profile.h"

namespace moesim {

struct ExpertDemandSpec {
  RoutingSpec routing;
  LocalitySpec locality;
  std::int32_t layers = 1;
  std::int64_t sequences = 1;        ///< that decode side by side, all GPUs together
  std::int64_t tokens_per_step = 1;  ///< new tokens of a step, all GPUs together
  bool continues = true;             ///< the next step goes on with the same sequences
  std::int64_t steps = 1;
  std::int32_t gpus = 1;  ///< traces are made of the first so many ranks
};

/// One trace a GPU; `maps` as in a placement plan (one for all layers, or one a layer). Popularity
/// with a group limit is drawn without it, mixtures by their mean inclusion. About 100 ns a
/// selection.
std::vector<ExpertTrace> expert_demand(const ExpertDemandSpec& spec,
                                       std::span<const ExpertMap> maps);

/// The locality that the keys and the phase of a workload ask for.
LocalitySpec locality_of(const LocalityConfig& config, bool is_decode);

}  // namespace moesim

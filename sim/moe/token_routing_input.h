// SPDX-License-Identifier: Apache-2.0
// From the words of a scenario and a model card to a RoutingSpec: reads the recorded files that a
// scenario names and finds the gate's shape in the card.
#pragma once

#include <cstdint>
#include <string>

#include "sim/input/model_card.h"
#include "sim/input/scenario.h"
#include "sim/moe/token_routing.h"

namespace moesim {

/// The gate of an MoE layer of a card; `group_limited` false leaves the expert groups out. Sigmoid
/// gates score a group by its two best experts (DeepSeek-V3), softmax gates by the best (V2).
GateShape gate_shape(const FfnSpec& layer, bool group_limited = true);

/// Routing of `layer` kind under `routing`. Files are relative to the folder of `scenario_file`.
/// Count files hold selections per layer and expert (`topk` rows when they have kinds; one model
/// and task). Recorded routing already shows the effect of a group limit, so counts and traces take
/// the gate without it. Throws InputError for unreadable or unfitting files and bad numbers.
RoutingSpec routing_spec(const RoutingConfig& routing, const FfnSpec& layer, std::uint64_t seed,
                         const std::string& scenario_file);

/// Every kind of routing with its parameters, as `moesim route --routing` reads it: the keys of a
/// scenario's routing block and those that only a study needs.
struct RoutingOptions {
  RoutingKind kind = RoutingKind::uniform;
  double sigma = 0.0;
  std::vector<double> layer_sigma;
  double alpha = 1.0;
  std::int64_t power_law_tokens = 4096;
  std::string trace;
  bool group_limited = true;
};
const Fields<RoutingOptions>& fields_of(const RoutingOptions*);

/// The spec of such options for an MoE layer; files are relative to the folder of `file`.
RoutingSpec routing_spec(const RoutingOptions& options, const FfnSpec& layer, std::uint64_t seed,
                         const std::string& file);

}  // namespace moesim

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

/// Routing of `layer` kind under `routing`, of which the model has `layers`. Files are relative to
/// the folder of `scenario_file`. Domains get random popularities of their own.
/// Count files hold selections per layer and expert (`topk` rows when they have kinds; one model
/// and task). Recorded routing already shows the effect of a group limit, so counts and traces take
/// the gate without it. Throws InputError for unreadable or unfitting files and bad numbers.
RoutingSpec routing_spec(const RoutingConfig& routing, const FfnSpec& layer, std::int32_t layers,
                         std::uint64_t seed, const std::string& scenario_file);

/// Loads of a recording (counts, or the totals of a trace) [layers][experts]. Throws InputError.
std::vector<std::vector<double>> recorded_loads(const std::string& path,
                                                const std::string& scenario_file);

/// `path` as seen from the folder of `scenario_file`.
std::string beside(const std::string& scenario_file, const std::string& path);

}  // namespace moesim

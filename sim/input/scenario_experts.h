// SPDX-License-Identifier: Apache-2.0
// What the keys of a scenario about experts must fulfil together, with the model and the machine.
#pragma once

#include <cstdint>
#include <string>

#include "sim/input/scenario.h"

namespace moesim {

/// The first class of the model that has routed experts, or null.
const FfnSpec* expert_layers(const ModelCard& model);

/// "allowed: 1, 2, 4": the divisors of `value` that are at most `at_most`.
std::string divisors_text(std::int64_t value, std::int64_t at_most);

/// Spread of a model whose card does not state one: most recorded domains lie between 0.6 and 0.75
/// (routing traces of DeepSeek-V2-Lite and OLMoE, fits of the Gumbel-top-k law).
constexpr double kTypicalSigma = 0.7;

/// Replaces the kind `typical`, of the routing and of its domains, by what it means for the model.
void resolve_typical(RoutingConfig& routing, const ModelCard& model);

/// Adds a diagnostic for every key of /routing, /capacity, /placement and /offload that does not
/// fit the model, the ways of the GPUs, the cluster, or another key.
void check_experts(const ScenarioSpec& spec, const ModelCard& model, const ParallelWays& ways,
                   const ClusterProfile& cluster, const std::string& file,
                   Diagnostics& diagnostics);

}  // namespace moesim

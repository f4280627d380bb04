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

/// Adds a diagnostic for every key of /routing, /capacity, /placement and /offload that does not
/// fit the model, the ways of the GPUs, the cluster, or another key.
void check_experts(const ScenarioSpec& spec, const ModelCard& model, const ParallelWays& ways,
                   const ClusterProfile& cluster, const std::string& file,
                   Diagnostics& diagnostics);

}  // namespace moesim

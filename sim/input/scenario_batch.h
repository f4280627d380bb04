// SPDX-License-Identifier: Apache-2.0
// The keys of a scenario that change its batch and nothing else, so that a sweep along them
// resolves and compiles a deployment once.
#pragma once

#include <string_view>

#include "sim/input/scenario.h"

namespace moesim {

/// Neither cards, layout nor compiled step of a scenario depend on the key at `pointer`; loads do
/// when /placement/policy is `activated`, which plans for a number of tokens.
bool is_batch_key(std::string_view pointer);

/// The rules of `resolve` that these keys take part in, for a resolved step whose batch keys were
/// set since. Throws InputError as `resolve` does.
void check_batch(const Scenario& scenario);

}  // namespace moesim

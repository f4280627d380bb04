// SPDX-License-Identifier: Apache-2.0
// The version that results carry and sweeps are keyed by.
#pragma once

#include <string>

namespace moesim {

/// "0.1.0", from the build system.
std::string version_text();

}  // namespace moesim

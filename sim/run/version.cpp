// SPDX-License-Identifier: Apache-2.0
#include "sim/run/version.h"

namespace moesim {

std::string version_text() { return MOESIM_VERSION; }

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The text report of a serving run.
#pragma once

#include <iosfwd>

#include "sim/run/result.h"

namespace moesim {

void write_serving_text(std::ostream& out, const SimulationResult& result);

}  // namespace moesim

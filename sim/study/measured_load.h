// SPDX-License-Identifier: Apache-2.0
// A scenario at the load of a measured row.
#pragma once

#include "sim/input/scenario.h"
#include "sim/input/serving_measurements.h"

namespace moesim {

/// `spec` at the concurrency or arrival rate and the lengths of `row`, as far as the row states
/// them; scenarios of single steps stay as they are.
ScenarioSpec at_measured_load(const ScenarioSpec& spec, const ServingMeasurement& row);

}  // namespace moesim

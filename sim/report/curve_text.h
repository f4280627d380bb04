// SPDX-License-Identifier: Apache-2.0
// A set of fitted curves for people: every parameter with what it rests on and how far off it is.
#pragma once

#include <iosfwd>

#include "sim/cost/cost_curve.h"

namespace moesim {

void write_curve_set(std::ostream& out, const CurveSet& set);

}  // namespace moesim

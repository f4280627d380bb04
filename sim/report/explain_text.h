// SPDX-License-Identifier: Apache-2.0
// An explanation for people and for scripts.
#pragma once

#include <iosfwd>

#include "sim/base/json.h"
#include "sim/run/explain.h"

namespace moesim {

void write_explanation(std::ostream& out, const Explanation& explanation);
Json explanation_json(const Explanation& explanation);

}  // namespace moesim

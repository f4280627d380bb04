// SPDX-License-Identifier: Apache-2.0
// The part of YAML that configuration files of serving engines are written in, read into JSON.
//
// Block maps and lists by indentation, flow maps and lists ("{a: 1, b: [1, 2]}"), plain and quoted
// scalars, comments. Scalars become null, true/false, integers, numbers or text as in YAML 1.2.
// Anchors, aliases, tags, block scalars, several documents and complex keys are refused by name:
// nothing is silently misread.
#pragma once

#include <string>
#include <string_view>

#include "sim/base/json.h"

namespace moesim {

/// Throws InputError naming `file` and "line L".
Json parse_yaml(std::string_view text, const std::string& file);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The texts of benchmark results as JSON objects, whichever way a tool wrote them: one value, a
// list, an object a line, or the summary that is printed for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"

namespace moesim {

/// True when the text holds a printed "Serving Benchmark Result".
bool is_printed_result(std::string_view text);
/// Its runs, under the keys of the JSON that the same tool saves; other lines keep their names.
std::vector<Json> printed_results(std::string_view text);
/// The objects of a JSON text: the value itself, the items of a list, or one a line. Throws
/// InputError.
std::vector<Json> objects_of(std::string_view text, const std::string& file);

}  // namespace moesim

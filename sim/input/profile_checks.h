// SPDX-License-Identifier: Apache-2.0
// Checks that device and cluster profiles share, each one a Diagnostic with pointer and remedy.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/base/field_table.h"

namespace moesim {

/// "schema" must be there and be `wanted`; a wrong one is worth stopping for.
void check_schema(const Json& json, std::string_view wanted, const ReadContext& context);
/// YYYY-MM-DD with a month and a day that exist.
void check_date(const std::string& date, const ReadContext& context);
void check_source(const std::string& source, const ReadContext& context);
/// Every "source" text anywhere below `json` says something.
void check_sources(const Json& json, const ReadContext& context);
void check_word(const std::string& word, const std::vector<std::string>& known,
                const ReadContext& context);
/// Throws InputError unless `path` is <id>.json ("-", standard input, has no name to compare).
void check_id_is_file_name(const std::string& id, const std::string& path);

}  // namespace moesim

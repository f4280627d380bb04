// SPDX-License-Identifier: Apache-2.0
// A result as text for a terminal, JSON, CSV or Markdown.
//
// JSON is the contract with scripts (keys in docs/json_keys.md); the others show the same numbers.
// Text fits 100 columns.
#pragma once

#include <iosfwd>
#include <span>
#include <string>

#include "sim/base/field_table.h"
#include "sim/base/json.h"
#include "sim/run/result.h"

namespace moesim {

enum class ReportFormat : std::uint8_t { text, json, csv, markdown };
std::span<const Choice<ReportFormat>> choices_of(ReportFormat);

void write_report(std::ostream& out, const SimulationResult& result, ReportFormat format);
std::string report_text(const SimulationResult& result, ReportFormat format);

/// "expert_imbalance: 1.7 (busiest GPU, mean over layers), above 1.5, first at 48 s; what to do".
std::string alert_text(const Alert& alert);

/// The result as one JSON object: schema "moesim/result/1".
Json result_json(const SimulationResult& result);

}  // namespace moesim

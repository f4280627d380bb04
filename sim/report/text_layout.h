// SPDX-License-Identifier: Apache-2.0
// Laying out plain text of 100 columns: padding, wrapping, bars, metrics as people read them.
#pragma once

#include <string>
#include <string_view>

#include "sim/run/result.h"

namespace moesim {

std::string padded(std::string text, std::size_t width);
std::string right(const std::string& text, std::size_t width);
/// Breaks at spaces so that no line passes the column limit; continuation lines are indented by
/// `indent`.
std::string wrapped(const std::string& text, std::size_t indent);
/// `share` of `width` blocks.
std::string bar(double share, std::size_t width);
/// Text or number at a pointer of the resolved scenario, "" when there is none.
std::string text_at(const Json& scenario, std::string_view pointer);
/// " (2,500 to 2,900)", or nothing without a band.
std::string range_text(const Metric& metric, const std::string& unit);
/// The value with its range, if it has one.
std::string metric_text(const Metric& metric, const std::string& unit);

}  // namespace moesim

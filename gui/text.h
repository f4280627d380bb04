// SPDX-License-Identifier: GPL-3.0-or-later
// Numbers and names as the explorer shows them; the scaling is the library's (base/quantity_text).
#pragma once

#include <QString>
#include <optional>
#include <string>

#include "sim/run/result.h"

namespace moesim::gui {

inline QString text(const std::string& s) { return QString::fromStdString(s); }

/// Four significant digits, for tables.
QString numberText(double value);
/// The shortest text that reads back equal.
QString exactText(double value);
/// Scaled for people: "50.7 ms", "2,523", "71.2 GB", "12%".
QString valueText(double value, const std::string& unit);
/// "2,304 to 2,764", or "" without a band.
QString bandText(const Metric& metric, const std::string& unit);
/// "+12.3%" of `value` against `pinned`; "" when there is nothing to compare.
QString changeText(double value, std::optional<double> pinned);
/// "attention_projection" -> "attention projection".
QString wordsOf(const std::string& name);
/// A key for people: "batch_per_gpu" -> "Batch per GPU".
QString titleOf(const std::string& key);
/// The mean of a plain figure or a distribution, the sum of a group.
double mainValue(const NamedMetric& metric);
std::optional<double> figure(const SimulationResult& result, const std::string& name);

}  // namespace moesim::gui

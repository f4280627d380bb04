// SPDX-License-Identifier: Apache-2.0
// Scaled text for people ("80 GiB", "3.35 TB/s", "41.2 ms"); files never hold it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sim/base/units.h"

namespace moesim {

/// Three significant digits and a scaled unit: "41.2 ms", "1.98 TB/s". Memory sizes use GB = 1e9.
std::string quantity_text(Seconds value);
std::string quantity_text(Bytes value);
std::string quantity_text(BytesPerSecond value);
std::string quantity_text(FlopsPerSecond value);
std::string quantity_text(Flops value);
std::string quantity_text(Watts value);
/// A number in the named JSON unit ("s", "bytes", "bytes_per_s", "flops_per_s", "w", "fraction",
/// ""), scaled for people.
std::string quantity_text(double value, std::string_view unit);
/// `digits` significant digits, thousands separated by commas above 9,999: "2,325", "0.0312".
std::string plain_number_text(double value, int digits = 3);
/// Whole numbers in full, others with four significant digits.
std::string count_text(double value);

/// Reads "3.35 TB/s", "80 GiB", "14 us", "989 TFLOP/s", "50%" or a bare number as an unscaled value
/// in `unit` (a JSON unit suffix as above). Nothing when the text is not such a quantity or has
/// another dimension.
std::optional<double> parse_quantity(std::string_view text, std::string_view unit);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/base/quantity_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace moesim {
namespace {

struct Scale {
  const char* name;
  double factor;
};

constexpr Scale kTimeScales[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"ps", 1e-12}};
constexpr Scale kBytesScales[] = {{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9},
                                  {"MB", 1e6},  {"kB", 1e3},  {"B", 1}};
constexpr Scale kRateScales[] = {
    {"TB/s", 1e12}, {"GB/s", 1e9}, {"MB/s", 1e6}, {"kB/s", 1e3}, {"B/s", 1}};
constexpr Scale kFlopsRateScales[] = {
    {"PFLOP/s", 1e15}, {"TFLOP/s", 1e12}, {"GFLOP/s", 1e9}, {"FLOP/s", 1}};
constexpr Scale kFlopsScales[] = {
    {"PFLOP", 1e15}, {"TFLOP", 1e12}, {"GFLOP", 1e9}, {"MFLOP", 1e6}, {"FLOP", 1}};

template <std::size_t N>
std::string scaled(double value, const Scale (&scales)[N]) {
  if (value == 0.0) {
    return std::string("0 ") + scales[N - 1].name;
  }
  for (const Scale& scale : scales) {
    if (std::fabs(value) >= scale.factor * 0.9995) {
      return plain_number_text(value / scale.factor) + " " + scale.name;
    }
  }
  return plain_number_text(value / scales[N - 1].factor) + " " + scales[N - 1].name;
}

struct NamedUnit {
  const char* text;
  double factor;
  const char* unit;
};

// Everything a person may type; compared without regard to case where no two differ only by case.
constexpr NamedUnit kUnits[] = {
    {"s", 1, "s"},
    {"ms", 1e-3, "s"},
    {"us", 1e-6, "s"},
    {"ns", 1e-9, "s"},
    {"min", 60, "s"},
    {"h", 3600, "s"},
    {"B", 1, "bytes"},
    {"kB", 1e3, "bytes"},
    {"MB", 1e6, "bytes"},
    {"GB", 1e9, "bytes"},
    {"TB", 1e12, "bytes"},
    {"KiB", 1024, "bytes"},
    {"MiB", 1048576, "bytes"},
    {"GiB", 1073741824, "bytes"},
    {"TiB", 1099511627776, "bytes"},
    {"B/s", 1, "bytes_per_s"},
    {"kB/s", 1e3, "bytes_per_s"},
    {"MB/s", 1e6, "bytes_per_s"},
    {"GB/s", 1e9, "bytes_per_s"},
    {"TB/s", 1e12, "bytes_per_s"},
    {"Gbit/s", 1.25e8, "bytes_per_s"},
    {"FLOP/s", 1, "flops_per_s"},
    {"GFLOP/s", 1e9, "flops_per_s"},
    {"TFLOP/s", 1e12, "flops_per_s"},
    {"PFLOP/s", 1e15, "flops_per_s"},
    {"TFLOPS", 1e12, "flops_per_s"},
    {"PFLOPS", 1e15, "flops_per_s"},
    {"W", 1, "w"},
    {"kW", 1e3, "w"},
    {"%", 0.01, "fraction"},
};

}  // namespace

std::string plain_number_text(double value, int digits) {
  if (!std::isfinite(value)) {
    return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
  }
  if (value == 0.0) {
    return "0";
  }
  const double magnitude = std::floor(std::log10(std::fabs(value)));
  const int decimals = std::max(0, digits - 1 - static_cast<int>(magnitude));
  std::array<char, 400> buffer{};
  if (magnitude < -6 || magnitude > 15) {
    std::snprintf(buffer.data(), buffer.size(), "%.*g", digits, value);
    return buffer.data();
  }
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                     std::chars_format::fixed, decimals);
  std::string text(buffer.data(), written.ptr);
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::size_t first = text[0] == '-' ? 1 : 0;
  if (point - first > 4) {
    for (std::size_t i = point; i > first + 3; i -= 3) {
      text.insert(i - 3, ",");
    }
  }
  return text;
}

std::string count_text(double value) {
  if (std::floor(value) != value || std::fabs(value) >= 1e15) {
    return plain_number_text(value, 4);
  }
  return plain_number_text(value,
                           value == 0.0 ? 1 : 1 + static_cast<int>(std::log10(std::fabs(value))));
}

std::string quantity_text(Seconds value) { return scaled(value.value(), kTimeScales); }
std::string quantity_text(Bytes value) { return scaled(value.value(), kBytesScales); }
std::string quantity_text(BytesPerSecond value) { return scaled(value.value(), kRateScales); }
std::string quantity_text(FlopsPerSecond value) { return scaled(value.value(), kFlopsRateScales); }
std::string quantity_text(Flops value) { return scaled(value.value(), kFlopsScales); }
std::string quantity_text(Watts value) { return plain_number_text(value.value()) + " W"; }

std::string quantity_text(double value, std::string_view unit) {
  if (unit == "s") {
    return quantity_text(Seconds(value));
  }
  if (unit == "bytes") {
    return quantity_text(Bytes(value));
  }
  if (unit == "bytes_per_s") {
    return quantity_text(BytesPerSecond(value));
  }
  if (unit == "flops_per_s") {
    return quantity_text(FlopsPerSecond(value));
  }
  if (unit == "w") {
    return quantity_text(Watts(value));
  }
  if (unit == "fraction") {
    return plain_number_text(value * 100.0) + "%";
  }
  return plain_number_text(value, 4);
}

std::optional<double> parse_quantity(std::string_view text, std::string_view unit) {
  while (!text.empty() && text.front() == ' ') {
    text.remove_prefix(1);
  }
  double number = 0.0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number)) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
  while (!text.empty() && text.front() == ' ') {
    text.remove_prefix(1);
  }
  while (!text.empty() && text.back() == ' ') {
    text.remove_suffix(1);
  }
  if (text.empty()) {
    return number;
  }
  for (const NamedUnit& named : kUnits) {
    if (text == named.text && unit == named.unit) {
      return number * named.factor;
    }
  }
  return std::nullopt;
}

}  // namespace moesim

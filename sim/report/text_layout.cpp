// SPDX-License-Identifier: Apache-2.0
#include "sim/report/text_layout.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

constexpr std::size_t kColumns = 100;

}  // namespace

std::string padded(std::string text, std::size_t width) {
  // Bytes above 0x7f that continue a UTF-8 character take no column.
  const auto columns = static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
  if (columns < width) {
    text.append(width - columns, ' ');
  }
  return text;
}

std::string right(const std::string& text, std::size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string wrapped(const std::string& text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  std::istringstream words(text);
  std::string word;
  out.append(indent, ' ');
  bool first = true;
  while (words >> word) {
    if (!first && column + 1 + word.size() > kColumns) {
      out += '\n';
      out.append(indent, ' ');
      column = indent;
      first = true;
    }
    if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
  }
  return out;
}

std::string bar(double share, std::size_t width) {
  std::string text;
  const auto full = static_cast<std::size_t>(std::floor(share * static_cast<double>(width) + 0.5));
  for (std::size_t i = 0; i < full; ++i) {
    text += "\u2588";
  }
  return text;
}

std::string text_at(const Json& scenario, std::string_view pointer) {
  const Json* value = scenario.at_pointer(pointer);
  if (value == nullptr) {
    return "";
  }
  return value->is_text()     ? value->as_text()
         : value->is_number() ? count_text(value->as_number())
                              : "";
}

std::string range_text(const Metric& metric, const std::string& unit) {
  return metric.low && metric.high ? " (" + quantity_text(*metric.low, unit) + " to " +
                                         quantity_text(*metric.high, unit) + ")"
                                   : "";
}

std::string metric_text(const Metric& metric, const std::string& unit) {
  return quantity_text(metric.value, unit) + range_text(metric, unit);
}

}  // namespace moesim

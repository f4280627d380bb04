// SPDX-License-Identifier: Apache-2.0
#include "calibrate/text_table.h"

#include <charconv>
#include <cmath>

#include "sim/base/json.h"
#include "sim/input/measurement_tables.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxProblems = 100;

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> cells;
  std::size_t begin = 0;
  bool is_quoted = false;
  for (std::size_t i = 0; i <= line.size(); ++i) {
    if (i < line.size() && line[i] == '"') {
      is_quoted = !is_quoted;
    }
    if (i == line.size() || (line[i] == ',' && !is_quoted)) {
      std::string_view cell = line.substr(begin, i - begin);
      if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') {
        cell = cell.substr(1, cell.size() - 2);
      }
      cells.push_back(cell);
      begin = i + 1;
    }
  }
  return cells;
}

}  // namespace

TextTable::TextTable(std::string path, std::vector<Diagnostic>& problems)
    : path_(std::move(path)), problems_(problems), text_(read_maybe_gzip(path_)) {
  std::int64_t line_number = 0;
  std::size_t begin = 0;
  while (begin < text_.size()) {
    std::size_t end = text_.find('\n', begin);
    end = end == std::string::npos ? text_.size() : end;
    std::string_view line(text_.data() + begin, end - begin);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    ++line_number;
    if (!line.empty()) {
      rows_.emplace_back(line_number, split(line));
    }
    begin = end + 1;
  }
  if (rows_.empty()) {
    return;
  }
  for (std::size_t i = 0; i < rows_[0].second.size(); ++i) {
    columns_[std::string(rows_[0].second[i])] = i;
  }
  rows_.erase(rows_.begin());
}

bool TextTable::has(std::initializer_list<const char*> names) {
  bool all = true;
  for (const char* name : names) {
    if (columns_.count(name) == 0) {
      add_problem("row 1", "has no column \"" + std::string(name) + "\"");
      all = false;
    }
  }
  return all;
}

std::string TextTable::word(std::size_t row, const char* name) const {
  const auto found = columns_.find(name);
  const auto& cells = rows_[row].second;
  return found == columns_.end() || found->second >= cells.size()
             ? ""
             : std::string(cells[found->second]);
}

double TextTable::number(std::size_t row, const char* name, double low, double otherwise) {
  const std::string text = word(row, name);
  if (text.empty() && otherwise >= 0) {
    return otherwise;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= low) || value > 1e15) {
    add_problem("row " + std::to_string(file_row(row)) + ", column " + name,
                "\"" + text.substr(0, 40) + "\" is no number of at least " + number_text(low));
    is_bad_ = true;
  }
  return value;
}

std::int64_t TextTable::whole(std::size_t row, const char* name, std::int64_t low,
                              std::int64_t otherwise) {
  const double value = number(row, name, static_cast<double>(low), static_cast<double>(otherwise));
  if (!is_bad_ && value != std::floor(value)) {
    add_problem("row " + std::to_string(file_row(row)) + ", column " + name,
                number_text(value) + " is no whole number");
    is_bad_ = true;
  }
  return is_bad_ ? low : static_cast<std::int64_t>(value);
}

void TextTable::add_problem(std::string where, std::string what) {
  if (problems_.size() < kMaxProblems) {
    problems_.push_back({path_, std::move(where), std::move(what), ""});
  }
}

}  // namespace moesim

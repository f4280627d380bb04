// SPDX-License-Identifier: Apache-2.0
#include "sim/input/request_trace.h"

#include <charconv>
#include <cmath>
#include <string_view>

#include "sim/base/error.h"
#include "sim/input/measurement_tables.h"

namespace moesim {
namespace {

constexpr std::size_t kMostProblems = 20;
constexpr double kLongest = 1e8;

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  while (true) {
    const std::size_t comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) {
      return cells;
    }
    line.remove_prefix(comma + 1);
  }
}

/// One pass over the lines of a trace.
class TraceParser {
 public:
  TraceParser(const std::string& file, bool needs_arrivals)
      : file_(file), needs_arrivals_(needs_arrivals) {}

  RequestTrace parse(std::string_view text) {
    while (!text.empty() && problems_.list().size() < kMostProblems) {
      const std::size_t newline = text.find('\n');
      std::string_view line = text.substr(0, newline);
      text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
      ++line_number_;
      if (!line.empty() && line.back() == '\r') {
        line.remove_suffix(1);
      }
      if (line_number_ == 1) {
        read_header(line);
      } else if (!line.empty()) {
        read_row(line);
      }
    }
    if (problems_.empty() && trace_.size() == 0) {
      problems_.add(file_, "", "holds no request", "a header and at least one row");
    }
    problems_.throw_if_any();
    if (block_column_ != kNone) {
      trace_.first_block.push_back(static_cast<std::uint32_t>(trace_.block_ids.size()));
    }
    return std::move(trace_);
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  void read_header(std::string_view line) {
    const std::vector<std::string_view> names = cells_of(line);
    columns_ = names.size();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == "arrival_s") {
        arrival_column_ = i;
      } else if (names[i] == "prompt_tokens") {
        prompt_column_ = i;
      } else if (names[i] == "output_tokens") {
        output_column_ = i;
      } else if (names[i] == "block_hash_ids") {
        block_column_ = i;
      }
    }
    const auto require = [&](std::size_t column, const char* name) {
      if (column == kNone) {
        problems_.add(
            file_, "line 1", "has no column \"" + std::string(name) + "\"",
            "columns: arrival_s, prompt_tokens, output_tokens, block_hash_ids (optional)");
      }
    };
    require(prompt_column_, "prompt_tokens");
    require(output_column_, "output_tokens");
    if (needs_arrivals_) {
      require(arrival_column_, "arrival_s");
    }
    problems_.throw_if_any();
  }

  double number(std::string_view cell, const char* column, double low, double high) {
    double value = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc() || end != cell.data() + cell.size() || !std::isfinite(value) ||
        value < low || value > high) {
      problems_.add(file_, "line " + std::to_string(line_number_) + ", column " + column,
                    "\"" + std::string(cell.substr(0, 40)) + "\" is no number in range",
                    "allowed: " + number_range(low, high));
      return low;
    }
    return value;
  }

  static std::string number_range(double low, double high) {
    return std::to_string(static_cast<std::int64_t>(low)) + " to " +
           std::to_string(static_cast<std::int64_t>(high));
  }

  void read_row(std::string_view line) {
    const std::vector<std::string_view> cells = cells_of(line);
    if (cells.size() != columns_) {
      problems_.add(file_, "line " + std::to_string(line_number_),
                    "has " + std::to_string(cells.size()) + " cells",
                    "the header has " + std::to_string(columns_));
      return;
    }
    if (arrival_column_ != kNone) {
      const double arrival = number(cells[arrival_column_], "arrival_s", 0, 1e12);
      if (!trace_.arrival_s.empty() && arrival < trace_.arrival_s.back()) {
        problems_.add(file_, "line " + std::to_string(line_number_) + ", column arrival_s",
                      "is earlier than the row before", "rows in order of arrival");
      }
      trace_.arrival_s.push_back(arrival);
    }
    trace_.prompt_tokens.push_back(
        static_cast<std::int32_t>(number(cells[prompt_column_], "prompt_tokens", 1, kLongest)));
    const double output = number(cells[output_column_], "output_tokens", 0, kLongest);
    trace_.output_tokens.push_back(static_cast<std::int32_t>(output < 1 ? 1 : output));
    if (block_column_ != kNone) {
      trace_.first_block.push_back(static_cast<std::uint32_t>(trace_.block_ids.size()));
      read_blocks(cells[block_column_]);
    }
  }

  void read_blocks(std::string_view cell) {
    while (!cell.empty()) {
      const std::size_t space = cell.find(' ');
      const std::string_view word = cell.substr(0, space);
      if (!word.empty()) {
        trace_.block_ids.push_back(
            static_cast<std::uint32_t>(number(word, "block_hash_ids", 0, 4294967295.0)));
      }
      cell.remove_prefix(space == std::string_view::npos ? cell.size() : space + 1);
    }
  }

  const std::string& file_;
  bool needs_arrivals_;
  Diagnostics problems_;
  RequestTrace trace_;
  std::size_t columns_ = 0;
  std::size_t arrival_column_ = kNone;
  std::size_t prompt_column_ = kNone;
  std::size_t output_column_ = kNone;
  std::size_t block_column_ = kNone;
  std::size_t line_number_ = 0;
};

}  // namespace

RequestTrace parse_request_trace(const std::string& text, const std::string& file,
                                 bool needs_arrivals) {
  return TraceParser(file, needs_arrivals).parse(text);
}

RequestTrace read_request_trace(const std::string& path, bool needs_arrivals) {
  return parse_request_trace(read_maybe_gzip(path), path, needs_arrivals);
}

}  // namespace moesim

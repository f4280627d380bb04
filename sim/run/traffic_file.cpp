// SPDX-License-Identifier: Apache-2.0
// Traffic matrices as CSV. A million rows are usual, so numbers are read in place.
#include <charconv>
#include <cmath>
#include <cstring>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/run/traffic.h"

namespace moesim {

namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{4} << 30;
constexpr std::size_t kMaxProblems = 20;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t' || text.front() == '"')) {
    text.remove_prefix(1);
  }
  while (!text.empty() &&
         (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' || text.back() == '"')) {
    text.remove_suffix(1);
  }
  return text;
}

std::string_view next_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

std::string_view next_cell(std::string_view& line) {
  const std::size_t end = std::min(line.find(','), line.size());
  const std::string_view cell = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return trimmed(cell);
}

template <class Number>
bool read_number(std::string_view cell, Number& number) {
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), number);
  return error == std::errc{} && end == cell.data() + cell.size();
}

std::string quoted(std::string_view cell) {
  return cell.empty() ? "nothing" : "\"" + std::string(cell.substr(0, 40)) + "\"";
}

class MatrixReader {
 public:
  MatrixReader(const std::string& text, const std::string& file, std::uint32_t num_ranks)
      : rest_(text), file_(file), num_ranks_(num_ranks) {}

  TransferSet read() {
    read_header();
    for (row_ = 1; !rest_.empty(); ++row_) {
      ++line_;
      std::string_view line = next_line(rest_);
      if (trimmed(line).empty()) {
        --row_;
        continue;
      }
      read_row(line);
      if (problems_.list().size() >= kMaxProblems) {
        break;
      }
    }
    problems_.throw_if_any();
    if (bytes_.empty()) {
      throw InputError(file_, "", "holds no rows: the matrix is empty",
                       "give at least one row src,dst,bytes");
    }
    return TransferSet::columns(std::move(sources_), std::move(destinations_), std::move(bytes_));
  }

 private:
  void read_header() {
    line_ = 1;
    std::string_view header = next_line(rest_);
    if (header.starts_with("\xef\xbb\xbf")) {
      header.remove_prefix(3);
    }
    constexpr std::string_view kNames[] = {"src", "dst", "bytes"};
    for (std::size_t index = 0; !header.empty(); ++index) {
      const std::string_view name = next_cell(header);
      for (std::size_t column = 0; column < 3; ++column) {
        if (name == kNames[column]) {
          column_[column] = index;
        }
      }
    }
    for (std::size_t column = 0; column < 3; ++column) {
      if (column_[column] == SIZE_MAX) {
        problems_.add(file_, "line 1", "has no column \"" + std::string(kNames[column]) + "\"",
                      "the first line is src,dst,bytes");
      }
    }
    problems_.throw_if_any();
  }

  void problem(std::string text, std::string allowed) {
    problems_.add(file_, "row " + std::to_string(row_) + " (line " + std::to_string(line_) + ")",
                  std::move(text), std::move(allowed));
  }

  void read_row(std::string_view line) {
    std::string_view cells[3];
    std::size_t found = 0;
    bool ends_in_comma = false;
    for (std::size_t index = 0; !line.empty() || ends_in_comma; ++index) {
      ends_in_comma = line.find(',') != std::string_view::npos && line.find(',') + 1 == line.size();
      const std::string_view cell = next_cell(line);
      for (std::size_t column = 0; column < 3; ++column) {
        if (column_[column] == index) {
          cells[column] = cell;
          ++found;
        }
      }
    }
    if (found < 3) {
      problem("has too few columns", "one cell for each of src, dst, bytes");
      return;
    }
    std::uint32_t ranks[2] = {0, 0};
    bool is_good = true;
    for (std::size_t side = 0; side < 2; ++side) {
      if (!read_number(cells[side], ranks[side]) || ranks[side] >= num_ranks_) {
        problem(quoted(cells[side]) + " in " + (side == 0 ? "src" : "dst") + " is no known rank",
                "allowed: 0 to " + std::to_string(num_ranks_ - 1));
        is_good = false;
      }
    }
    double bytes = 0.0;
    if (!read_number(cells[2], bytes) || !std::isfinite(bytes) || bytes < 0.0) {
      problem(quoted(cells[2]) + " in bytes is no finite number >= 0", "allowed: bytes, unscaled");
      is_good = false;
    }
    if (is_good) {
      sources_.push_back(ranks[0]);
      destinations_.push_back(ranks[1]);
      bytes_.push_back(bytes);
    }
  }

  std::string_view rest_;
  const std::string& file_;
  std::uint32_t num_ranks_;
  std::size_t column_[3] = {SIZE_MAX, SIZE_MAX, SIZE_MAX};
  std::size_t line_ = 0;
  std::size_t row_ = 0;
  Diagnostics problems_;
  std::vector<std::uint32_t> sources_, destinations_;
  std::vector<double> bytes_;
};

template <class Number>
void append(std::string& text, Number number, char end) {
  char buffer[40];
  const auto [stop, error] = std::to_chars(buffer, buffer + sizeof buffer, number);
  text.append(buffer, stop);
  text.push_back(end);
}

}  // namespace

TransferSet parse_traffic_matrix(const std::string& text, const std::string& file,
                                 std::uint32_t num_ranks) {
  return MatrixReader(text, file, num_ranks).read();
}

TransferSet read_traffic_matrix(const std::string& path, std::uint32_t num_ranks) {
  return parse_traffic_matrix(read_text_file(path, kMaxFileBytes), path, num_ranks);
}

std::string traffic_csv(const TransferSet& transfer, const std::vector<double>& ends_s) {
  MOESIM_CHECK(ends_s.size() == transfer.num_flows(), "one end for each flow");
  std::string text = "src,dst,bytes,end_s\n";
  for (std::uint32_t flow = 0; flow < transfer.num_flows(); ++flow) {
    const std::uint32_t source = transfer.source(flow), destination = transfer.destination(flow);
    if (transfer.is_uniform() && source == destination) {
      continue;
    }
    append(text, source, ',');
    append(text, destination, ',');
    append(text, transfer.bytes(flow), ',');
    append(text, ends_s[flow], '\n');
  }
  return text;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/input/serving_measurements.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <set>
#include <variant>

#include "sim/input/measurement_tables.h"

namespace moesim {
namespace {

using Row = ServingMeasurement;
using Number = std::optional<double>;

/// A number as the column writes it: `scale` times what the member holds.
struct NumberColumn {
  Number Row::*member;
  double scale = 1;
};
struct PoolColumn {
  MeasuredPool Row::*pool;
  Number MeasuredPool::*member;
};
struct Column {
  std::string_view name;
  std::variant<std::string Row::*, NumberColumn, PoolColumn> member;
  bool required = true;
};

constexpr double kMillisecondsPerSecond = 1e3;

const auto& columns() {
  static const std::array<Column, 36> kColumns = {{
      {"id", &Row::id},
      {"source", &Row::source},
      {"source_ref", &Row::source_ref},
      {"date", &Row::date},
      {"model", &Row::model},
      {"precision", &Row::precision},
      {"system", &Row::system},
      {"gpus", NumberColumn{&Row::gpus}},
      {"nodes", NumberColumn{&Row::nodes}},
      {"tp", NumberColumn{&Row::tensor}},
      {"dp", NumberColumn{&Row::data}},
      {"ep", NumberColumn{&Row::expert}},
      {"pp", NumberColumn{&Row::pipeline}},
      {"role", &Row::role},
      {"isl", &Row::input_tokens},
      {"osl", &Row::output_tokens},
      {"concurrency_or_batch", &Row::load},
      {"prefix_hit", &Row::prefix_hit},
      {"framework_version", &Row::framework},
      {"input_tok_s_per_gpu", NumberColumn{&Row::input_rate}},
      {"output_tok_s_per_gpu", NumberColumn{&Row::output_rate}},
      {"ttft_ms", NumberColumn{&Row::ttft_s, kMillisecondsPerSecond}},
      {"tpot_ms", NumberColumn{&Row::tpot_s, kMillisecondsPerSecond}},
      {"notes", &Row::notes},
      {"moe_tp", NumberColumn{&Row::moe_tensor}, false},
      {"moe_ep", NumberColumn{&Row::moe_expert}, false},
      {"prefill_workers", PoolColumn{&Row::prefill, &MeasuredPool::workers}, false},
      {"prefill_tp", PoolColumn{&Row::prefill, &MeasuredPool::tensor}, false},
      {"prefill_dp", PoolColumn{&Row::prefill, &MeasuredPool::data}, false},
      {"prefill_moe_tp", PoolColumn{&Row::prefill, &MeasuredPool::moe_tensor}, false},
      {"prefill_moe_ep", PoolColumn{&Row::prefill, &MeasuredPool::moe_expert}, false},
      {"decode_workers", PoolColumn{&Row::decode, &MeasuredPool::workers}, false},
      {"decode_tp", PoolColumn{&Row::decode, &MeasuredPool::tensor}, false},
      {"decode_dp", PoolColumn{&Row::decode, &MeasuredPool::data}, false},
      {"decode_moe_tp", PoolColumn{&Row::decode, &MeasuredPool::moe_tensor}, false},
      {"decode_moe_ep", PoolColumn{&Row::decode, &MeasuredPool::moe_expert}, false},
  }};
  return kColumns;
}

const Column* column_named(std::string_view name) {
  for (const Column& column : columns()) {
    if (column.name == name) {
      return &column;
    }
  }
  return nullptr;
}

std::string at_row(std::int64_t line, std::string_view column = "") {
  return "row " + std::to_string(line) + (column.empty() ? "" : ", column " + std::string(column));
}

std::string shortened(std::string_view cell) {
  return "\"" + std::string(cell.substr(0, 80)) + "\"";
}

/// Columns of a header line, in the file's order; null for one that no table has.
std::vector<const Column*> read_header(const CsvRow& header, const std::string& file,
                                       Diagnostics& problems) {
  std::vector<const Column*> order;
  std::set<std::string_view> seen;
  for (const std::string& cell : header.cells) {
    const Column* column = column_named(cell);
    if (column == nullptr) {
      problems.add(file, at_row(header.line), shortened(cell) + " is no column of this table",
                   "allowed: id, source, ... as docs/serving_validation.md lists them");
    } else if (!seen.insert(column->name).second) {
      problems.add(file, at_row(header.line, column->name), "stands twice", "once");
    }
    order.push_back(column);
  }
  for (const Column& column : columns()) {
    if (column.required && seen.count(column.name) == 0) {
      problems.add(file, at_row(header.line, column.name), "is missing",
                   "every column, empty where the source says nothing");
    }
  }
  return order;
}

/// False when the cell holds no positive number.
bool set_number(Number& member, std::string_view cell, double scale) {
  if (cell.empty()) {
    return true;
  }
  const Number value = plain_number(cell);
  if (!value || *value <= 0) {
    return false;
  }
  member = *value / scale;
  return true;
}

}  // namespace

std::optional<double> plain_number(std::string_view cell) {
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (cell.empty() || error != std::errc() || end != cell.data() + cell.size() ||
      !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::vector<CsvRow> parse_csv(std::string_view text) {
  std::vector<CsvRow> rows;
  CsvRow row;
  std::string cell;
  std::int64_t line = 1;
  bool quoted = false;
  bool any = false;  // the row has at least one character
  const auto end_row = [&] {
    if (any) {
      row.cells.push_back(std::move(cell));
      rows.push_back(std::move(row));
    }
    row = {};
    cell.clear();
    any = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!any && !quoted) {
      row.line = line;
    }
    if (quoted) {
      if (c != '"') {
        cell += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && cell.empty()) {
      quoted = true;
      any = true;
    } else if (c == ',') {
      row.cells.push_back(std::move(cell));
      cell.clear();
      any = true;
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r') {
      cell += c;
      any = true;
    }
    line += c == '\n' ? 1 : 0;
  }
  end_row();
  return rows;
}

std::vector<ServingMeasurement> parse_serving_measurements(std::string_view text,
                                                           const std::string& file,
                                                           Diagnostics& problems) {
  std::vector<ServingMeasurement> rows;
  const std::vector<CsvRow> lines = parse_csv(text);
  if (lines.empty()) {
    problems.add(file, at_row(1), "the file is empty", "a header line and rows");
    return rows;
  }
  Diagnostics header_problems;
  const std::vector<const Column*> order = read_header(lines.front(), file, header_problems);
  if (!header_problems.empty()) {
    for (const Diagnostic& problem : header_problems.list()) {
      problems.add(problem);
    }
    return rows;
  }
  std::set<std::string> ids;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const CsvRow& line = lines[i];
    if (line.cells.size() != order.size()) {
      problems.add(file, at_row(line.line),
                   "has " + std::to_string(line.cells.size()) + " cells, the header " +
                       std::to_string(order.size()),
                   "as many cells as the header");
      continue;
    }
    ServingMeasurement row;
    row.file_row = line.line;
    bool is_good = true;
    for (std::size_t c = 0; c < order.size(); ++c) {
      const Column& column = *order[c];
      const std::string& cell = line.cells[c];
      bool cell_is_good = true;
      if (const auto* text_member = std::get_if<std::string Row::*>(&column.member)) {
        row.** text_member = cell;
      } else if (const auto* number = std::get_if<NumberColumn>(&column.member)) {
        cell_is_good = set_number(row.*number->member, cell, number->scale);
      } else {
        const PoolColumn& pool = std::get<PoolColumn>(column.member);
        cell_is_good = set_number(row.*pool.pool.*pool.member, cell, 1);
      }
      if (!cell_is_good) {
        problems.add(file, at_row(line.line, column.name), shortened(cell) + " is no number > 0",
                     "a number, or nothing where the source gives none");
        is_good = false;
      }
    }
    if (row.id.empty()) {
      problems.add(file, at_row(line.line, "id"), "is missing", "a name that no other row has");
      is_good = false;
    } else if (!ids.insert(row.id).second) {
      problems.add(file, at_row(line.line, "id"), shortened(row.id) + " stands twice",
                   "a name that no other row has");
      is_good = false;
    }
    if (is_good) {
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::vector<ServingMeasurement> read_serving_measurements(const std::string& path,
                                                          Diagnostics& problems) {
  return parse_serving_measurements(read_maybe_gzip(path), path, problems);
}

std::string serving_measurements_csv(const std::vector<ServingMeasurement>& rows) {
  std::string text;
  const auto add_cell = [&text](std::string_view cell, bool is_first) {
    text += is_first ? "" : ",";
    if (cell.find_first_of(",\"\n\r") == std::string_view::npos) {
      text += cell;
      return;
    }
    text += '"';
    for (const char c : cell) {
      text += c == '"' ? "\"\"" : std::string(1, c);
    }
    text += '"';
  };
  for (const Column& column : columns()) {
    add_cell(column.name, &column == columns().data());
  }
  text += '\n';
  for (const ServingMeasurement& row : rows) {
    for (const Column& column : columns()) {
      std::string cell;
      const auto number_cell = [&cell](const Number& value, double scale) {
        // 12 digits: enough for every source, few enough to hide what the change of unit left.
        char digits[32];
        std::snprintf(digits, sizeof digits, "%.12g", value.value_or(0) * scale);
        cell = value ? digits : "";
      };
      if (const auto* text_member = std::get_if<std::string Row::*>(&column.member)) {
        cell = row.**text_member;
      } else if (const auto* number = std::get_if<NumberColumn>(&column.member)) {
        number_cell(row.*number->member, number->scale);
      } else {
        const PoolColumn& pool = std::get<PoolColumn>(column.member);
        number_cell(row.*pool.pool.*pool.member, 1);
      }
      add_cell(cell, &column == columns().data());
    }
    text += '\n';
  }
  return text;
}

}  // namespace moesim

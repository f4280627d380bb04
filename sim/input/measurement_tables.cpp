// SPDX-License-Identifier: Apache-2.0
#include "sim/input/measurement_tables.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>

namespace moesim {
namespace {

constexpr std::size_t kMaxReportedRows = 100;
constexpr std::size_t kMaxTextBytes = 1u << 30;
// No kernel ends within 0.1 us of its start, and no row of these tables takes 1,000 s: estimates,
// three decades away from every known row on either side.
constexpr double kShortestLatencyMs = 1e-4;
constexpr double kLongestLatencyMs = 1e6;

struct TableColumns {
  std::string_view table;
  std::vector<std::string_view> required;
};

const std::vector<TableColumns>& table_columns() {
  static const std::vector<std::string_view> kMoe = {"moe_dtype",   "num_tokens",  "hidden_size",
                                                     "inter_size",  "topk",        "num_experts",
                                                     "moe_tp_size", "moe_ep_size", "distribution"};
  static const std::vector<std::string_view> kAttention = {
      "batch_size", "isl",        "num_heads",      "num_key_value_heads",
      "head_dim",   "attn_dtype", "kv_cache_dtype", "step"};
  static const std::vector<std::string_view> kMla = {
      "mla_dtype", "kv_cache_dtype", "num_heads", "batch_size", "isl", "step"};
  static const std::vector<TableColumns> kTables = {
      {"gemm", {"gemm_dtype", "m", "n", "k"}},
      {"moe", kMoe},
      {"wideep_context_moe", kMoe},
      {"wideep_generation_moe", kMoe},
      {"wideep_moe", kMoe},
      {"context_attention", kAttention},
      {"generation_attention", kAttention},
      {"context_mla", kMla},
      {"generation_mla", kMla},
      {"mla_bmm", {"op_name", "bmm_dtype", "num_tokens", "num_heads"}},
      {"scale_matrix", {"m", "k", "quant_dtype"}},
      {"computescale", {"m", "k", "quant_dtype"}},
  };
  return kTables;
}

bool is_text_column(std::string_view name) {
  static constexpr std::array kText = {
      std::string_view("framework"),      std::string_view("version"),
      std::string_view("device"),         std::string_view("op_name"),
      std::string_view("kernel_source"),  std::string_view("gemm_dtype"),
      std::string_view("moe_dtype"),      std::string_view("moe_kernel"),
      std::string_view("mla_dtype"),      std::string_view("bmm_dtype"),
      std::string_view("attn_dtype"),     std::string_view("kv_cache_dtype"),
      std::string_view("quant_dtype"),    std::string_view("distribution"),
      std::string_view("simulation_mode")};
  return std::find(kText.begin(), kText.end(), name) != kText.end();
}

/// Cells of one line into `cells`; quoted cells keep their commas.
void split_line(std::string_view line, std::vector<std::string_view>& cells) {
  cells.clear();
  std::size_t at = 0;
  while (true) {
    if (at < line.size() && line[at] == '"') {
      const std::size_t close = line.find('"', at + 1);
      const std::size_t end = close == std::string_view::npos ? line.size() : close;
      cells.push_back(line.substr(at + 1, end - at - 1));
      at = std::min(line.size(), line.find(',', end));
    } else {
      const std::size_t comma = std::min(line.size(), line.find(',', at));
      cells.push_back(line.substr(at, comma - at));
      at = comma;
    }
    if (at >= line.size()) {
      return;
    }
    ++at;
  }
}

}  // namespace

const MeasurementTable::Column* MeasurementTable::find(std::string_view name) const {
  for (const Column& column : columns_) {
    if (column.name == name) {
      return &column;
    }
  }
  return nullptr;
}

bool MeasurementTable::has(std::string_view column) const { return find(column) != nullptr; }

std::span<const double> MeasurementTable::numbers(std::string_view column) const {
  const Column* found = find(column);
  MOESIM_CHECK(found != nullptr && found->is_number, "asked for a column the table has not");
  return found->numbers;
}

std::vector<double> MeasurementTable::numbers_or(std::string_view column, double otherwise) const {
  const Column* found = find(column);
  return found != nullptr ? found->numbers : std::vector<double>(num_rows(), otherwise);
}

std::string_view MeasurementTable::word(std::string_view column, std::size_t row) const {
  const Column* found = find(column);
  MOESIM_CHECK(found != nullptr && !found->is_number, "asked for a column the table has not");
  return found->words[found->ids[row]];
}

class TableParser {
 public:
  TableParser(const TableIdentity& identity, Diagnostics& problems) : problems_(problems) {
    table_.identity_ = identity;
  }

  MeasurementTable parse(std::string_view text) {
    std::vector<std::string_view> cells;
    std::size_t at = 0;
    std::int64_t line_number = 0;
    while (at < text.size()) {
      const std::size_t newline = std::min(text.size(), text.find('\n', at));
      std::string_view line = text.substr(at, newline - at);
      at = newline + 1;
      ++line_number;
      if (!line.empty() && line.back() == '\r') {
        line.remove_suffix(1);
      }
      if (line.empty()) {
        continue;
      }
      split_line(line, cells);
      if (line_number == 1) {
        if (!read_header(cells)) {
          return std::move(table_);
        }
      } else {
        read_row(cells, line_number);
      }
    }
    if (line_number == 0) {
      problems_.add(table_.identity_.path, "row 1", "the file is empty", "a header line and rows");
    }
    if (bad_rows_ > kMaxReportedRows) {
      problems_.add(table_.identity_.path, "",
                    std::to_string(bad_rows_ - kMaxReportedRows) + " more rows have problems");
    }
    return std::move(table_);
  }

 private:
  bool read_header(const std::vector<std::string_view>& cells) {
    const std::string& file = table_.identity_.path;
    bool good = true;
    for (const std::string_view name : cells) {
      if (table_.find(name) != nullptr || (name == "latency" && latency_cell_ >= 0)) {
        problems_.add(file, "row 1, column " + std::string(name), "the column is there twice");
        good = false;
      }
      if (name == "latency") {
        latency_cell_ = static_cast<int>(cell_column_.size());
        cell_column_.push_back(-1);
        continue;
      }
      cell_column_.push_back(static_cast<int>(table_.columns_.size()));
      MeasurementTable::Column column;
      column.name = std::string(name);
      column.is_number = !is_text_column(name);
      table_.columns_.push_back(std::move(column));
    }
    std::vector<std::string_view> required = {"latency"};
    bool known = false;
    for (const TableColumns& entry : table_columns()) {
      if (entry.table == table_.identity_.table) {
        required.insert(required.end(), entry.required.begin(), entry.required.end());
        known = true;
      }
    }
    if (!known) {
      problems_.add(file, "", "unknown kind of table \"" + table_.identity_.table + "\"",
                    "gemm, moe, context_attention, generation_attention, context_mla, "
                    "generation_mla, mla_bmm, scale_matrix, computescale, wideep_*");
      return false;
    }
    for (const std::string_view name : required) {
      const bool there = name == "latency" ? latency_cell_ >= 0 : table_.find(name) != nullptr;
      if (!there) {
        problems_.add(file, "row 1, column " + std::string(name), "the column is missing");
        good = false;
      }
    }
    return good;
  }

  /// Reports once per row; false tells the caller to drop the row.
  bool bad(std::int64_t row, std::string_view column, std::string problem, std::string allowed) {
    if (++bad_rows_ <= kMaxReportedRows) {
      std::string where = "row " + std::to_string(row);
      if (!column.empty()) {
        where += ", column " + std::string(column);
      }
      problems_.add(table_.identity_.path, std::move(where), std::move(problem),
                    std::move(allowed));
    }
    return false;
  }

  bool read_number(std::string_view cell, std::int64_t row, std::string_view column,
                   double& value) {
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc() || end != cell.data() + cell.size()) {
      return bad(row, column, "\"" + std::string(cell.substr(0, 40)) + "\" is no number",
                 "a number");
    }
    if (!std::isfinite(value)) {
      return bad(row, column, std::string(cell) + " is not finite", "a finite number");
    }
    return true;
  }

  void read_row(const std::vector<std::string_view>& cells, std::int64_t row) {
    if (cells.size() != cell_column_.size()) {
      bad(row, "",
          std::to_string(cells.size()) + " cells where the header has " +
              std::to_string(cell_column_.size()),
          "");
      return;
    }
    numbers_.assign(table_.columns_.size(), 0.0);
    double latency_ms = 0.0;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (static_cast<int>(i) == latency_cell_) {
        if (!read_number(cells[i], row, "latency", latency_ms) || !plausible(latency_ms, row)) {
          return;
        }
        continue;
      }
      const auto index = static_cast<std::size_t>(cell_column_[i]);
      const MeasurementTable::Column& column = table_.columns_[index];
      if (column.is_number) {
        if (!read_number(cells[i], row, column.name, numbers_[index])) {
          return;
        }
        if (numbers_[index] < 0.0 || numbers_[index] != std::floor(numbers_[index])) {
          bad(row, column.name, std::string(cells[i]) + " is no count", "a whole number >= 0");
          return;
        }
      }
    }
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (cell_column_[i] < 0) {
        continue;
      }
      const auto index = static_cast<std::size_t>(cell_column_[i]);
      MeasurementTable::Column& column = table_.columns_[index];
      if (column.is_number) {
        column.numbers.push_back(numbers_[index]);
      } else {
        column.ids.push_back(word_id(column, cells[i]));
      }
    }
    table_.latency_s_.push_back(latency_ms * 1e-3);
    table_.file_rows_.push_back(row);
  }

  bool plausible(double latency_ms, std::int64_t row) {
    // The absmax pass of `computescale` is a difference of two times: zero is a value there.
    const bool is_difference = table_.identity_.table == "computescale";
    if (is_difference && latency_ms >= 0.0) {
      return true;
    }
    if (latency_ms <= 0.0) {
      return bad(row, "latency", "a latency of " + std::to_string(latency_ms) + " ms",
                 "above 0 (milliseconds)");
    }
    if (latency_ms < kShortestLatencyMs || latency_ms > kLongestLatencyMs) {
      return bad(row, "latency",
                 "a latency of " + std::to_string(latency_ms) + " ms; is the unit milliseconds?",
                 "0.0001 to 1000000 ms");
    }
    return true;
  }

  static std::uint32_t word_id(MeasurementTable::Column& column, std::string_view word) {
    for (std::size_t i = column.words.size(); i-- > 0;) {
      if (column.words[i] == word) {
        return static_cast<std::uint32_t>(i);
      }
    }
    column.words.emplace_back(word);
    return static_cast<std::uint32_t>(column.words.size() - 1);
  }

  Diagnostics& problems_;
  MeasurementTable table_;
  std::vector<int> cell_column_;
  int latency_cell_ = -1;
  std::size_t bad_rows_ = 0;
  std::vector<double> numbers_;
};

TableIdentity table_identity(const std::string& path) {
  const std::filesystem::path file(path);
  std::string name = file.filename().string();
  for (const std::string_view ending : {".gz", ".csv"}) {
    if (name.ends_with(ending)) {
      name.resize(name.size() - ending.size());
    }
  }
  const std::size_t dot = name.find('.');
  const std::size_t dash = name.find('-', dot == std::string::npos ? 0 : dot);
  if (dot == std::string::npos || dash == std::string::npos) {
    throw InputError(path, "", "the file name does not say what it holds",
                     "SYSTEM/TABLE.FRAMEWORK-VERSION.csv[.gz]");
  }
  TableIdentity identity;
  identity.path = path;
  identity.system = file.parent_path().filename().string();
  identity.table = name.substr(0, dot);
  identity.framework = name.substr(dot + 1, dash - dot - 1);
  identity.version = name.substr(dash + 1);
  return identity;
}

MeasurementTable parse_measurement_table(std::string_view text, const TableIdentity& identity,
                                         Diagnostics& problems) {
  return TableParser(identity, problems).parse(text);
}

MeasurementTable read_measurement_table(const std::string& path, Diagnostics& problems) {
  return parse_measurement_table(read_maybe_gzip(path), table_identity(path), problems);
}

std::vector<std::string> find_measurement_tables(const std::string& directory) {
  namespace fs = std::filesystem;
  std::vector<std::string> paths;
  std::error_code error;
  if (fs::is_regular_file(directory, error)) {
    return {directory};
  }
  const auto is_table = [](const std::string& name) {
    const bool csv = name.ends_with(".csv") || name.ends_with(".csv.gz");
    if (!csv) {
      return false;
    }
    const std::string stem = name.substr(0, name.find('.'));
    return std::any_of(table_columns().begin(), table_columns().end(),
                       [&](const TableColumns& entry) { return entry.table == stem; });
  };
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_regular_file() && is_table(it->path().filename().string())) {
      paths.push_back(it->path().string());
    }
  }
  if (paths.empty()) {
    throw InputError(directory, "", error ? "cannot be read: " + error.message() : "holds no table",
                     "a folder with SYSTEM/TABLE.FRAMEWORK-VERSION.csv[.gz]");
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string read_maybe_gzip(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) {
    throw InputError(path, "", "cannot be opened");
  }
  gzbuffer(file, 1u << 18);
  std::string text;
  std::vector<char> chunk(1u << 18);
  int got = 0;
  while ((got = gzread(file, chunk.data(), static_cast<unsigned>(chunk.size()))) > 0) {
    text.append(chunk.data(), static_cast<std::size_t>(got));
    if (text.size() > kMaxTextBytes) {
      gzclose(file);
      throw InputError(path, "", "is larger than 1 GiB when unpacked");
    }
  }
  const bool whole = gzeof(file) != 0;
  if (gzclose_r(file) != Z_OK || !whole || got < 0) {
    throw InputError(path, "", "cannot be unpacked: the gzip data is damaged or cut short");
  }
  return text;
}

}  // namespace moesim

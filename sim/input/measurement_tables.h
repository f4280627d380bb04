// SPDX-License-Identifier: Apache-2.0
// Reader of measured kernel times: CSV tables, plain or gzip, of the shared compute data's layout.
//
// A table file is `<system>/<table>.<framework>-<version>.csv[.gz]`; its columns depend on the
// table (gemm: gemm_dtype, m, n, k ...) and `latency` is in milliseconds. Every wrong cell is
// reported with file, row and column; rows are then dropped only when the caller asked to go on.
// Numbers become doubles and words become small integers with a dictionary, so that a table of
// 80,000 rows reads in tens of milliseconds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/error.h"

namespace moesim {

/// What a file's name says about it.
struct TableIdentity {
  std::string path;       ///< as opened
  std::string system;     ///< folder: "h100_sxm"
  std::string table;      ///< "gemm", "moe", "context_attention" ...
  std::string framework;  ///< "trtllm", "vllm", "sglang"
  std::string version;    ///< "1.3.0rc20"
};

/// One table, column by column. All columns have `num_rows()` entries.
class MeasurementTable {
 public:
  const TableIdentity& identity() const { return identity_; }
  std::size_t num_rows() const { return file_rows_.size(); }
  bool has(std::string_view column) const;
  /// Numbers of a numeric column; MOESIM_CHECKs that it exists.
  std::span<const double> numbers(std::string_view column) const;
  /// Numbers of a column, or `otherwise` in every row when the table has none (window_size of old
  /// tables).
  std::vector<double> numbers_or(std::string_view column, double otherwise) const;
  /// Word of a text column in a row; MOESIM_CHECKs that the column exists.
  std::string_view word(std::string_view column, std::size_t row) const;
  /// Latency in seconds (the file holds milliseconds).
  double latency_s(std::size_t row) const { return latency_s_[row]; }
  /// Line of a row in the file; the header is line 1.
  std::int64_t file_row(std::size_t row) const { return file_rows_[row]; }

 private:
  friend class TableParser;
  struct Column {
    std::string name;
    bool is_number = true;
    std::vector<double> numbers;
    std::vector<std::uint32_t> ids;
    std::vector<std::string> words;
  };
  const Column* find(std::string_view name) const;

  TableIdentity identity_;
  std::vector<Column> columns_;
  std::vector<double> latency_s_;
  std::vector<std::int64_t> file_rows_;
};

/// Splits "dir/h100_sxm/gemm.trtllm-1.3.0rc20.csv.gz" into its parts; throws InputError when the
/// name has another form.
TableIdentity table_identity(const std::string& path);

/// Reads a table. Every problem is added to `problems` as (file, "row R, column C"): a missing or
/// doubled column, a cell that is no number, NaN, an infinity, a latency of zero or below, a size
/// that is negative or no whole number, a latency no kernel of this kind can have (below 0.1 us or
/// above 1,000 s, as when the unit is off by 1000). Rows with problems are left out of the result;
/// a table whose columns are wrong has no rows. A row of another length than the header is one
/// problem. Reports at most 100 rows of one file and then says how many more there are.
MeasurementTable read_measurement_table(const std::string& path, Diagnostics& problems);

/// The same, from text that is already in memory (tests, standard input).
MeasurementTable parse_measurement_table(std::string_view text, const TableIdentity& identity,
                                         Diagnostics& problems);

/// Paths of all tables below `directory` (its subfolders are systems), sorted. A file given
/// directly is returned as it is. Throws InputError when nothing is there.
std::vector<std::string> find_measurement_tables(const std::string& directory);

/// Bytes of a file, un-gzipped when it is a gzip file; throws InputError.
std::string read_maybe_gzip(const std::string& path);

}  // namespace moesim

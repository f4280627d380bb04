// SPDX-License-Identifier: Apache-2.0
// A comma-separated table by column name, whose wrong cells are reported with file, row and column.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/error.h"

namespace moesim {

/// The cells of one file as text. Quotes only protect commas. At most 100 problems are kept.
class TextTable {
 public:
  /// `problems` gets what is wrong. Reads gzip too. Throws InputError when the file cannot be read.
  TextTable(std::string path, std::vector<Diagnostic>& problems);

  std::size_t size() const { return rows_.size(); }
  const std::string& path() const { return path_; }
  /// Line of the file, from 1.
  std::int64_t file_row(std::size_t row) const { return rows_[row].first; }

  /// Whether all columns are there; reports every one that is missing.
  bool has(std::initializer_list<const char*> names);
  /// A cell without its quotes; "" when the column or the cell is absent.
  std::string word(std::size_t row, const char* name) const;
  /// A number in [low, 1e15]; an empty cell is `otherwise` when that is not negative.
  double number(std::size_t row, const char* name, double low, double otherwise = -1);
  std::int64_t whole(std::size_t row, const char* name, std::int64_t low,
                     std::int64_t otherwise = -1);
  /// Whether a cell was wrong since the last call.
  bool take_bad() { return std::exchange(is_bad_, false); }
  void add_problem(std::string where, std::string what);

 private:
  std::string path_;
  std::vector<Diagnostic>& problems_;
  std::string text_;
  std::vector<std::pair<std::int64_t, std::vector<std::string_view>>> rows_;
  std::map<std::string, std::size_t, std::less<>> columns_;
  bool is_bad_ = false;
};

}  // namespace moesim

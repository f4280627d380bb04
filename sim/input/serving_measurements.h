// SPDX-License-Identifier: Apache-2.0
// Measured serving runs: the rows of e2e/serving_measurements.csv, read and written.
//
// One column table names every column, so reader, writer and messages agree. A cell that the source
// does not give is empty and stays absent: nothing is filled in from another row. Cells that hold
// words in some sources (a mean length with a remark, a load such as "qps 348") are kept as text;
// who uses a row decides whether they say enough.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/error.h"

namespace moesim {

/// How one pool of a disaggregated system is laid out.
struct MeasuredPool {
  std::optional<double> workers;
  std::optional<double> tensor;
  std::optional<double> data;
  std::optional<double> moe_tensor;
  std::optional<double> moe_expert;
};

struct ServingMeasurement {
  std::int64_t file_row = 0;  ///< line of the file; the header is line 1
  std::string id;
  std::string source;
  std::string source_ref;
  std::string date;
  std::string model;
  std::string precision;
  std::string system;
  std::optional<double> gpus;
  std::optional<double> nodes;
  std::optional<double> tensor;  ///< of attention
  std::optional<double> data;    ///< of attention
  std::optional<double> expert;
  std::optional<double> pipeline;
  std::string role;           ///< prefill, decode, agg, pd
  std::string input_tokens;   ///< a number, or what the source says instead
  std::string output_tokens;  ///< likewise
  std::string
      load;  ///< closed loop: a number; "N requests/GPU", "N tokens/GPU", "qps X", "offline ..."
  std::string prefix_hit;
  std::string framework;              ///< name and version as stated
  std::optional<double> input_rate;   ///< tokens a second and GPU
  std::optional<double> output_rate;  ///< tokens a second and GPU
  std::optional<double> ttft_s;
  std::optional<double> tpot_s;
  std::string notes;
  std::optional<double> moe_tensor;
  std::optional<double> moe_expert;
  MeasuredPool prefill;
  MeasuredPool decode;
};

/// Reads a table; columns may stand in any order, and those of the pools may be missing. Problems
/// are added as (file, "row R, column C"): a missing, doubled or unknown column, a cell that is no
/// number or not positive, a row of another length, an id that is missing or repeats. Rows with
/// problems are left out.
std::vector<ServingMeasurement> parse_serving_measurements(std::string_view text,
                                                           const std::string& file,
                                                           Diagnostics& problems);
/// The same from a file, plain or gzip; throws InputError when it cannot be read.
std::vector<ServingMeasurement> read_serving_measurements(const std::string& path,
                                                          Diagnostics& problems);
/// The table as text, all columns, in the order of the shared data.
std::string serving_measurements_csv(const std::vector<ServingMeasurement>& rows);

/// The value of a cell that is one plain number and nothing else.
std::optional<double> plain_number(std::string_view cell);

/// Rows of comma-separated text; quoted cells may hold commas, line breaks and doubled quotes (RFC
/// 4180). `line` is where the row begins.
struct CsvRow {
  std::int64_t line = 1;
  std::vector<std::string> cells;
};
std::vector<CsvRow> parse_csv(std::string_view text);

}  // namespace moesim

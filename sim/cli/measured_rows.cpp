// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/measured_rows.h"

#include <ostream>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/input/bench_result.h"

namespace moesim {

std::vector<ServingMeasurement> read_measured_rows(const std::string& file, const std::string& only,
                                                   double gpus, std::ostream& err) {
  const std::string text = read_text_file(file, 64u << 20);
  std::vector<ServingMeasurement> rows;
  if (looks_like_bench_result(text)) {
    const ImportedBench bench = import_bench_result(text, file);
    err << file << ": read as " << bench.format << "\n";
    rows = bench.rows;
  } else {
    Diagnostics problems;
    rows = parse_serving_measurements(text, file, problems);
    problems.throw_if_any();
  }
  for (ServingMeasurement& row : rows) {
    if (!row.output_rate) {
      // "output 900.5 tok/s total": of all GPUs of the deployment.
      constexpr std::string_view kTotal = "output ";
      const std::size_t at = row.notes.find(kTotal);
      const std::size_t end = row.notes.find(" tok/s total");
      if (at != std::string::npos && end != std::string::npos && end > at) {
        const auto rate = plain_number(
            std::string_view(row.notes).substr(at + kTotal.size(), end - at - kTotal.size()));
        row.output_rate = rate ? std::optional<double>(*rate / gpus) : std::nullopt;
      }
    }
  }
  if (!only.empty()) {
    std::erase_if(rows, [&only](const ServingMeasurement& row) { return row.id != only; });
    if (rows.empty()) {
      throw InputError(file, "", "has no row \"" + only + "\"", "the id of one of its rows");
    }
  }
  return rows;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// A finished sweep as one table: varied values, feasibility and figures of each point, in the order
// of the points; CSV, and what stands out in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/study/sweep.h"

namespace moesim {

struct SweepTable {
  std::vector<std::string> pointers;      ///< varied keys
  std::vector<std::vector<Json>> varied;  ///< [points][pointers]
  std::vector<std::string> columns;       ///< of figures
  std::vector<SweepRow> rows;             ///< [points]; figures in the order of `columns`

  /// Index of a column, or -1.
  int column(const std::string& name) const;
  /// The figure of a row, NaN when absent.
  double figure(std::size_t row, const std::string& name) const;
};

/// Appends a chunk; columns that it brings are absent in the rows before.
void append_chunk(SweepTable& table, const SweepSpace& space, SweepChunk&& chunk);

/// Header and one line a point: point, varied keys, feasible, reasons, figures.
std::string sweep_csv(const SweepTable& table);

/// Indices of the feasible rows that no other feasible row beats in both figures (more is better),
/// by rising `first`; rows with equal figures keep the earliest.
std::vector<std::size_t> pareto_front(const std::vector<double>& first,
                                      const std::vector<double>& second);

/// Tokens/s/GPU that answer the sweep: "output_tokens_per_s_per_gpu" when any row has it, else the
/// input ones, else "".
std::string headline_column(const SweepTable& table);

/// How often each reason kept a point from running or fitting, most frequent first; figures inside
/// the reasons are left out, so that alike ones count together.
std::vector<std::pair<std::string, std::size_t>> reasons_by_count(const SweepTable& table);

/// `text` as one CSV field (RFC 4180).
std::string csv_field(const std::string& text);

}  // namespace moesim

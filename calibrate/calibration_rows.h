// SPDX-License-Identifier: Apache-2.0
// Rows of measured tables as ops: one set of rows for each curve, with what cross-validation needs.
//
// A curve is (op family, stored format, variant) of one table. `shape` is the key that whole folds
// are left out by: GEMM (n, k); MoE (hidden, inter, top-k, experts, tp, ep); attention (heads, kv
// heads, head dim); MLA and its products (heads); streams (columns). `model` is (hidden, inter,
// experts, top-k) of MoE rows. Rows that no kernel can have produced (necessary bytes above 1.05 x
// the peak bandwidth) are rejected; rows of a list of known slow ones are kept and flagged.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "sim/cost/physical_law.h"
#include "sim/input/measurement_tables.h"

namespace moesim {

struct CalibrationRow {
  Op op;
  double seconds = 0;
  std::uint64_t shape = 0;
  std::uint64_t model = 0;
  std::int64_t file_row = 0;
  bool slow = false;  ///< in the list of known slow rows
  std::string what;   ///< "balanced", "power_law_1.2" ... of MoE rows
};

/// The rows behind one curve.
struct CurveRows {
  std::string file;
  std::string system;
  std::string software;  ///< "trtllm-1.3.0rc20"
  std::string table;     ///< "gemm"
  std::string dtype;     ///< as the table says: "fp8_block", "bfloat16/fp8" (maths/cache)
  OpFamily family = OpFamily::gemm;
  NumberFormat format = NumberFormat::bf16;
  NumberFormat arithmetic = NumberFormat::bf16;
  std::string variant;
  std::vector<CalibrationRow> rows;

  std::string group() const { return table + " " + system + " " + software + " " + dtype; }
};

struct RejectedRow {
  std::string file;
  std::int64_t file_row = 0;
  std::string reason;
};

/// Keys of known slow rows ("h100_sxm,bfloat16,moe_torch_flow_cutlass,1,4096,..."), from
/// `moe_trtllm_slow_rows.csv[.gz]` in `folder` or one above; empty when there is none.
std::unordered_set<std::string> read_slow_rows(const std::string& folder);

/// Splits a table into the rows of its curves, in order of first appearance.
std::vector<CurveRows> calibration_rows(const MeasurementTable& table, const DevicePeaks& device,
                                        const std::unordered_set<std::string>& slow_rows,
                                        std::vector<RejectedRow>& rejected);

}  // namespace moesim

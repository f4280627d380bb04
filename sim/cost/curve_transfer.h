// SPDX-License-Identifier: Apache-2.0
// Curves of a device that nobody measured, from those of its nearest measured relative.
//
// Each term of the physical law is scaled by what bounds it: arithmetic by the peak of the
// arithmetic's format, traffic by memory bandwidth, waves by multiprocessors, L2 hits by the size
// of the cache; fixed times (start-up, cost of a block) stay. The fractions of the peaks are
// carried over, unless a published figure of the device says otherwise (`scales`). The trees of the
// base are kept where the chip is the same, dropped where it is not. Curves whose arithmetic the
// device lacks are left out. Intervals widen by `uncertainty`, in quadrature, and all of it is
// shared: a wrong efficiency makes every op of a family slow together.
//
// File: `hardware_profiles/curves/DEVICE.SOFTWARE.json` of schema "moesim/transferred_curves/1",
// beside the base's file; `CurveSet::load` reads either kind.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/cost/cost_curve.h"

namespace moesim {

/// One parameter of the law that published figures of the device correct.
struct ParameterScale {
  OpFamily family = OpFamily::gemm;
  NumberFormat arithmetic = NumberFormat::bf16;  ///< of the curves it applies to
  std::string parameter;                         ///< as law_parameters names it
  double factor = 1;
  std::string source;
};

struct CurveTransfer {
  std::string schema;
  std::string device;
  std::string software;
  std::string base;  ///< curve set whose fractions are used, "h100_sxm.trtllm-1.3.0rc20"
  std::string note;
  bool keep_residual = true;
  std::map<std::string, double> flops_per_s;  ///< by number format
  double memory_bytes_per_s = 0;
  double multiprocessors = 0;
  double l2_bytes = 0;
  /// Half-width of the 80% interval that the transfer adds (log space), by op family.
  std::map<std::string, double> uncertainty;
  std::string uncertainty_source;
  std::vector<ParameterScale> scales;
};
const Fields<ParameterScale>& fields_of(const ParameterScale*);
const Fields<CurveTransfer>& fields_of(const CurveTransfer*);

inline constexpr std::string_view kTransferSchema = "moesim/transferred_curves/1";

/// Throws InputError naming `file` and the pointer of each problem.
CurveTransfer read_curve_transfer(const Json& json, const std::string& file);

/// The curves of `transfer`'s device; `base` is the set it names.
CurveSet transferred_curves(const CurveSet& base, const CurveTransfer& transfer);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// A predicted time that says where it comes from and how sure it is.
//
// Errors come in two parts: one shared by every op of a family on a machine (a wrong efficiency
// makes all GEMMs slow together) and one of the op's own. Within a step the shared parts add up,
// the own parts average out; see run/metrics.
#pragma once

#include <cstdint>
#include <span>

#include "sim/base/field_table.h"
#include "sim/base/units.h"
#include "sim/workload/op.h"

namespace moesim {

/// How well a number is founded, best first.
enum class Basis : std::uint8_t { measured, fitted, datasheet, estimate };
std::span<const Choice<Basis>> choices_of(Basis);

struct CostEstimate {
  Seconds seconds;
  Basis basis = Basis::estimate;
  bool in_range = false;  ///< inside the shapes that the basis has seen
  double shared_uncertainty =
      0;  ///< relative half-width of the 80% band of the family's common error; 0: not known
  double own_uncertainty = 0;  ///< the same of this op's own error
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Published serving points against the front of the planner: `validate --suite front`.
//
// Each measured row that names one layout and one batch is the pool point that the planner would
// evaluate there: tokens/s/GPU against tokens/s/user, with the band of its steps. A row lies inside
// when the measured figure is inside the band; the reason beside one outside says what the closed
// form does not see there, not why reality is wrong.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sim/study/serving_validation.h"

namespace moesim {

/// One figure of one row; `left_out` says why there is no prediction.
struct FrontComparison : ServingComparison {
  std::string outside;  ///< why the measured figure may lie outside the band; "": it lies inside
};

struct FrontValidation {
  std::vector<FrontComparison> rows;  ///< sorted by group
  std::vector<Diagnostic> problems;   ///< bad cells
  std::vector<std::string> absent;    ///< tables that no folder holds
};

/// Runs the suite over the tables that exist below `folders` (DIR or DIR/e2e).
FrontValidation validate_front(const std::vector<std::string>& folders, const CardLibrary& cards);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Why an answer is what it is: which parameters it hangs on, and what its band is made of.
//
// Everything here comes from the same exposed seconds as the band (cost/step_cost.h): a parameter p
// that changes an op's time by the factor r(p) changes the step by exposed seconds * (r - 1),
// summed over ops, with the trees of curves held where they are. What the scenario assumes (skew,
// context, host time) is evaluated anew instead.
#pragma once

#include <string>
#include <vector>

#include "sim/cost/step_cost.h"
#include "sim/input/scenario.h"

namespace moesim {

/// What one parameter 10% larger does to the step.
struct Influence {
  std::string where;      ///< "h100_sxm.trtllm-1.3.0rc20 gemm fp8_block" or a scenario's pointer
  std::string parameter;  ///< "memory_fraction"
  std::string doc;
  std::string origin;  ///< rows and errors of the fit, or the profile's word
  double value = 0;
  double change_s = 0;  ///< of the step
};

/// One independent source of error.
struct BandPart {
  std::string source;
  double exposed_s = 0;  ///< seconds of the step that it touches
  double half_width_s = 0;
};

/// Ops outside the shapes that their curve was fitted to.
struct Extrapolation {
  std::string what;  ///< kind and curve
  double exposed_s = 0;
};

struct Explanation {
  std::string title;
  std::string subject;  ///< which step of the scenario is explained
  double step_s = 0;
  double low_s = 0;
  double high_s = 0;
  std::vector<Influence> influences;  ///< largest first
  std::vector<BandPart> band;         ///< largest first
  std::vector<Extrapolation> extrapolated;
  std::vector<std::pair<std::string, double>>
      critical_path;             ///< op kind, exposed seconds, in order
  double hidden_exchange_s = 0;  ///< dispatch and combine behind compute
};

/// The closed form of the scenario's step. Throws InputError as StepCostModel does.
Explanation explain(const Scenario& scenario);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "calibrate/subplex.h"

namespace moesim {

nlopt::opt subplex(nlopt::func objective, void* data, const std::vector<double>& low,
                   const std::vector<double>& high, double step, int evaluations) {
  nlopt::opt optimiser(nlopt::LN_SBPLX, static_cast<unsigned>(low.size()));
  optimiser.set_min_objective(objective, data);
  optimiser.set_lower_bounds(low);
  optimiser.set_upper_bounds(high);
  optimiser.set_initial_step(step);
  optimiser.set_maxeval(evaluations);
  optimiser.set_xtol_rel(1e-4);
  return optimiser;
}

bool improve(nlopt::opt& optimiser, std::vector<double>& x, double& error) {
  try {
    return optimiser.optimize(x, error) != nlopt::MAXEVAL_REACHED;
  } catch (const nlopt::roundoff_limited&) {
    return true;  // x holds the best point found; no further digit can be won
  }
}

}  // namespace moesim

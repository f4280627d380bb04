// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/cost_estimate.h"

namespace moesim {

std::span<const Choice<Basis>> choices_of(Basis) {
  static constexpr Choice<Basis> kChoices[] = {
      {Basis::measured, "measured", "timed on this device with this software"},
      {Basis::fitted, "fitted", "a curve through measurements of this device and software"},
      {Basis::datasheet, "datasheet",
       "published peaks, with fitted efficiencies of a related device"},
      {Basis::estimate, "estimate", "published peaks with general efficiencies"},
  };
  return kChoices;
}

}  // namespace moesim

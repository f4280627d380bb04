// SPDX-License-Identifier: Apache-2.0
#include "sim/input/sourced.h"

namespace moesim {

std::span<const Choice<Origin>> choices_of(Origin) {
  static constexpr Choice<Origin> kChoices[] = {
      {Origin::measured, "measured", "read off one measurement"},
      {Origin::fitted, "fitted", "fitted to many measurements"},
      {Origin::datasheet, "datasheet", "printed by the maker"},
      {Origin::estimate, "estimate", "reasoned; the source says from what"},
      {Origin::transferred, "transferred", "carried over from another device's fit"},
  };
  return kChoices;
}

}  // namespace moesim

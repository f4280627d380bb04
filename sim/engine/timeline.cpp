// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/timeline.h"

namespace moesim {

LabelId LabelTable::intern(std::string_view text) {
  const auto [entry, is_new] =
      ids_.try_emplace(std::string(text), static_cast<LabelId>(texts_.size()));
  if (is_new) {
    texts_.emplace_back(text);
  }
  return entry->second;
}

}  // namespace moesim

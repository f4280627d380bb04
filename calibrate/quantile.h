// SPDX-License-Identifier: Apache-2.0
// Order statistics of errors, as all reports of fits use them.
#pragma once

#include <algorithm>
#include <vector>

namespace moesim {

/// The value below which a share `q` of `values` lies (one of them, none in between); 0 of none.
inline double quantile(std::vector<double> values, double q) {
  if (values.empty()) {
    return 0;
  }
  const auto at = values.begin() +
                  static_cast<std::ptrdiff_t>(std::min(static_cast<double>(values.size()) - 1.0,
                                                       q * static_cast<double>(values.size())));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace moesim

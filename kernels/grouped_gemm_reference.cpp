// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_gemm.h"

namespace moesim::gpu {

std::vector<double> grouped_gemm_reference(const GroupedGemmShape& shape,
                                           const std::vector<std::int32_t>& offsets,
                                           const std::vector<float>& a, const std::vector<float>& b,
                                           const std::vector<int>& rows,
                                           const std::vector<int>& cols) {
  std::vector<double> c;
  for (const int row : rows) {
    int expert = 0;
    while (expert < shape.num_experts && row >= offsets[expert + 1]) {
      ++expert;
    }
    for (const int col : cols) {
      double sum = 0.0;
      for (std::ptrdiff_t i = 0; expert < shape.num_experts && i < shape.k; ++i) {
        sum += static_cast<double>(a[std::ptrdiff_t{row} * shape.k + i]) *
               b[(std::ptrdiff_t{expert} * shape.n + col) * shape.k + i];
      }
      c.push_back(sum);
    }
  }
  return c;
}

}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
// One product per expert over ragged rows: C[r, n] = A[r, k] * B[e, n, k]^T for offsets[e] <= r <
// offsets[e + 1]. Empty experts cost nothing. Formats and bodies as in gemm.h.
//
// Each block finds its expert by walking the offsets: no host knows the sizes, as in a real MoE
// layer, at the price of one read per expert and block.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/gemm.h"

namespace moesim::gpu {

struct GroupedGemmShape {
  int num_rows = 0;  ///< rows of A in all; offsets may end earlier
  int num_experts = 1;
  int n = 1;
  int k = 1;
  NumberFormat format = NumberFormat::bf16;
};

struct GroupedGemmCall {
  GroupedGemmShape shape;
  bool use_matrix_unit = false;           ///< only where gemm_can_use_matrix_unit says so
  const std::int32_t* offsets = nullptr;  ///< [experts + 1], on the device
  const void* a = nullptr;                ///< [rows, k]
  const void* b = nullptr;                ///< [experts, n, k]
  void* c = nullptr;                      ///< out [rows, n]
};

/// Rows once, the weights of experts that have rows once, results once.
inline Bytes grouped_gemm_bytes(const GroupedGemmShape& s, double active_experts) {
  const double in = bytes_per_number(s.format);
  return Bytes(in * s.k * (s.num_rows + active_experts * s.n) +
               1.0 * gemm_output_bytes_per_number(s.format) * s.num_rows * s.n);
}
inline Flops grouped_gemm_flops(const GroupedGemmShape& s) {
  return Flops(2.0 * s.num_rows * s.n * s.k);
}

/// Elements (row, col) in double, [rows.size(), cols.size()]; rows above the last offset give 0.
std::vector<double> grouped_gemm_reference(const GroupedGemmShape& shape,
                                           const std::vector<std::int32_t>& offsets,
                                           const std::vector<float>& a, const std::vector<float>& b,
                                           const std::vector<int>& rows,
                                           const std::vector<int>& cols);

}  // namespace moesim::gpu

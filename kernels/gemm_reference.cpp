// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/gemm.h"

namespace moesim::gpu {

bool gemm_can_use_matrix_unit(NumberFormat format, int k, const DeviceInfo& info) {
  const bool is_present =
      (format == NumberFormat::bf16 && info.has_matrix_unit) ||
      // AMD's fp8 before gfx950 has another exponent bias: those devices take the plain body.
      (format == NumberFormat::fp8 && info.has_matrix_unit && info.has_fp8 && info.warp_size == 32);
  return is_present && k * bytes_per_number(format) % 16 == 0;
}

std::vector<double> gemm_reference(const GemmShape& shape, const std::vector<float>& a,
                                   const std::vector<float>& b, const std::vector<int>& rows,
                                   const std::vector<int>& cols) {
  std::vector<double> c;
  for (const int row : rows) {
    for (const int col : cols) {
      double sum = 0.0;
      for (std::ptrdiff_t i = 0; i < shape.k; ++i) {
        sum += static_cast<double>(a[std::ptrdiff_t{row} * shape.k + i]) *
               b[std::ptrdiff_t{col} * shape.k + i];
      }
      c.push_back(sum);
    }
  }
  return c;
}

double relative_error(const std::vector<double>& x, const std::vector<double>& reference) {
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    difference += (x[i] - reference[i]) * (x[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  return norm > 0.0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

double gemm_tolerance(const GemmShape& shape) {
  return shape.format == NumberFormat::fp32 ? 1e-6 * std::max(1.0, std::sqrt(shape.k / 1024.0))
                                            : 2.5e-3;
}

}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
// Matrix product C[m, n] = A[m, k] * B[n, k]^T with fp32 accumulation: a linear layer, B its
// weight.
//
// fp32 inputs give fp32 output; bf16 and fp8 (E4M3, scale 1) give bf16. Two bodies: tiles on the
// matrix unit (bf16, fp8), and plain multiply-adds for everything else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/numbers.h"
#include "sim/base/units.h"

namespace moesim::gpu {

struct GemmShape {
  int m = 0;
  int n = 1;
  int k = 1;
  NumberFormat format = NumberFormat::bf16;
};

struct GemmCall {
  GemmShape shape;
  bool use_matrix_unit = false;  ///< only where gemm_can_use_matrix_unit says so
  const void* a = nullptr;       ///< [m, k]
  const void* b = nullptr;       ///< [n, k]
  void* c = nullptr;             ///< out [m, n]
};

constexpr int gemm_output_bytes_per_number(NumberFormat format) {
  return format == NumberFormat::fp32 ? 4 : 2;
}
/// Whether the matrix-unit body takes this: rows of whole 16-byte pieces, a format the device has.
bool gemm_can_use_matrix_unit(NumberFormat format, int k, const DeviceInfo& info);

/// Operands read once, result written once.
inline Bytes gemm_bytes(const GemmShape& s) {
  const double in = bytes_per_number(s.format);
  return Bytes(in * (1.0 * s.m * s.k + 1.0 * s.n * s.k) +
               1.0 * gemm_output_bytes_per_number(s.format) * s.m * s.n);
}
inline Flops gemm_flops(const GemmShape& s) { return Flops(2.0 * s.m * s.n * s.k); }

/// Elements (row, col) of the product in double, for `rows` and `cols` [rows.size(), cols.size()].
std::vector<double> gemm_reference(const GemmShape& shape, const std::vector<float>& a,
                                   const std::vector<float>& b, const std::vector<int>& rows,
                                   const std::vector<int>& cols);
/// Norm-wise error |x - reference| / |reference| (Frobenius); 0 when both are zero.
double relative_error(const std::vector<double>& x, const std::vector<double>& reference);
/// The error allowed: 1e-6 * max(1, sqrt(k / 1024)) for fp32 output, 2.5e-3 for bf16 output.
double gemm_tolerance(const GemmShape& shape);

/// The vendor's library as a baseline, loaded when the program runs (cuBLASLt or hipBLASLt).
class VendorGemm {
 public:
  virtual ~VendorGemm() = default;
  virtual std::string name() const = 0;
  /// Chooses an algorithm for `shape`; throws DeviceError when the library has none. Then `run`.
  virtual void prepare(const GemmShape& shape) = 0;
  virtual void run(StreamHandle stream, const void* a, const void* b, void* c) = 0;
};

}  // namespace moesim::gpu

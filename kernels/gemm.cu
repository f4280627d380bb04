// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include "kernels/gemm_tile.h"
#include "kernels/hopper_gemm.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {

void launch_gemm(StreamHandle stream, const GemmProblem& problem, NumberFormat format,
                 bool use_matrix_unit) {
  if (use_matrix_unit) {
#if defined(__CUDACC__)
    if (has_hopper_gemm()) {
      launch_hopper_gemm(stream, problem, format);
      return;
    }
#endif
    const int warp_size = warp_size_of(stream);
#if !defined(__HIP__)
    if (warp_size == MmaM16N8::kWarpSize) {
      if (format == NumberFormat::bf16) {
        launch_tiled<Bfloat16, MmaM16N8>(stream, problem);
      } else {
        launch_tiled<Float8, MmaM16N8>(stream, problem);
      }
      return;
    }
#endif
#if !defined(__CUDACC__)
    if (warp_size == MfmaM16N16::kWarpSize) {
      launch_tiled<Bfloat16, MfmaM16N16>(stream, problem);
      return;
    }
#endif
  }
  switch (format) {
    case NumberFormat::fp32:
      return launch_plain<float>(stream, problem);
    case NumberFormat::bf16:
      return launch_plain<Bfloat16>(stream, problem);
    case NumberFormat::fp8:
      return launch_plain<Float8>(stream, problem);
  }
}

void gemm(StreamHandle stream, const GemmCall& call) {
  const GemmShape& s = call.shape;
  launch_gemm(stream, {nullptr, call.a, call.b, call.c, s.m, 1, s.n, s.k}, s.format,
              call.use_matrix_unit);
}

}  // namespace moesim::gpu::MOESIM_BACKEND

// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_gemm.h"

#include "kernels/gemm_tile.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {

void grouped_gemm(StreamHandle stream, const GroupedGemmCall& call) {
  const GroupedGemmShape& s = call.shape;
  launch_gemm(stream, {call.offsets, call.a, call.b, call.c, s.num_rows, s.num_experts, s.n, s.k},
              s.format, call.use_matrix_unit);
}

}  // namespace moesim::gpu::MOESIM_BACKEND

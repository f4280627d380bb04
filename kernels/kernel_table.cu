// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {

const Kernels& kernels() {
  static const Kernels table{
      .router_gate = router_gate,
      .permute_plan = permute_plan,
      .permute_rows = permute_rows,
      .combine_rows = combine_rows,
      .gemm = gemm,
      .grouped_gemm = grouped_gemm,
      .attention_decode = attention_decode,
      .memory_copy = memory_copy,
      .touch = touch,
      .open_vendor_gemm = open_vendor_gemm,
      .open_collective = open_collective,
  };
  return table;
}

}  // namespace moesim::gpu::MOESIM_BACKEND

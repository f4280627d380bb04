// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernel_table.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {

const Kernels& kernels() {
  static const Kernels table{
      .router_gate = router_gate,
  };
  return table;
}

}  // namespace moesim::gpu::MOESIM_BACKEND

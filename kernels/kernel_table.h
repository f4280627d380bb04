// SPDX-License-Identifier: Apache-2.0
// The kernels of one back end: what Device::kernels() gives. Each entry is documented in the header
// of its kernel; all run on `stream` in the background.
#pragma once

#include "kernels/attention_decode.h"
#include "kernels/collective_probe.h"
#include "kernels/device.h"
#include "kernels/gemm.h"
#include "kernels/grouped_gemm.h"
#include "kernels/memory_copy.h"
#include "kernels/router_gate.h"
#include "kernels/token_permute.h"

namespace moesim::gpu {

struct Kernels {
  void (*router_gate)(StreamHandle stream, const RouterGateCall& call);
  void (*permute_plan)(StreamHandle stream, const PermutePlanCall& call);
  void (*permute_rows)(StreamHandle stream, const PermuteRowsCall& call);
  void (*combine_rows)(StreamHandle stream, const CombineRowsCall& call);
  void (*gemm)(StreamHandle stream, const GemmCall& call);
  void (*grouped_gemm)(StreamHandle stream, const GroupedGemmCall& call);
  void (*attention_decode)(StreamHandle stream, const AttentionCall& call);
  void (*memory_copy)(StreamHandle stream, const MemoryCopyCall& call);
  void (*touch)(StreamHandle stream, const TouchCall& call);
  /// Null, with the reason, when the vendor's library is absent.
  std::unique_ptr<VendorGemm> (*open_vendor_gemm)(std::string* why_absent);
  /// A group of `ranks` ranks; null, with the reason, when library or devices are missing.
  std::unique_ptr<CollectiveGroup> (*open_collective)(const ProcessPlace& place, int ranks,
                                                      std::string* why_absent);
};

namespace on_host {
const Kernels& kernels();
}
namespace on_cuda {
const Kernels& kernels();
}
namespace on_hip {
const Kernels& kernels();
}

}  // namespace moesim::gpu

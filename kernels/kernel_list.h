// SPDX-License-Identifier: Apache-2.0
// Declares each kernel's launcher once per back end; included by the .cu files only.
#pragma once

#include "kernels/gpu.h"
#include "kernels/kernel_table.h"

namespace moesim::gpu::MOESIM_BACKEND {

void router_gate(StreamHandle stream, const RouterGateCall& call);
void permute_plan(StreamHandle stream, const PermutePlanCall& call);
void permute_rows(StreamHandle stream, const PermuteRowsCall& call);
void combine_rows(StreamHandle stream, const CombineRowsCall& call);
void gemm(StreamHandle stream, const GemmCall& call);
void grouped_gemm(StreamHandle stream, const GroupedGemmCall& call);
void attention_decode(StreamHandle stream, const AttentionCall& call);
void memory_copy(StreamHandle stream, const MemoryCopyCall& call);
void touch(StreamHandle stream, const TouchCall& call);
std::unique_ptr<VendorGemm> open_vendor_gemm(std::string* why_absent);
std::unique_ptr<CollectiveGroup> open_collective(const ProcessPlace& place, int ranks,
                                                 std::string* why_absent);

}  // namespace moesim::gpu::MOESIM_BACKEND

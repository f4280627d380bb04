// SPDX-License-Identifier: Apache-2.0
// Declares each kernel's launcher once per back end; included by the .cu files only.
#pragma once

#include "kernels/gpu.h"
#include "kernels/kernel_table.h"

namespace moesim::gpu::MOESIM_BACKEND {

void router_gate(StreamHandle stream, const RouterGateCall& call);

}  // namespace moesim::gpu::MOESIM_BACKEND

// SPDX-License-Identifier: Apache-2.0
// The kernels of one back end: what Device::kernels() gives. Each entry is documented in the header
// of its kernel; all run on `stream` in the background.
#pragma once

#include "kernels/device.h"
#include "kernels/router_gate.h"

namespace moesim::gpu {

struct Kernels {
  void (*router_gate)(StreamHandle stream, const RouterGateCall& call);
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

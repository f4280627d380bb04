// SPDX-License-Identifier: Apache-2.0
// The doors to the GPU back ends that this build has; device.cpp is the only caller.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace moesim::gpu {

#if MOESIM_HAVE_CUDA
namespace on_cuda {
int num_devices();
std::unique_ptr<Device> open_gpu(int index);
}  // namespace on_cuda
#endif
#if MOESIM_HAVE_HIP
namespace on_hip {
int num_devices();
std::unique_ptr<Device> open_gpu(int index);
}  // namespace on_hip
#endif

}  // namespace moesim::gpu

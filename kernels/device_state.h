// SPDX-License-Identifier: Apache-2.0
// Sensors of a GPU: clocks, power, temperature, driver version. NVIDIA's come from NVML, loaded
// when the program runs; AMD's from the kernel's hwmon files. What cannot be read stays negative.
// Sources: NVML API reference (nvmlDeviceGetClockInfo ...); Linux Documentation/gpu/amdgpu/thermal.
#pragma once

#include <string>

#include "kernels/device.h"

namespace moesim::gpu {

DeviceState read_device_state(const DeviceInfo& info);
/// "NVIDIA 580.65.06" or "".
std::string driver_version_text(const DeviceInfo& info);

}  // namespace moesim::gpu

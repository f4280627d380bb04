// SPDX-License-Identifier: Apache-2.0
// The devices that kernel tests run on: the host back end with warps of 32 and of 64, or the one
// that MOESIM_TEST_DEVICE names ("cuda:0"), as the tests with label device do.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/device.h"

namespace moesim::gpu {

/// The name in MOESIM_TEST_DEVICE; empty for the host back end.
inline std::string tested_device_name() {
  const char* name = std::getenv("MOESIM_TEST_DEVICE");
  return name == nullptr ? "" : name;
}

inline std::vector<std::unique_ptr<Device>> tested_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  if (const std::string name = tested_device_name(); !name.empty()) {
    devices.push_back(open_device(name));
  } else {
    devices.push_back(open_host_device(32));
    devices.push_back(open_host_device(64));
  }
  return devices;
}
inline std::unique_ptr<Device> tested_device() { return std::move(tested_devices().front()); }

}  // namespace moesim::gpu

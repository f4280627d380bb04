// SPDX-License-Identifier: Apache-2.0
// Copy kernel: to[i] = from[i], the device's memory stream. Copies between host and device are
// Device::copy; what they cost is bytes over a link, once.
//
// `touch` writes a pattern over a buffer: it flushes caches before a cold timing, and is the kernel
// that launch-overhead cases start with no work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device.h"
#include "sim/base/units.h"

namespace moesim::gpu {

struct MemoryCopyCall {
  std::size_t bytes = 0;  ///< a multiple of 16; both addresses too
  const void* from = nullptr;
  void* to = nullptr;
};
struct TouchCall {
  std::size_t words = 0;  ///< of 4 bytes
  std::uint32_t value = 0;
  std::uint32_t* to = nullptr;
};

/// Each byte is read once and written once.
inline Bytes memory_copy_bytes(std::size_t bytes) {
  return Bytes(2.0 * static_cast<double>(bytes));
}

}  // namespace moesim::gpu

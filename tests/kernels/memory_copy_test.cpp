// SPDX-License-Identifier: Apache-2.0
#include "kernels/memory_copy.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/device_buffer.h"
#include "kernels/kernel_table.h"
#include "sim/base/random.h"
#include "tests/kernels/tested_devices.h"

namespace moesim::gpu {
namespace {

TEST(MemoryCopy, CopiesTwoHundredRandomSizesExactlyAndNothingBeyond) {
  const std::unique_ptr<Device> device = tested_device();
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(31, "copy test", static_cast<std::uint64_t>(trial));
    const std::size_t bytes = trial == 0 ? 0 : 16 * random.below(trial < 190 ? 300 : 5000);
    std::vector<unsigned char> values(bytes + 16);
    std::generate(values.begin(), values.end(),
                  [&] { return static_cast<unsigned char>(random.next()); });
    DeviceBuffer<unsigned char> from(*device, values);
    DeviceBuffer<unsigned char> to(*device, values.size());
    to.fill_bytes(0x5A);
    device->kernels().memory_copy(device->default_stream(), {bytes, from.data(), to.data()});
    const std::vector<unsigned char> copied = to.download();
    ASSERT_TRUE(std::equal(copied.begin(), copied.end() - 16, values.begin()));
    ASSERT_EQ(std::count(copied.end() - 16, copied.end(), 0x5A), 16);
  }
}

TEST(Touch, WritesTheValueToEachWordAndNothingBeyond) {
  const std::unique_ptr<Device> device = tested_device();
  DeviceBuffer<std::uint32_t> buffer(*device, std::vector<std::uint32_t>(1001, 7));
  device->kernels().touch(device->default_stream(), {1000, 9, buffer.data()});
  const std::vector<std::uint32_t> words = buffer.download();
  EXPECT_EQ(std::count(words.begin(), words.end(), 9u), 1000);
  EXPECT_EQ(words.back(), 7u);
}

}  // namespace
}  // namespace moesim::gpu

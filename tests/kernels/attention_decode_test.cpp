// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention_decode.h"

#include <gtest/gtest.h>

#include "kernels/device_buffer.h"
#include "kernels/gemm.h"
#include "kernels/kernel_table.h"
#include "sim/base/random.h"
#include "tests/kernels/tested_devices.h"

namespace moesim::gpu {
namespace {

std::vector<Bfloat16> random_numbers(RandomStream& random, std::size_t count) {
  std::vector<Bfloat16> values(count);
  for (Bfloat16& value : values) {
    value = from_float<Bfloat16>(static_cast<float>(random.normal()));
  }
  return values;
}

TEST(AttentionDecode, MatchesTheReferenceOnTwoHundredRandomShapes) {
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(12, "attention test", static_cast<std::uint64_t>(trial));
    Device& device = *devices[trial % devices.size()];
    AttentionShape shape;
    shape.num_sequences = static_cast<int>(random.below(3));
    shape.num_kv_heads = 1 + static_cast<int>(random.below(3));
    shape.num_query_heads = shape.num_kv_heads << random.below(5);
    shape.head_size = 32 << random.below(4);
    const int contexts[] = {1, 2, 63, 64, 65, 129, 200};
    shape.context = contexts[random.below(7)];
    const int splits = 1 + static_cast<int>(random.below(5));  // at times more than tokens
    const std::size_t heads = static_cast<std::size_t>(shape.num_sequences) * shape.head_size;
    const std::size_t cache = heads * shape.num_kv_heads * shape.context;
    const std::vector<Bfloat16> q = random_numbers(random, heads * shape.num_query_heads);
    const std::vector<Bfloat16> k = random_numbers(random, cache);
    const std::vector<Bfloat16> v = random_numbers(random, cache);
    DeviceBuffer<Bfloat16> device_q(device, q);
    DeviceBuffer<Bfloat16> device_k(device, k);
    DeviceBuffer<Bfloat16> device_v(device, v);
    DeviceBuffer<float> partial(device, attention_partial_size(shape, splits));
    DeviceBuffer<Bfloat16> out(device, q.size());
    device.kernels().attention_decode(
        device.default_stream(), {shape, splits, device_q.data(), device_k.data(), device_v.data(),
                                  partial.data(), out.data()});
    const std::vector<Bfloat16> result = out.download();
    for (int sequence = 0; sequence < shape.num_sequences; ++sequence) {
      const std::vector<double> expected = attention_reference(shape, sequence, q, k, v);
      std::vector<double> actual;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        actual.push_back(to_float(result[sequence * expected.size() + i]));
      }
      // The output's bfloat16 rounding: at most 2^-9 of each number.
      ASSERT_LE(relative_error(actual, expected), 2.5e-3);
    }
  }
}

TEST(AttentionDecode, OneCachedTokenIsCopiedExactly) {
  // The softmax of one score is 1, so the output is V itself.
  const std::unique_ptr<Device> device = tested_device();
  const AttentionShape shape{
      .num_sequences = 1, .num_query_heads = 4, .num_kv_heads = 1, .head_size = 32, .context = 1};
  RandomStream random(5, "attention test");
  const std::vector<Bfloat16> q = random_numbers(random, 128);
  const std::vector<Bfloat16> k = random_numbers(random, 32);
  const std::vector<Bfloat16> v = random_numbers(random, 32);
  DeviceBuffer<Bfloat16> device_q(*device, q);
  DeviceBuffer<Bfloat16> device_k(*device, k);
  DeviceBuffer<Bfloat16> device_v(*device, v);
  DeviceBuffer<float> partial(*device, attention_partial_size(shape, 1));
  DeviceBuffer<Bfloat16> out(*device, 128);
  device->kernels().attention_decode(
      device->default_stream(),
      {shape, 1, device_q.data(), device_k.data(), device_v.data(), partial.data(), out.data()});
  const std::vector<Bfloat16> result = out.download();
  for (std::size_t i = 0; i < result.size(); ++i) {
    EXPECT_EQ(result[i].bits, v[i % 32].bits);
  }
}

}  // namespace
}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_permute.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device_buffer.h"
#include "kernels/kernel_table.h"
#include "sim/base/random.h"
#include "tests/kernels/tested_devices.h"

namespace moesim::gpu {
namespace {

PermutePlan run_plan(Device& device, const PermuteShape& shape,
                     const std::vector<std::int32_t>& chosen) {
  DeviceBuffer<std::int32_t> device_chosen(device, chosen);
  DeviceBuffer<std::int32_t> counts(device, std::size_t(permute_chunks(shape)) * shape.num_experts);
  DeviceBuffer<std::int32_t> offsets(device, shape.num_experts + 1);
  DeviceBuffer<std::int32_t> row_of(device, chosen.size());
  DeviceBuffer<std::int32_t> assignment_of(device, chosen.size());
  device.kernels().permute_plan(device.default_stream(),
                                {shape, device_chosen.data(), counts.data(), offsets.data(),
                                 row_of.data(), assignment_of.data()});
  PermutePlan plan;
  plan.offsets = offsets.download();
  plan.row_of = row_of.download();
  plan.assignment_of = assignment_of.download(0, plan.offsets.back());
  return plan;
}

std::vector<std::int32_t> random_choice(RandomStream& random, const PermuteShape& shape) {
  std::vector<std::int32_t> chosen(std::size_t(shape.num_tokens) * shape.top_k);
  const std::uint64_t kind = random.below(4);  // uniform, skewed, all to one, some padding
  for (std::int32_t& expert : chosen) {
    const std::uint64_t experts = shape.num_experts;
    expert = static_cast<std::int32_t>(kind == 1   ? random.below(random.below(experts) + 1)
                                       : kind == 2 ? experts - 1
                                                   : random.below(experts));
    if (kind == 3 && random.below(4) == 0) {
      expert = random.below(2) == 0 ? -1 : shape.num_experts;
    }
  }
  return chosen;
}

TEST(TokenPermute, MatchesTheReferenceOnTwoHundredRandomShapes) {
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(41, "permute test", static_cast<std::uint64_t>(trial));
    Device& device = *devices[trial % devices.size()];
    PermuteShape shape;
    const int tokens[] = {0, 1, 2, 50, 255, 256, 300};
    shape.num_tokens = tokens[random.below(7)];
    shape.num_experts = 1 + static_cast<int>(random.below(trial % 4 == 0 ? 512 : 20));
    shape.top_k = 1 + static_cast<int>(random.below(8));
    shape.hidden = random.below(2) == 0 ? 8 * (1 + static_cast<int>(random.below(8)))
                                        : 1 + static_cast<int>(random.below(40));
    shape.capacity = random.below(2) == 0 ? -1 : static_cast<int>(random.below(30));
    const std::vector<std::int32_t> chosen = random_choice(random, shape);
    const PermutePlan plan = run_plan(device, shape, chosen);
    const PermutePlan expected = permute_plan_reference(shape, chosen);
    ASSERT_EQ(plan.offsets, expected.offsets);
    ASSERT_EQ(plan.row_of, expected.row_of);
    ASSERT_EQ(plan.assignment_of, expected.assignment_of);

    std::vector<Bfloat16> x(std::size_t(shape.num_tokens) * shape.hidden);
    for (Bfloat16& value : x) {
      value = from_float<Bfloat16>(static_cast<float>(random.normal()));
    }
    std::vector<float> weights(chosen.size());
    for (float& weight : weights) {
      weight = static_cast<float>(random.uniform());
    }
    DeviceBuffer<std::int32_t> row_of(device, plan.row_of);
    DeviceBuffer<float> device_weights(device, weights);
    DeviceBuffer<Bfloat16> device_x(device, x);
    DeviceBuffer<Bfloat16> packed(device, std::size_t(plan.offsets.back()) * shape.hidden);
    DeviceBuffer<Bfloat16> out(device, x.size());
    device.kernels().permute_rows(device.default_stream(),
                                  {shape, row_of.data(), device_x.data(), packed.data()});
    device.kernels().combine_rows(
        device.default_stream(),
        {shape, row_of.data(), device_weights.data(), packed.data(), out.data()});
    const std::vector<Bfloat16> packed_rows = packed.download();
    const std::vector<Bfloat16> expected_rows = permute_rows_reference(shape, plan, x);
    ASSERT_EQ(packed_rows.size(), expected_rows.size());
    for (std::size_t i = 0; i < packed_rows.size(); ++i) {
      ASSERT_EQ(packed_rows[i].bits, expected_rows[i].bits);
    }
    const std::vector<double> sums = combine_rows_reference(shape, plan, weights, packed_rows);
    const std::vector<Bfloat16> result = out.download();
    for (std::size_t i = 0; i < sums.size(); ++i) {
      // One rounding to bfloat16 (2^-9) beside fp32 sums of at most 8 products that may cancel.
      ASSERT_NEAR(to_float(result[i]), sums[i], std::fabs(sums[i]) / 256.0 + 1e-5);
    }
  }
}

TEST(TokenPermute, CapacityDropsTheLastTokensOfAnExpert) {
  const std::unique_ptr<Device> device = tested_device();
  const PermuteShape shape{.num_tokens = 4, .top_k = 1, .num_experts = 3, .capacity = 2};
  const PermutePlan plan = run_plan(*device, shape, {2, 0, 2, 2});
  EXPECT_EQ(plan.offsets, (std::vector<std::int32_t>{0, 1, 1, 3}));
  EXPECT_EQ(plan.row_of, (std::vector<std::int32_t>{1, 0, 2, -1}));
}

}  // namespace
}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
#include "kernels/router_gate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device_buffer.h"
#include "kernels/kernel_table.h"
#include "sim/base/random.h"
#include "tests/kernels/tested_devices.h"

namespace moesim::gpu {
namespace {

struct GateOutput {
  std::vector<std::int32_t> chosen;
  std::vector<float> weights;
  std::vector<float> selection;
};

GateOutput run_gate(Device& device, const RouterGateShape& shape, const std::vector<float>& logits,
                    const std::vector<float>& bias) {
  const std::size_t slots = static_cast<std::size_t>(shape.num_tokens) * shape.top_k;
  DeviceBuffer<float> device_logits(device, logits);
  DeviceBuffer<float> device_bias(device, bias);
  DeviceBuffer<std::int32_t> chosen(device, slots);
  DeviceBuffer<float> weights(device, slots);
  DeviceBuffer<float> selection(device, logits.size());
  device.kernels().router_gate(device.default_stream(),
                               {shape, device_logits.data(), device_bias.data(), chosen.data(),
                                weights.data(), selection.data()});
  return {chosen.download(), weights.download(), selection.download()};
}

/// The fp32 kernel against the double reference: the choice exactly, on the scores it compared.
void expect_matches_reference(Device& device, const RouterGateShape& shape,
                              const std::vector<float>& logits, const std::vector<float>& bias) {
  const GateOutput output = run_gate(device, shape, logits, bias);
  const std::vector<double> scores = router_gate_scores_reference(shape, logits);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    // expf is good to a few units in the last place of 2^-24; the softmax sum adds log2(E)
    // roundings.
    const double bias_here = bias.empty() ? 0.0 : bias[i % shape.num_experts];
    ASSERT_NEAR(output.selection[i], scores[i] + bias_here,
                2e-6 * scores[i] + 1.2e-7 * std::fabs(scores[i] + bias_here) + 1e-12);
  }
  ASSERT_EQ(output.chosen, router_gate_select_reference(shape, output.selection));
  const std::vector<double> weights = router_gate_weights_reference(shape, scores, output.chosen);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    ASSERT_NEAR(output.weights[i], weights[i], 5e-6 * std::fabs(weights[i]) + 1e-30);
  }
}

TEST(RouterGate, MatchesTheReferenceOnTwoHundredRandomShapes) {
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(11, "gate test", static_cast<std::uint64_t>(trial));
    RouterGateShape shape;
    const int groups[] = {1, 1, 2, 4, 8, 16, 40};
    shape.num_groups = groups[random.below(7)];
    const int largest_group = 512 / shape.num_groups;
    const int smallest_group = (8 + shape.num_groups - 1) / shape.num_groups;
    const int group_size =
        smallest_group + static_cast<int>(random.below(largest_group - smallest_group + 1));
    shape.num_experts = shape.num_groups * group_size;
    shape.groups_kept = 1 + static_cast<int>(random.below(shape.num_groups));
    shape.top_k = 1 + static_cast<int>(random.below(std::min(16, shape.groups_kept * group_size)));
    const int tokens[] = {0, 1, 2, 7, 8, 9, 33};
    shape.num_tokens = tokens[random.below(7)];
    shape.score = random.below(2) == 0 ? GateScore::softmax : GateScore::sigmoid;
    shape.normalise = random.below(2) == 0;
    shape.scale = random.below(2) == 0 ? 1.0f : 2.5f;
    std::vector<float> logits(static_cast<std::size_t>(shape.num_tokens) * shape.num_experts);
    const bool is_coarse = random.below(2) == 0;  // few distinct values: many ties
    for (float& logit : logits) {
      logit = is_coarse ? static_cast<float>(random.below(4)) : static_cast<float>(random.normal());
    }
    std::vector<float> bias(random.below(2) == 0 ? 0 : shape.num_experts);
    for (float& b : bias) {
      b = static_cast<float>(random.below(3)) * 0.125f - 0.125f;
    }
    expect_matches_reference(*devices[trial % devices.size()], shape, logits, bias);
    if (HasFatalFailure()) {
      return;
    }
  }
}

TEST(RouterGate, GroupsAsWideAsAWarpAreChosenAlike) {
  // DeepSeek-V3's 8 groups of 32 (and of 64, for the wider warp) take a path of their own; coarse
  // logits make ties between experts and between groups.
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  for (int trial = 0; trial < 60; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(12, "gate test", static_cast<std::uint64_t>(trial));
    Device& device = *devices[trial % devices.size()];
    RouterGateShape shape;
    const int groups[] = {1, 2, 4, 8};
    shape.num_groups = groups[random.below(4)];
    shape.num_experts = shape.num_groups * device.info().warp_size;
    shape.groups_kept = 1 + static_cast<int>(random.below(shape.num_groups));
    shape.top_k = 1 + static_cast<int>(random.below(16));
    shape.num_tokens = 20;
    shape.score = random.below(2) == 0 ? GateScore::softmax : GateScore::sigmoid;
    std::vector<float> logits(std::size_t(20) * shape.num_experts);
    const bool is_coarse = random.below(2) == 0;
    for (float& logit : logits) {
      logit = is_coarse ? static_cast<float>(random.below(3)) : static_cast<float>(random.normal());
    }
    expect_matches_reference(device, shape, logits, {});
    if (HasFatalFailure()) {
      return;
    }
  }
}

TEST(RouterGate, TiesGoToTheLowestIndex) {
  const std::unique_ptr<Device> device = tested_device();
  RouterGateShape shape{.num_tokens = 1, .num_experts = 100, .top_k = 5};
  std::vector<float> logits(100, 1.0f);
  logits[60] = logits[40] = 2.0f;
  // The two best first, then the lowest of the 98 equal ones.
  EXPECT_EQ(run_gate(*device, shape, logits, {}).chosen,
            (std::vector<std::int32_t>{40, 60, 0, 1, 2}));
}

TEST(RouterGate, GroupsAreRankedByTheirTwoBestExperts) {
  // Group 0 holds the best single expert (sigmoid .95), group 1 the best pair (.88 + .88 = 1.76 >
  // .95 + .5).
  const std::unique_ptr<Device> device = tested_device();
  RouterGateShape shape{.num_tokens = 1,
                        .num_experts = 8,
                        .top_k = 2,
                        .num_groups = 2,
                        .groups_kept = 1,
                        .score = GateScore::sigmoid};
  const std::vector<float> logits = {3, 0, 0, 0, 0, 2, 0, 2};
  const GateOutput output = run_gate(*device, shape, logits, {});
  EXPECT_EQ(output.chosen, (std::vector<std::int32_t>{5, 7}));
  EXPECT_FLOAT_EQ(output.weights[0], 0.5f);
}

TEST(RouterGate, ANotANumberLogitIsNeverPreferred) {
  const std::unique_ptr<Device> device = tested_device();
  RouterGateShape shape{.num_tokens = 1, .num_experts = 8, .top_k = 2, .score = GateScore::sigmoid};
  const std::vector<float> logits = {NAN, -3, NAN, -9, NAN, NAN, NAN, NAN};
  EXPECT_EQ(run_gate(*device, shape, logits, {}).chosen, (std::vector<std::int32_t>{1, 3}));
}

}  // namespace
}  // namespace moesim::gpu

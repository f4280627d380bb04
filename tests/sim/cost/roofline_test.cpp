// SPDX-License-Identifier: Apache-2.0
// The physical form at both ends of its range: pure arithmetic, pure memory, and nothing at all.
#include <gtest/gtest.h>

#include "sim/cost/cost_model.h"
#include "sim/input/card_library.h"

namespace moesim {
namespace {

DeviceProfile h100() { return CardLibrary::open(".").device("h100_sxm"); }

TEST(CostModel, AHugeProductRunsAtItsShareOfThePeak) {
  // 16,384^3 x 2 FLOPs in bf16: memory and start-up are a few percent at most, so the rate is ec *
  // peak within that.
  const DeviceProfile device = h100();
  const CostModel model(device);
  const GemmOp op{16384, 16384, 16384, NumberFormat::bf16};
  const double rate = work_of(op).flops.value() / model.estimate(op).seconds.value();
  const double reachable = device.peak_of(NumberFormat::bf16).value() *
                           device.efficiency.gemm.compute_fraction_of(NumberFormat::bf16);
  EXPECT_LT(rate, reachable);
  EXPECT_GT(rate, 0.9 * reachable);
}

TEST(CostModel, OneTokenStreamsTheWeightsAtTheReachableBandwidth) {
  // [1 x 16,384] x [16,384 x 16,384]: 537 MB of weights; t0 and the arithmetic add little.
  const DeviceProfile device = h100();
  const CostModel model(device);
  const GemmOp op{1, 16384, 16384, NumberFormat::bf16};
  const double seconds = model.estimate(op).seconds.value();
  const double streaming = work_of(op).bytes.value() / (device.memory_bandwidth.value.value() *
                                                        device.efficiency.gemm.memory_fraction);
  EXPECT_GE(seconds, streaming);
  EXPECT_LT(seconds, 1.05 * streaming);
}

TEST(CostModel, NothingToDoCostsNothing) {
  const CostModel model(h100());
  EXPECT_EQ(model.estimate(GemmOp{0, 4096, 4096, NumberFormat::bf16}).seconds.value(), 0.0);
  EXPECT_EQ(model.estimate(MlaDecodeOp{}).seconds.value(), 0.0);
  EXPECT_EQ(
      model.estimate(MoeOp{.tokens = 64, .hidden = 4096, .width = 1024, .top_k = 2, .experts = 8})
          .seconds.value(),
      0.0);
}

TEST(CostModel, MoreActiveExpertsNeverCostLess) {
  const CostModel model(h100());
  double last = 0;
  for (int active = 1; active <= 32; ++active) {
    MoeOp op{
        .tokens = 64, .hidden = 4096, .width = 1024, .top_k = 2, .experts = 256, .expert_ways = 8};
    op.load.assignments = 64;
    op.load.active_experts = active;
    const double seconds = model.estimate(op).seconds.value();
    EXPECT_GE(seconds, last);
    last = seconds;
  }
}

TEST(CostModel, EveryEstimateSaysOnWhatItRests) {
  // No device profile claims more than its efficiencies do: the shipped h100_sxm is an estimate
  // until curves are used.
  EXPECT_EQ(CostModel(h100()).estimate(GemmOp{64, 4096, 4096, NumberFormat::bf16}).basis,
            Basis::estimate);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/curve_transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace moesim {
namespace {

constexpr auto kBf16 = static_cast<std::size_t>(NumberFormat::bf16);

/// A stream curve (2 us to start, full bandwidth) and a GEMM curve of fp8 arithmetic.
CurveSet base_set() {
  CurveSet set;
  set.device = "base";
  set.software = "stack-1";
  set.source = "a test";
  set.peaks.flops_per_s[kBf16] = 1e15;
  set.peaks.flops_per_s[static_cast<std::size_t>(NumberFormat::fp8)] = 2e15;
  set.peaks.bytes_per_s = 1e12;
  set.peaks.multiprocessors = 100;
  set.peaks.l2_bytes = 1e6;
  CostCurve stream;
  stream.family = OpFamily::elementwise;
  stream.parameters = {2e-6, 1.0, 0.05, 1e-3};
  stream.band_shape = {0.06, 1.0, 0.0};
  stream.shared_uncertainty = 0.06;
  stream.ranges = {{0.0F, 40.0F}, {0.0F, 0.0F}, {0.0F, 0.0F}, {0.0F, 0.0F}};
  set.add(stream);
  CostCurve gemm;
  gemm.family = OpFamily::gemm;
  gemm.format = NumberFormat::fp8;
  gemm.arithmetic = NumberFormat::fp8;
  for (const LawParameter& parameter : law_parameters(OpFamily::gemm)) {
    gemm.parameters.push_back(parameter.start);
  }
  gemm.residual = ResidualTrees(1, 0.5, std::vector<std::vector<float>>(16));
  gemm.band_shape = {0.1, 1.0, 0.0};
  set.add(gemm);
  return set;
}

CurveTransfer transfer_to_twice_the_bandwidth() {
  CurveTransfer transfer;
  transfer.schema = kTransferSchema;
  transfer.device = "target";
  transfer.software = "stack-1";
  transfer.base = "base.stack-1";
  transfer.flops_per_s = {{"bf16", 1e15}, {"fp8", 2e15}};
  transfer.memory_bytes_per_s = 2e12;
  transfer.multiprocessors = 100;
  transfer.l2_bytes = 1e6;
  transfer.uncertainty = {{"elementwise", 0.08}};
  transfer.uncertainty_source = "a test";
  return transfer;
}

TEST(CurveTransfer, TrafficScalesWithTheBandwidthAndTheStartDoesNot) {
  const CurveSet set = transferred_curves(base_set(), transfer_to_twice_the_bandwidth());
  const Op op = ElementwiseOp{Bytes(1e9), 1.0};
  const CostEstimate cost = set.find(op)->estimate(op, set.peaks);
  // 1e9 bytes at 2e12 bytes/s: 0.5 ms; the 2 us of the start stay.
  EXPECT_NEAR(cost.seconds.value(), 0.502e-3, 1e-8);
  EXPECT_EQ(cost.basis, Basis::estimate);
  EXPECT_EQ(set.transferred_from, "base.stack-1");
}

TEST(CurveTransfer, ItsWidthAddsInQuadratureToTheSharedPart) {
  const CurveSet set = transferred_curves(base_set(), transfer_to_twice_the_bandwidth());
  const Op op = ElementwiseOp{Bytes(1e9), 1.0};
  // 6% of the curve and 8% of the transfer: 10%, all of it shared.
  EXPECT_NEAR(set.find(op)->estimate(op, set.peaks).shared_uncertainty, 0.10, 1e-9);
}

TEST(CurveTransfer, CurvesOfArithmeticThatTheDeviceLacksAreLeftOut) {
  CurveTransfer transfer = transfer_to_twice_the_bandwidth();
  transfer.flops_per_s.erase("fp8");
  const CurveSet set = transferred_curves(base_set(), transfer);
  EXPECT_EQ(set.find(OpFamily::gemm, NumberFormat::fp8), nullptr);
  EXPECT_NE(set.find(OpFamily::elementwise, NumberFormat::bf16), nullptr);
}

TEST(CurveTransfer, APublishedFigureScalesItsParameterOfItsArithmeticOnly) {
  CurveTransfer transfer = transfer_to_twice_the_bandwidth();
  transfer.scales.push_back({OpFamily::gemm, NumberFormat::fp8, "compute_fraction", 0.5, "a test"});
  transfer.scales.push_back(
      {OpFamily::gemm, NumberFormat::bf16, "compute_fraction", 0.1, "a test"});
  const CurveSet base = base_set();
  const CurveSet set = transferred_curves(base, transfer);
  const CostCurve* before = base.find(OpFamily::gemm, NumberFormat::fp8);
  const CostCurve* after = set.find(OpFamily::gemm, NumberFormat::fp8);
  EXPECT_DOUBLE_EQ(after->parameters[1], 0.5 * before->parameters[1]);
  EXPECT_DOUBLE_EQ(after->parameters[0], before->parameters[0]);
}

TEST(CurveTransfer, AnotherVendorsDeviceDropsTheTrees) {
  CurveTransfer transfer = transfer_to_twice_the_bandwidth();
  transfer.keep_residual = false;
  const Op op = GemmOp{4096, 4096, 4096, NumberFormat::fp8};
  const CurveSet kept = transferred_curves(base_set(), transfer_to_twice_the_bandwidth());
  const CurveSet dropped = transferred_curves(base_set(), transfer);
  // The base's trees are the constant 0.5, so keeping them multiplies by e^0.5.
  const double with = kept.find(op)->estimate(op, kept.peaks).seconds.value();
  const double without = dropped.find(op)->estimate(op, dropped.peaks).seconds.value();
  EXPECT_NEAR(std::log(with / without), 0.5, 1e-6);
}

TEST(CurveTransfer, EveryProblemOfAFileIsNamed) {
  Json json = write_object(transfer_to_twice_the_bandwidth());
  json.set("memory_bytes_per_s", -1);
  json.find("uncertainty_fraction")->set("gem", 0.1);
  json.find("flops_per_s")->set("fp7", 1e12);
  json.set("surprise", 1);
  std::string message;
  try {
    read_curve_transfer(json, "x.json");
  } catch (const InputError& error) {
    message = error.what();
  }
  EXPECT_THAT(message, testing::HasSubstr("x.json#/memory_bytes_per_s"));
  EXPECT_THAT(message, testing::HasSubstr("x.json#/uncertainty_fraction/gem: unknown name"));
  EXPECT_THAT(message, testing::HasSubstr("x.json#/flops_per_s/fp7: unknown name"));
  EXPECT_THAT(message, testing::HasSubstr("surprise"));
}

TEST(CurveTransfer, AFileHoldsTheSameTransfer) {
  const Json json = write_object(transfer_to_twice_the_bandwidth());
  EXPECT_EQ(write_object(read_curve_transfer(json, "x.json")).dump(), json.dump());
}

}  // namespace
}  // namespace moesim

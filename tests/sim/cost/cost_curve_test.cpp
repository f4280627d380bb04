// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/cost_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace moesim {
namespace {

DevicePeaks round_device() {
  DevicePeaks device;
  device.flops_per_s[static_cast<std::size_t>(NumberFormat::bf16)] = 1e15;
  device.bytes_per_s = 1e12;
  device.multiprocessors = 100;
  device.l2_bytes = 1e7;
  return device;
}

/// A stream curve without residual: startup 2 us, full bandwidth, no L2 gain to speak of.
CostCurve stream_curve() {
  CostCurve curve;
  curve.family = OpFamily::elementwise;
  curve.parameters = {2e-6, 1.0, 0.05, 1e-3};
  curve.residual = ResidualTrees(1, 0.0, {{}, {}, {}, {}});
  curve.band = ResidualTrees(1, -3.0, {{}, {}, {}, {}});
  curve.band_shape = {0.1, 2.0, -3.0};
  curve.shared_uncertainty = 0.06;
  curve.ranges = {{20.0F, 30.0F}, {0.0F, 0.0F}, {0.0F, 0.0F}, {0.0F, 0.0F}};
  return curve;
}

TEST(CostCurve, AStreamTakesItsStartAndItsBytes) {
  // 1e9 bytes at 1e12 bytes/s: 1 ms, and 2 us to start.
  const CostEstimate cost = stream_curve().estimate(ElementwiseOp{Bytes(1e9), 1.0}, round_device());
  EXPECT_NEAR(cost.seconds.value(), 1.002e-3, 1e-8);
  EXPECT_TRUE(cost.in_range);  // 2^29.9 bytes
  // The band of 10% splits into the shared 6% and the op's own 8%.
  EXPECT_NEAR(cost.shared_uncertainty, 0.06, 1e-9);
  EXPECT_NEAR(cost.own_uncertainty, 0.08, 1e-9);
}

TEST(CostCurve, OutsideItsDataACurveSaysSoAndItsBandGrows) {
  // 2^34 bytes is four powers of two above the range: 10% * (1 + 4 / 2) = 30%.
  const CostEstimate cost =
      stream_curve().estimate(ElementwiseOp{Bytes(std::pow(2.0, 34)), 1.0}, round_device());
  EXPECT_FALSE(cost.in_range);
  EXPECT_NEAR(std::hypot(cost.own_uncertainty, cost.shared_uncertainty), 0.30, 1e-3);
}

TEST(CostCurve, TheBandIsFlatBelowItsCentreAndAPowerAbove) {
  const BandShape shape{0.1, 2.0, -3.0};
  EXPECT_DOUBLE_EQ(shape.width(-5.0), 0.1);
  EXPECT_DOUBLE_EQ(shape.width(-3.0), 0.1);
  EXPECT_NEAR(shape.width(-3.0 + std::log(2.0)), 0.4, 1e-12);  // twice the scale, squared
}

TEST(CostCurve, TheUsualKernelIsFoundByFamilyAndStoredFormat) {
  CurveSet set;
  CostCurve curve = stream_curve();
  curve.variant = "absmax";
  set.add(curve);
  EXPECT_EQ(set.find(Op(ElementwiseOp{})), nullptr);
  EXPECT_NE(set.find(OpFamily::elementwise, NumberFormat::bf16, "absmax"), nullptr);
  set.add(stream_curve());
  EXPECT_EQ(set.find(Op(ElementwiseOp{})), &set.curves()[1]);
  EXPECT_EQ(set.find(Op(GemmOp{})), nullptr);
}

CurveSet small_set() {
  CurveSet set;
  set.device = "round";
  set.software = "none-1";
  set.source = "a test";
  set.peaks = round_device();
  set.add(stream_curve());
  return set;
}

TEST(CostCurve, AFileHoldsTheSameCurves) {
  const CurveSet set = small_set();
  const std::string text = set.to_json().dump();
  const CurveSet read = CurveSet::from_json(parse_json(text, "x.json"), "x.json");
  EXPECT_EQ(read.to_json().dump(), text);
  const Op op = ElementwiseOp{Bytes(3e6), 1.0};
  EXPECT_EQ(read.curves()[0].estimate(op, read.peaks).seconds,
            set.curves()[0].estimate(op, set.peaks).seconds);
}

TEST(CostCurve, AFileOfAnOlderVersionMeansTheLawWithoutTheNewTerms) {
  CurveSet set = small_set();
  CostCurve gemm;
  gemm.family = OpFamily::gemm;
  for (const LawParameter& parameter : law_parameters(OpFamily::gemm)) {
    gemm.parameters.push_back(parameter.start);
  }
  gemm.ranges.assign(16, {0.0F, 40.0F});
  set.add(gemm);
  Json json = set.to_json();
  Json& parameters = *json.find("curves")->items()[1].find("parameters");
  std::erase_if(parameters.members(), [](const Json::Member& member) {
    return member.first == "split_s" || member.first == "split_depth";
  });
  const CurveSet read = CurveSet::from_json(json, "x.json");
  // 32 x 32 x 65536: one tile, so its whole depth runs on one of 100 processors when it may not be
  // split, and on many when it may.
  const Op op = GemmOp{32, 32, 65536};
  const double whole = read.find(op)->estimate(op, read.peaks).seconds.value();
  const double split = set.find(op)->estimate(op, set.peaks).seconds.value();
  EXPECT_GT(whole, 5.0 * split);
}

TEST(CostCurve, EveryProblemOfAFileIsNamed) {
  Json json = small_set().to_json();
  json.set("extra", 1);
  json.set("memory_bytes_per_s", -1);
  Json& curve = json.find("curves")->items()[0];
  curve.set("family", "gem");
  std::string message;
  try {
    CurveSet::from_json(json, "x.json");
  } catch (const InputError& error) {
    message = error.what();
  }
  EXPECT_THAT(message, testing::HasSubstr("x.json#/memory_bytes_per_s: no number in range"));
  EXPECT_THAT(message, testing::HasSubstr("x.json#/curves/0/family: \"gem\" is none of"));
  EXPECT_THAT(message, testing::HasSubstr("unknown key \"extra\""));
}

TEST(OpFeatures, FastLog2IsNearTheLibrarys) {
  for (double x = 1e-12; x < 1e15; x *= 1.37) {
    EXPECT_NEAR(fast_log2(x), std::log2(x), 3e-5 + 4e-6 * std::fabs(std::log2(x)) / 16) << x;
  }
  EXPECT_EQ(fast_log2(1.0), 0.0F);
  EXPECT_EQ(fast_log2(1024.0), 10.0F);
}

TEST(OpFeatures, FastExpIsNearTheLibrarys) {
  for (double x = -20; x <= 20; x += 0.0137) {
    EXPECT_NEAR(fast_exp(x) / std::exp(x), 1.0, 1e-9) << x;
  }
  EXPECT_EQ(fast_exp(0.0), 1.0);
}

/// Every op family with plausible shapes.
std::vector<Op> sample_ops() {
  MoeOp moe;
  moe.tokens = 512;
  moe.hidden = 4096;
  moe.width = 2048;
  moe.top_k = 8;
  moe.experts = 256;
  moe.expert_ways = 8;
  moe.load = {512, 31, 40, 2048};
  MlaPrefillOp mla{4, 1024, 0, 16};
  return {GemmOp{100, 4096, 1024},
          moe,
          AttentionPrefillOp{2, 1000, 0, 32, 8, 128},
          AttentionDecodeOp{64, 1, 4096, 32, 8, 128},
          mla,
          MlaDecodeOp{64, 1, 4096, 16},
          BatchedGemmOp{16, 64, 512, 128},
          ElementwiseOp{Bytes(1e7), 1},
          RoutingOp{512, 256, 8}};
}

std::vector<double> start_parameters(OpFamily family) {
  std::vector<double> values;
  for (const LawParameter& parameter : law_parameters(family)) {
    values.push_back(parameter.start);
  }
  return values;
}

TEST(PhysicalLaw, RatesDoubledAndFixedTimesHalvedHalveEveryTime) {
  DevicePeaks fast = round_device();
  fast.bytes_per_s *= 2;
  for (double& rate : fast.flops_per_s) {
    rate *= 2;
  }
  for (const Op& op : sample_ops()) {
    std::vector<double> values = start_parameters(family_of(op));
    const double slow_time = law_seconds(op, round_device(), NumberFormat::bf16, values);
    const auto names = law_parameters(family_of(op));
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i].name.ends_with("_s")) {
        values[i] /= 2;
      }
    }
    EXPECT_NEAR(law_seconds(op, fast, NumberFormat::bf16, values), slow_time / 2, 1e-9 * slow_time)
        << choice_name(family_of(op));
  }
}

TEST(PhysicalLaw, NoParameterMakesAnOpFasterThanItsBytesAllow) {
  for (const Op& op : sample_ops()) {
    const std::vector<double> values = start_parameters(family_of(op));
    // L2 may save half of the memory time at these starts, and memory_fraction is below 1.
    const double floor = 0.4 * work_of(op).bytes.value() / 1e12;
    EXPECT_GT(law_seconds(op, round_device(), NumberFormat::bf16, values),
              family_of(op) == OpFamily::grouped_gemm ? floor * 0.5 : floor)
        << choice_name(family_of(op));
  }
}

TEST(PhysicalLaw, FeaturesAreFiniteAndNamed) {
  for (const Op& op : sample_ops()) {
    FeatureVector features;
    features.fill(1e30F);
    op_features(op, round_device(), NumberFormat::bf16, 1e-3, features);
    const std::size_t named = feature_names(family_of(op)).size();
    for (std::size_t i = 0; i < features.size(); ++i) {
      EXPECT_EQ(std::fabs(features[i]) < 1e6F, i < named)
          << choice_name(family_of(op)) << " feature " << i;
    }
  }
}

}  // namespace
}  // namespace moesim

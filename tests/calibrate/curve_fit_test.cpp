// SPDX-License-Identifier: Apache-2.0
#include "calibrate/curve_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "calibrate/calibration_rows.h"
#include "calibrate/device_fit.h"
#include "calibrate/expert_load_sampling.h"
#include "calibrate/validate_compute.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

DevicePeaks round_device() {
  DevicePeaks device;
  device.flops_per_s[static_cast<std::size_t>(NumberFormat::bf16)] = 1e15;
  device.bytes_per_s = 2e12;
  device.multiprocessors = 100;
  device.l2_bytes = 1e7;
  return device;
}

constexpr double kTrue[] = {6e-6, 0.6, 0.75, 0.2, 0.4, 1.0, 0.3, 2e-6, 512};

/// GEMM rows that follow the law with known parameters, times a smooth residual and 2% noise.
CurveRows synthetic_gemm(double residual_size) {
  CurveRows rows;
  rows.table = "gemm";
  rows.family = OpFamily::gemm;
  RandomStream random(3, "test");
  for (const double n : {256., 512., 1024., 1536., 2048., 4096., 7168., 8192.}) {
    for (const double k : {512., 1024., 2048., 4096., 6144., 8192.}) {
      for (double m = 1; m <= 16384; m *= 2) {
        CalibrationRow row;
        row.op = GemmOp{m, n, k};
        row.shape = static_cast<std::uint64_t>(n * 100000 + k) * 0x9e3779b97f4a7c15ULL;
        row.seconds = law_seconds(row.op, round_device(), NumberFormat::bf16, kTrue) *
                      std::exp(residual_size * std::sin(std::log2(m)) + 0.02 * random.normal());
        rows.rows.push_back(row);
      }
    }
  }
  return rows;
}

double median_error(const CurveRows& rows, const CrossValidation& validation, bool law_only) {
  std::vector<double> errors;
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    const LeftOut& out = validation.rows[i];
    errors.push_back(
        std::fabs((law_only ? out.law_seconds : out.seconds) / rows.rows[i].seconds - 1.0));
  }
  std::sort(errors.begin(), errors.end());
  return errors[errors.size() / 2];
}

TEST(CurveFit, TheLawIsRecoveredFromRowsThatFollowIt) {
  const CurveRows rows = synthetic_gemm(0.0);
  const CrossValidation validation = cross_validate(
      rows, round_device(), default_fit_options(OpFamily::gemm, rows.rows.size()), FoldKey::shape);
  // The median of |2% normal| is 1.35%; the fit may add a little.
  EXPECT_LT(median_error(rows, validation, true), 0.025);
  EXPECT_EQ(validation.folds, 4);
}

TEST(CurveFit, TreesTakeWhatTheLawLeavesAlsoForShapesLeftOut) {
  const CurveRows rows = synthetic_gemm(0.2);
  const CurveFitOptions options = default_fit_options(OpFamily::gemm, rows.rows.size());
  const CrossValidation validation = cross_validate(rows, round_device(), options, FoldKey::shape);
  const double law = median_error(rows, validation, true);
  const double full = median_error(rows, validation, false);
  EXPECT_LT(full, 0.6 * law);
  EXPECT_LT(full, 0.05);
}

TEST(CurveFit, EightyPercentBandsHoldAboutEightyPercentOfLeftOutRows) {
  const CurveRows rows = synthetic_gemm(0.2);
  const CurveFitOptions options = default_fit_options(OpFamily::gemm, rows.rows.size());
  const CrossValidation validation = cross_validate(rows, round_device(), options, FoldKey::shape);
  const CostCurve curve = fit_curve(rows, round_device(), options, validation);
  EXPECT_GT(curve.record.band_coverage, 0.75);
  EXPECT_LT(curve.record.band_coverage, 0.85);
  EXPECT_EQ(curve.record.rows, static_cast<double>(rows.rows.size()));
}

TEST(CurveFit, TheSameRowsGiveTheSameCurve) {
  const CurveRows rows = synthetic_gemm(0.1);
  const CurveFitOptions options = default_fit_options(OpFamily::gemm, rows.rows.size());
  CurveSet first;
  CurveSet second;
  for (CurveSet* set : {&first, &second}) {
    set->add(fit_curve(rows, round_device(), options,
                       cross_validate(rows, round_device(), options, FoldKey::shape)));
  }
  EXPECT_EQ(first.to_json().dump(), second.to_json().dump());
}

TEST(ExpertLoadSampling, BalancedTokensWalkThroughTheExpertsInStrides) {
  // 8 experts, top-2, stride 4: token 0 picks 0 and 4, token 1 picks 1 and 5, token 2 picks 2
  // and 6. Rank 0 of 2 holds experts 0-3: one token each for 0, 1, 2.
  const ExpertLoad load = sampled_expert_load(3, 2, 8, 2, "balanced");
  EXPECT_EQ(load.assignments, 3);
  EXPECT_EQ(load.active_experts, 3);
  EXPECT_EQ(load.hottest, 1);
  EXPECT_EQ(load.padded, 3 * 64);
}

TEST(ExpertLoadSampling, PowerLawsConserveSelectionsAndHeatTheTimedRank) {
  const ExpertLoad all = sampled_expert_load(1000, 8, 64, 1, "power_law_1.2");
  EXPECT_NEAR(all.assignments, 8000, 1e-6);
  const ExpertLoad hottest = sampled_expert_load(1000, 8, 64, 8, "power_law_1.2");
  EXPECT_GT(hottest.assignments, 1000);  // above the average rank
  EXPECT_LE(hottest.hottest, 1000);      // an expert sees a token once
  const ExpertLoad levelled = sampled_expert_load(1000, 8, 64, 8, "power_law_1.2_eplb", 72);
  EXPECT_LT(levelled.assignments, hottest.assignments);
  EXPECT_GE(levelled.assignments, 1000 - 1e-6);
}

TEST(ExpertLoadSampling, UnknownDistributionsAreRefused) {
  EXPECT_THROW(sampled_expert_load(10, 2, 8, 1, "zipf"), InputError);
  EXPECT_THROW(sampled_expert_load(10, 2, 8, 1, "power_law_1.0"), InputError);
}

std::vector<CurveRows> rows_of(const std::string& table, const std::string& text,
                               std::vector<RejectedRow>& rejected,
                               const std::unordered_set<std::string>& slow = {}) {
  Diagnostics problems;
  const TableIdentity identity{"x", "h100_sxm", table, "trtllm", "1"};
  const MeasurementTable parsed = parse_measurement_table(text, identity, problems);
  problems.throw_if_any();
  return calibration_rows(parsed, round_device(), slow, rejected);
}

TEST(CalibrationRows, OneCurveForEachNumberFormat) {
  std::vector<RejectedRow> rejected;
  const auto curves = rows_of("gemm",
                              "gemm_dtype,m,n,k,latency\nfp8,1,64,64,0.01\nbfloat16,1,64,64,0.01\n"
                              "fp8,2,64,64,0.01\n",
                              rejected);
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_EQ(curves[0].rows.size(), 2u);
  EXPECT_EQ(curves[0].format, NumberFormat::fp8);
  EXPECT_EQ(curves[0].group(), "gemm h100_sxm trtllm-1 fp8");
  EXPECT_EQ(curves[0].rows[0].shape, curves[1].rows[0].shape);  // same side of every fold
}

TEST(CalibrationRows, TimesThatNoMemoryAllowsAreRejected) {
  // 8192 x 8192 bf16 weights are 134 MB, 124 MB beyond L2: at 2 TB/s 62 us; 40 us is impossible.
  std::vector<RejectedRow> rejected;
  const auto curves = rows_of(
      "gemm", "gemm_dtype,m,n,k,latency\nbfloat16,1,8192,8192,0.04\nbfloat16,1,8192,8192,0.07\n",
      rejected);
  ASSERT_EQ(rejected.size(), 1u);
  EXPECT_EQ(rejected[0].file_row, 2);
  EXPECT_EQ(curves[0].rows.size(), 1u);
}

TEST(CalibrationRows, KnownSlowRowsAreFlaggedAndUnGatedExpertsSeen) {
  std::vector<RejectedRow> rejected;
  const auto curves = rows_of(
      "moe",
      "kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,"
      "moe_ep_size,distribution,latency\n"
      "moe_torch_flow_cutlass,bfloat16,4,1024,512,2,8,1,1,balanced,0.05\n"
      "moe_torch_flow_nongated,bfloat16,4,1024,512,2,8,1,1,balanced,0.05\n",
      rejected, {"h100_sxm,bfloat16,moe_torch_flow_cutlass,4,1024,512,2,8,1,1,balanced"});
  ASSERT_EQ(curves.size(), 1u);
  EXPECT_TRUE(curves[0].rows[0].slow);
  EXPECT_FALSE(curves[0].rows[1].slow);
  EXPECT_TRUE(std::get<MoeOp>(curves[0].rows[0].op).gated);
  EXPECT_FALSE(std::get<MoeOp>(curves[0].rows[1].op).gated);
}

TEST(ValidateCompute, SummaryCountsAreThoseOfItsRows) {
  std::vector<ValidationRow> rows(4);
  // Predicted over measured: 1.1, 0.8, 1.0; the bands hold the first and the third.
  rows[0].measured = 1, rows[0].predicted = 1.1, rows[0].low = 0.9, rows[0].high = 1.3;
  rows[1].measured = 1, rows[1].predicted = 0.8, rows[1].low = 0.7, rows[1].high = 0.9;
  rows[2].measured = 2, rows[2].predicted = 2.0, rows[2].low = 1.9, rows[2].high = 2.1;
  rows[3].left_out = "no curve";
  const ValidationGroup group = summarise("g", rows);
  EXPECT_EQ(group.n, 3u);
  EXPECT_EQ(group.left_out, 1u);
  EXPECT_NEAR(group.mape, 0.1, 1e-12);  // (10 + 20 + 0)% / 3
  EXPECT_NEAR(group.median_ape, 0.1, 1e-12);
  EXPECT_NEAR(group.p90_ape, 0.2, 1e-12);
  EXPECT_NEAR(group.bias, 0.0, 1e-12);
  EXPECT_NEAR(group.band_coverage, 2.0 / 3.0, 1e-12);
}

TEST(ValidateCompute, FoldersWithoutTablesAreReportedNotErrors) {
  const ComputeValidation validation = validate_compute({"/nowhere/at/all"}, {}, false);
  EXPECT_TRUE(validation.groups.empty());
  ASSERT_EQ(validation.absent.size(), 1u);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Which curve predicts an op, and what the band of a step is made of.
#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "sim/cost/step_cost.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using testing::cards;
using testing::shipped;
using testing::small;

std::shared_ptr<const std::vector<CurveSource>> sources(const std::string& device,
                                                        const std::string& software) {
  return device_curves(*curve_files_for(cards().device(device), software, cards(), "test"));
}

CostModel model_of(const std::string& device, const std::string& software) {
  return CostModel(cards().device(device), sources(device, software), !software.empty());
}

double exposed_s(const StepBand& band) {
  double sum = band.exchange.exposed_s + band.sync.exposed_s;
  for (const ErrorSource& family : band.families) {
    sum += family.exposed_s;
  }
  return sum;
}

TEST(CurveFiles, VersionsCompareAsNumbers) {
  EXPECT_TRUE(version_before("1.3.0rc9", "1.3.0rc10"));
  EXPECT_FALSE(version_before("1.3.0rc10", "1.3.0rc9"));
  EXPECT_TRUE(version_before("0.5.9", "0.5.14"));
  EXPECT_TRUE(version_before("1.0", "1.0.1"));
  EXPECT_FALSE(version_before("1.0", "1.0"));
}

TEST(CurveFiles, AFrameworkAloneMeansItsNewestVersion) {
  const auto files = curve_files_for(cards().device("h100_sxm"), "trtllm", cards(), "test");
  EXPECT_EQ(files->software, "trtllm-1.3.0rc20");  // rc10 lies beside it
}

TEST(CurveFiles, AnUnknownStackIsAnErrorThatNamesTheKnownOnes) {
  try {
    curve_files_for(cards().device("a100_sxm"), "tgi", cards(), "mine.json");
    FAIL();
  } catch (const InputError& error) {
    ASSERT_EQ(error.diagnostics().size(), 1u);
    const std::string text = error.what();
    EXPECT_NE(text.find("mine.json#/software: no curves of \"tgi\" serve a100_sxm"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("trtllm-1.0.0"), std::string::npos) << text;
  }
}

TEST(CostModel, TheNamedStackIsAskedFirst) {
  EXPECT_EQ(sources("h100_sxm", "vllm")->front().id(), "h100_sxm.vllm-0.24.0");
  EXPECT_EQ(sources("h100_sxm", "")->front().id(), "h100_sxm.trtllm-1.3.0rc20");
  EXPECT_TRUE(sources("h100_sxm", "none")->empty());
}

TEST(CostModel, AnOpTakesTheTimeOfItsCurve) {
  const GemmOp op{64, 4096, 7168, NumberFormat::fp8_block};
  const CostModel model = model_of("h100_sxm", "trtllm-1.3.0rc20");
  const CurvePick pick = model.pick(op);
  ASSERT_NE(pick.curve, nullptr);
  const CostEstimate direct = pick.curve->estimate(op, pick.source->set->peaks);
  const CostEstimate cost = model.estimate(op);
  EXPECT_DOUBLE_EQ(cost.seconds.value(), direct.seconds.value());
  EXPECT_DOUBLE_EQ(cost.own_uncertainty, direct.own_uncertainty);
  EXPECT_EQ(cost.basis, Basis::fitted);
  EXPECT_TRUE(cost.in_range);
  EXPECT_EQ(model.point(op, pick).seconds.value(), cost.seconds.value());
}

TEST(CostModel, AnFp8ProductLeavesOutThePassThatItsTableTimedWithIt) {
  // The table's product finds the activations' largest value first; a deployment's checkpoint holds
  // the scale. The rest is product minus the curve of that pass, and at least half of the product.
  const std::string stack = "trtllm-1.3.0rc20";
  const CostModel model = model_of("b200_sxm", stack);
  const GemmOp op{4, 8192, 8192, NumberFormat::fp8};
  const CurvePick pick = model.pick(op);
  ASSERT_NE(pick.absmax, nullptr);
  CurvePick whole = pick;
  whole.absmax = nullptr;
  const DevicePeaks& peaks = pick.source->set->peaks;
  const double pass =
      pick.absmax->estimate(ElementwiseOp{Bytes(2.0 * 4 * 8192), 1.0}, peaks).seconds.value();
  const double product = model.estimate(op, whole).seconds.value();
  EXPECT_GT(pass, 5e-6);
  EXPECT_NEAR(model.estimate(op, pick).seconds.value(), std::max(product - pass, product / 2),
              1e-9);
  EXPECT_EQ(model.estimate(op, pick).seconds, model.point(op, pick).seconds);
  EXPECT_EQ(model.pick(GemmOp{4, 8192, 8192, NumberFormat::bf16}).absmax, nullptr);
  // A parameter of the product changes the same seconds of what is left.
  const double rest = model.estimate(op, pick).seconds.value();
  EXPECT_NEAR(rest * (model.ratio(op, pick, 0, 1.1) - 1),
              product * (model.ratio(op, whole, 0, 1.1) - 1), 1e-12);
}

/// DeepSeek-R1's experts, split over 8 GPUs, for 4 tokens that need 30 of them.
MoeOp four_tokens_of_r1(NumberFormat weights) {
  MoeOp op;
  op.tokens = 4;
  op.hidden = 7168;
  op.width = 2048;
  op.top_k = 8;
  op.experts = 256;
  op.tensor_ways = 8;
  op.weights = weights;
  op.load.assignments = 32;
  op.load.active_experts = 30;
  op.load.hottest = 2;
  op.load.padded = 30 * 64;
  return op;
}

TEST(CostModel, OfTwoKernelsForTheSameExpertsTheFasterRuns) {
  // DeepSeek-R1's experts in nvfp4 on B200, split over 8: for 4 tokens the low-latency kernel was
  // timed at 25 to 32 us, the usual one at 85 to 88 (balanced and skewed).
  const CostModel model = model_of("b200_sxm", "trtllm-1.3.0rc20");
  const MoeOp op = four_tokens_of_r1(NumberFormat::nvfp4);
  const CurvePick pick = model.pick(op);
  ASSERT_NE(pick.low_latency, nullptr);
  CurvePick usual = pick;
  usual.low_latency = nullptr;
  EXPECT_LT(model.estimate(op, pick).seconds.value(), 45e-6);
  EXPECT_GT(model.estimate(op, usual).seconds.value(), 60e-6);
  // What explains a step names the kernel that runs, and keeps its time.
  const CurvePick running = model.running(op, pick);
  EXPECT_EQ(running.curve->variant, "min_latency");
  EXPECT_EQ(model.estimate(op, running).seconds, model.estimate(op, pick).seconds);
}

TEST(CostModel, AKernelThatNobodyTimedIsThatOfTheOtherFormatAndAnEstimate) {
  // The same experts in fp8 with block scales: the low-latency kernel was timed in nvfp4 only. Half
  // of its time at 4 tokens is weights, of which fp8 has 1.8 times the bytes (9/16 a weight against
  // 1), the rest start-up: between 1 and 1.8 times as long.
  const CostModel model = model_of("b200_sxm", "trtllm-1.3.0rc20");
  const auto estimate = [&](NumberFormat format) {
    const MoeOp op = four_tokens_of_r1(format);
    return model.estimate(op, model.pick(op));
  };
  const CostEstimate timed = estimate(NumberFormat::nvfp4);
  const CostEstimate stand_in = estimate(NumberFormat::fp8_block);
  EXPECT_EQ(timed.basis, Basis::fitted);
  EXPECT_EQ(stand_in.basis, Basis::estimate);
  EXPECT_GT(stand_in.seconds / timed.seconds, 1.0);
  EXPECT_LT(stand_in.seconds / timed.seconds, 2.2);  // trees of nvfp4 are left out
  EXPECT_GT(stand_in.shared_uncertainty, 0.3);
}

TEST(CostMemo, WhatAThreadEvaluatedBeforeDoesNotShow) {
  // One thread evaluates steps of two machines in turns, so that it remembers ops of both; another
  // thread for each step remembers nothing.
  const Scenario machines[] = {shipped("quickstart"), shipped("gpt_oss_120b_h100_tp8")};
  std::vector<StepCostModel> models;
  for (const Scenario& scenario : machines) {
    models.emplace_back(scenario, routing_of(scenario));
  }
  const auto evaluated = [&](std::size_t i) {
    StepBatch batch = batch_of(machines[i % 2]);
    batch.decode_sequences = 1.0 + static_cast<double>(i / 2 % 3);
    batch.decode_context = 100.0 * static_cast<double>(1 + i / 6);
    StepBand band;
    const double with_band = models[i % 2].evaluate(batch, band).seconds.value();
    return std::array{with_band, band.log_half_width,
                      models[i % 2].evaluate(batch).seconds.value()};
  };
  std::vector<std::array<double, 3>> in_turns(36);
  std::thread([&] {
    for (int round = 0; round < 2; ++round) {
      for (std::size_t i = 0; i < in_turns.size(); ++i) {
        in_turns[i] = evaluated(i);
      }
    }
  }).join();
  for (std::size_t i = 0; i < in_turns.size(); ++i) {
    std::array<double, 3> alone{};
    std::thread([&] { alone = evaluated(i); }).join();
    EXPECT_EQ(in_turns[i], alone) << i;
  }
}

TEST(CostModel, ACurveTimedLaunchByLaunchIsNotUsedInsideAGraph) {
  // vLLM's fp8_block GEMM table has a floor of 80 us of host time; in a graph a product of 4 tokens
  // takes a tenth of that, as TensorRT-LLM's rows say.
  const CostModel model = model_of("h100_sxm", "vllm");
  const GemmOp op{4, 2112, 7168, NumberFormat::fp8_block};
  EXPECT_EQ(model.pick(op).source->set->software, "trtllm-1.3.0rc20");
  EXPECT_LT(model.estimate(op).seconds.value(), 20e-6);
}

TEST(CostModel, WithoutANameTheSurestCurveThatReachesTheShapeIsTaken) {
  // bf16 experts on H100: left-out P90 17% in vLLM's tables, 60% in TensorRT-LLM's with their slow
  // rows. gpt-oss at tensor parallelism 8: TensorRT-LLM's mxfp4 rows hold no split expert.
  const CostModel model = model_of("h100_sxm", "");
  MoeOp op{.tokens = 64, .hidden = 4096, .width = 14336, .top_k = 2, .experts = 8};
  EXPECT_EQ(model.pick(op).source->set->software, "vllm-0.24.0");
  op = {.tokens = 64, .hidden = 2880, .width = 2880, .top_k = 4, .experts = 128};
  op.tensor_ways = 8;
  op.weights = NumberFormat::mxfp4;
  EXPECT_NE(model.pick(op).source->set->software, "trtllm-1.3.0rc20");
}

TEST(CostModel, LatentPromptsUseACurveOfTheirOwnForm) {
  // SGLang on Hopper measures the absorbed form, TensorRT-LLM the expanded one.
  const CostModel model = model_of("h100_sxm", "sglang");
  MlaPrefillOp op;
  op.sequences = 4;
  op.new_tokens = 1024;
  op.heads = 16;
  EXPECT_EQ(model.pick(op).source->set->software, "trtllm-1.3.0rc20");
  op.absorbed = true;
  EXPECT_EQ(model.pick(op).source->set->software, "sglang-0.5.14");
}

TEST(CostModel, ATransferredCurveIsLessSureThanTheMeasuredOne) {
  // H800 computes as H100: the same time, a wider band, another basis.
  const GemmOp op{64, 4096, 7168, NumberFormat::fp8_block};
  const CostEstimate measured = model_of("h100_sxm", "trtllm").estimate(op);
  const CostEstimate carried = model_of("h800_sxm", "trtllm").estimate(op);
  EXPECT_EQ(carried.seconds.value(), measured.seconds.value());
  EXPECT_GT(carried.shared_uncertainty, measured.shared_uncertainty + 0.03);
  EXPECT_EQ(carried.basis, Basis::datasheet);
}

TEST(CostModel, NothingToDoCostsNothingWithCurvesToo) {
  const CostModel model = model_of("h100_sxm", "");
  EXPECT_EQ(model.estimate(GemmOp{0, 4096, 4096, NumberFormat::bf16}).seconds.value(), 0.0);
  EXPECT_EQ(model.estimate(MlaDecodeOp{}).seconds.value(), 0.0);
  EXPECT_EQ(
      model.estimate(MoeOp{.tokens = 8, .hidden = 4096, .width = 1024, .top_k = 2, .experts = 8})
          .seconds.value(),
      0.0);
}

TEST(StepBand, SensitivitiesAddUpToTheStep) {
  // The step is homogeneous of degree one in the times of its parts (sums, maxima, shares), so by
  // Euler's theorem the sum of part * d step / d part is the step, host time apart.
  for (const Choice<OverlapRule>& rule : choices_of(OverlapRule{})) {
    for (const double sigma : {0.0, 0.7}) {
      const Scenario scenario = shipped("quickstart", [&](ScenarioSpec& spec) {
        spec.communication.overlap = rule.value;
        spec.routing.sigma = sigma;
        spec.runtime.host_overhead_s = 1e-3;
        spec.model_edits.layers_fraction = 0.1;
      });
      const StepCostModel model(scenario, routing_of(scenario));
      StepBand band;
      const StepCost cost = model.evaluate(batch_of(scenario), band);
      EXPECT_NEAR(exposed_s(band), cost.seconds.value() - 1e-3, 1e-9 * cost.seconds.value())
          << rule.name << " " << sigma;
    }
  }
}

TEST(StepBand, TheBandDoesNotMoveTheEstimate) {
  const Scenario scenario = small();
  const StepCostModel model(scenario, routing_of(scenario));
  StepBand band;
  const StepCost with_band = model.evaluate(batch_of(scenario), band);
  EXPECT_EQ(with_band.seconds.value(), model.evaluate(batch_of(scenario)).seconds.value());
  EXPECT_GT(band.log_half_width, 0.0);
}

TEST(StepBand, SharedErrorsAddAndOwnErrorsAverageOut) {
  // One family with relative shared error s: the step's part of it is s times the family's exposed
  // seconds. Own errors of distinct shapes add as squares, so their sum is below that of widths.
  ErrorSource source;
  source.shared_s = 3.0;
  source.own_squared = 7.0 + 9.0;
  EXPECT_EQ(source.half_width_s(), 5.0);
}

TEST(CostModel, WhoDoesNotNameTheStackKnowsLess) {
  // The same curve twice: whose it is adds nothing to the own error and widens the shared one.
  const GemmOp op{64, 4096, 7168, NumberFormat::fp8_block};
  const CostEstimate named = model_of("h100_sxm", "trtllm").estimate(op);
  const CostEstimate unnamed = model_of("h100_sxm", "").estimate(op);
  EXPECT_EQ(named.own_uncertainty, unnamed.own_uncertainty);
  EXPECT_GT(unnamed.shared_uncertainty, named.shared_uncertainty);
  // Estimates of the profile are less sure than either.
  EXPECT_GT(model_of("h100_sxm", "none").estimate(op).shared_uncertainty,
            2.0 * unnamed.shared_uncertainty);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Which measured runs are simulated, and as what.
#include "sim/study/serving_case.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "sim/study/hidden_queue.h"
#include "sim/study/serving_validation.h"

namespace moesim {
namespace {

const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(MOESIM_SOURCE_DIR);
  return library;
}

/// A row that says everything; tests change what they are about.
ServingMeasurement full_row() {
  ServingMeasurement row;
  row.id = "row";
  row.model = "DeepSeek-R1-0528";
  row.precision = "fp8 (gemm fp8, moe fp8_block)";
  row.system = "H200 SXM 141GB";
  row.gpus = 8;
  row.nodes = 1;
  row.tensor = 8;
  row.data = 1;
  row.expert = 1;
  row.pipeline = 1;
  row.role = "agg";
  row.input_tokens = "1000";
  row.output_tokens = "500";
  row.load = "16";
  row.framework = "sglang 0.5.9";
  row.ttft_s = 0.5;
  row.tpot_s = 0.02;
  return row;
}

TEST(ServingCase, ACompleteRowBecomesItsScenario) {
  const ServingCase taken = serving_case(full_row(), cards());
  EXPECT_EQ(taken.left_out, "");
  EXPECT_EQ(taken.spec.model, "deepseek_r1");
  EXPECT_EQ(taken.spec.cluster, "cluster_h200_ib400");
  EXPECT_EQ(taken.spec.parallelism.tensor, 8);
  EXPECT_EQ(taken.spec.parallelism.expert_tensor, 8);
  EXPECT_EQ(taken.family, "deepseek_r1 on h200");
  // Closed loop: 16 slots x 500 tokens / (0.5 s + 0.02 s x 499) / 8 GPUs.
  EXPECT_NEAR(*taken.output_rate, 16 * 500 / (0.5 + 0.02 * 499) / 8, 1e-9);
  EXPECT_TRUE(taken.rate_is_derived);
}

TEST(ServingCase, ALoadThatItsGpusCannotCarryIsLeftOut) {
  // 37 billion active parameters, 1500 tokens a request: 16 slots at 10.48 s each need 0.17 PFLOP/s
  // of the 16 of eight H200; 16 million slots (a cluster's load beside one node) need 10^5 times
  // more.
  ServingMeasurement row = full_row();
  row.load = "16000000";
  const ServingCase refused = serving_case(row, cards());
  EXPECT_NE(refused.left_out.find("impossible: its requests need"), std::string::npos)
      << refused.left_out;
  EXPECT_NE(refused.left_out.find("8 GPUs have"), std::string::npos) << refused.left_out;
}

TEST(ServingCase, Fp8MeansTheBlocksOfTheModelsOwnCheckpoint) {
  ServingMeasurement row = full_row();
  row.precision = "fp8";
  row.expert.reset();
  row.model = "Qwen3-32B";
  EXPECT_EQ(serving_case(row, cards()).spec.precision.weights, NumberFormat::fp8_block);
  row.model = "Llama-3.1-70B";
  EXPECT_EQ(serving_case(row, cards()).spec.precision.weights, NumberFormat::fp8);
}

TEST(ServingCase, NothingThatARowMeasuresEntersItsScenario) {
  ServingMeasurement other = full_row();
  other.ttft_s = 99;
  other.tpot_s = 1;
  other.output_rate = 1;
  EXPECT_EQ(write_object(serving_case(other, cards()).spec).dump(),
            write_object(serving_case(full_row(), cards()).spec).dump());
}

TEST(ServingCase, ARowThatSaysTooLittleIsLeftOutWithTheReason) {
  const auto reason = [](const std::function<void(ServingMeasurement&)>& change) {
    ServingMeasurement row = full_row();
    change(row);
    return serving_case(row, cards()).left_out;
  };
  EXPECT_EQ(reason([](auto& row) { row.model = "Nobody-7B"; }), "no model card \"Nobody-7B\"");
  EXPECT_EQ(reason([](auto& row) { row.system = "abacus"; }), "no cluster profile for \"abacus\"");
  EXPECT_EQ(reason([](auto& row) { row.input_tokens = ""; }), "no input length");
  EXPECT_EQ(reason([](auto& row) { row.output_tokens = "665 (mean)"; }),
            "the output length is no plain number");
  EXPECT_EQ(reason([](auto& row) { row.load = "open loop (trace not published)"; }),
            "open loop without the arrival trace");
  EXPECT_EQ(reason([](auto& row) { row.tensor.reset(); }), "the layout is not stated (gpus, tp)");
  EXPECT_EQ(reason([](auto& row) { row.gpus = 4; }), "tp x dp x pp is not the number of GPUs");
  EXPECT_EQ(reason([](auto& row) { row.precision = ""; }), "the precision is not stated");
  EXPECT_EQ(reason([](auto& row) { row.ttft_s.reset(), row.tpot_s.reset(); }), "nothing measured");
}

TEST(ServingCase, TensorThatCountsDataParallelRanksIsTakenApart) {
  // SGLang --tp 8 --dp 8 --enable-dp-attention: every GPU is an attention replica of its own.
  ServingMeasurement row = full_row();
  row.data = 8;
  const ServingCase taken = serving_case(row, cards());
  EXPECT_EQ(taken.left_out, "");
  EXPECT_EQ(taken.spec.parallelism.tensor, 1);
  EXPECT_EQ(*taken.spec.parallelism.data, 8);
}

TEST(ServingCase, PartOfANodeIsAskedForAndEarlySoftwareIsSetApart) {
  ServingMeasurement row = full_row();
  row.model = "openai/gpt-oss-120b";
  row.precision = "MXFP4";
  row.gpus = 2;
  row.tensor = 2;
  row.date = "2025-03";
  const ServingCase taken = serving_case(row, cards());
  EXPECT_EQ(taken.left_out, "");
  EXPECT_EQ(*taken.spec.gpus_per_node, 2);
  EXPECT_FALSE(taken.spec.precision.weights);  // as published
  EXPECT_FALSE(taken.has_goal);
  EXPECT_EQ(taken.family, "gpt_oss_120b on h200, early-2025 software");
}

TEST(ServingCase, InferenceXLengthsAreDrawnFromFourFifthsUpwards) {
  ServingMeasurement row = full_row();
  row.notes = "closed loop, random_range_ratio 0.8";
  const ServingCase taken = serving_case(row, cards());
  EXPECT_DOUBLE_EQ(taken.load.mean_input(), 900);
  EXPECT_DOUBLE_EQ(taken.load.requests, 160);
}

TEST(ServingCase, TokensChooseAsUnevenlyAsTheModelsTypicallyDo) {
  // DeepSeek-R1's card states 1.1; balanced runs say so.
  EXPECT_EQ(serving_case(full_row(), cards()).spec.routing.kind, RoutingModel::typical);
  ServingMeasurement balanced = full_row();
  balanced.notes = "balanced routing";
  EXPECT_EQ(serving_case(balanced, cards()).spec.routing.sigma, 0);
  EXPECT_EQ(serving_case(balanced, cards()).spec.routing.kind, RoutingModel::gumbel);
  ServingMeasurement redundant = full_row();
  redundant.notes = "EPLB (32 redundant)";
  redundant.tensor = 8;
  redundant.data = 8;
  redundant.expert = 8;
  const ServingCase taken = serving_case(redundant, cards());
  EXPECT_EQ(taken.left_out, "");
  EXPECT_EQ(taken.spec.placement.policy, PlacementKind::eplb);
  EXPECT_EQ(*taken.spec.placement.slots, 288);
}

TEST(ServingCase, OldTensorRtEnginesStartTheirKernelsFromCompiledCode) {
  const auto host_kernel = [](const char* framework) {
    ServingMeasurement row = full_row();
    row.framework = framework;
    return serving_case(row, cards()).spec.serving.host_kernel_s;
  };
  EXPECT_EQ(host_kernel("TensorRT-LLM 0.14.0 engine (trtllm-bench)"), 0);
  EXPECT_EQ(host_kernel("TensorRT 10.2.0, CUDA 12.4"), 0);
  EXPECT_EQ(host_kernel("TensorRT-LLM 0.17.post1.dev (PyTorch)"), std::nullopt);
  EXPECT_EQ(host_kernel("trtllm 0.8.1.post1"), std::nullopt);  // a version of Dynamo
  EXPECT_EQ(host_kernel("trtllm 1.2.0rc6"), std::nullopt);
}

TEST(ServingCase, InferenceXOnB200KeepsItsCacheInFp8) {
  ServingMeasurement row = full_row();
  row.notes = "closed loop, random_range_ratio 0.8";
  EXPECT_EQ(serving_case(row, cards()).spec.precision.kv_cache, NumberFormat::bf16);
  row.system = "B200 SXM 180GB";
  const ServingCase taken = serving_case(row, cards());
  EXPECT_EQ(taken.left_out, "");
  EXPECT_EQ(taken.spec.precision.kv_cache, NumberFormat::fp8);
}

/// Runs of two output lengths and four prompt lengths at 8 requests in flight; `waiting` of them
/// are always without a slot: TTFT has waiting x (time in service) / 8 on top.
std::vector<ServingCase> runs_with_waiting(double waiting) {
  std::vector<ServingCase> cases;
  for (const char* input : {"1000", "2000", "3000", "4000"}) {
    for (const char* output : {"100", "400"}) {
      ServingMeasurement row = full_row();
      row.input_tokens = input;
      row.output_tokens = output;
      row.load = "8";
      row.tpot_s = 0.01;
      row.ttft_s = 0.1 + waiting * 0.01 * (std::stod(output) - 1) / 8;
      cases.push_back(serving_case(row, cards()));
    }
  }
  return cases;
}

TEST(HiddenQueue, AFirstTokenThatWaitsForWholeOutputsIsNotJudged) {
  for (const double waiting : {0.0, 0.3, 0.8, 1.0}) {
    std::vector<ServingCase> cases = runs_with_waiting(waiting);
    mark_hidden_queues(cases);
    for (const ServingCase& item : cases) {
      EXPECT_EQ(item.ttft_left_out.empty(), waiting < 0.5) << waiting;
      EXPECT_EQ(item.left_out, "");  // its other figures stand
    }
  }
  std::vector<ServingCase> few = runs_with_waiting(1);
  few.resize(6);  // three pairs say too little
  mark_hidden_queues(few);
  EXPECT_EQ(few.front().ttft_left_out, "");
}

TEST(ServingValidation, TheRuleKeepsMostRowsOfTheSharedTable) {
  const char* named = std::getenv("MOESIM_DATA_DIR");
  const std::string folder =
      named != nullptr ? named : std::string(MOESIM_SOURCE_DIR) + "/../shared/data";
  const std::string path = folder + "/e2e/serving_measurements.csv";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no measurements: " << path;
  }
  Diagnostics problems;
  double with_tpot = 0;
  double kept = 0;
  for (const ServingMeasurement& row : read_serving_measurements(path, problems)) {
    if (row.tpot_s) {
      ++with_tpot;
      kept += serving_case(row, cards()).left_out.empty() ? 1 : 0;
    }
  }
  EXPECT_TRUE(problems.empty());
  EXPECT_GE(kept / with_tpot, 0.6);  // a rule that keeps less would choose its rows
}

}  // namespace
}  // namespace moesim

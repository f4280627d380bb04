// SPDX-License-Identifier: Apache-2.0
// Tables of measured serving runs, and the names that other people give models, machines and
// engines.
#include "sim/input/serving_measurements.h"

#include <gtest/gtest.h>

#include "sim/input/card_library.h"
#include "sim/input/card_names.h"

namespace moesim {
namespace {

const std::string kSample =
    std::string(MOESIM_SOURCE_DIR) + "/tests/data/serving_measurements_sample.csv";

TEST(ServingMeasurements, CellsKeepTheirMeaningAndEmptyOnesStayAbsent) {
  Diagnostics problems;
  const auto rows = read_serving_measurements(kSample, problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].id, "made-up-1");
  EXPECT_DOUBLE_EQ(*rows[0].ttft_s, 0.25);    // 250 ms
  EXPECT_DOUBLE_EQ(*rows[0].tpot_s, 0.0125);  // 12.5 ms
  EXPECT_EQ(*rows[0].tensor, 8);
  EXPECT_FALSE(rows[0].output_rate);
  EXPECT_EQ(rows[1].notes, "closed loop, \"fixed\" lengths\nsecond line");
  EXPECT_EQ(rows[1].file_row, 3);
  EXPECT_EQ(rows[2].file_row, 5);  // the row before it fills two lines
  EXPECT_EQ(*rows[2].decode.workers, 9);
}

TEST(ServingMeasurements, WhatIsWrittenReadsBackTheSame) {
  Diagnostics problems;
  const auto rows = read_serving_measurements(kSample, problems);
  const std::string once = serving_measurements_csv(rows);
  const auto again = parse_serving_measurements(once, "again", problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(serving_measurements_csv(again), once);
  EXPECT_NE(once.find(",12.5,"), std::string::npos) << once;
}

TEST(ServingMeasurements, EveryBadCellIsNamedAndItsRowLeftOut) {
  Diagnostics problems;
  const std::string header =
      serving_measurements_csv({}).substr(0, serving_measurements_csv({}).size() - 1);
  const auto rows = parse_serving_measurements(
      header + "\na,s,,,m,fp8,H200,eight" + std::string(28, ',') + "\na,s\na,s,,,m,fp8,H200,-1" +
          std::string(28, ',') + "\n,s,,,m,fp8,H200,8" + std::string(28, ',') + "\n",
      "t.csv", problems);
  EXPECT_TRUE(rows.empty());
  std::string text;
  for (const Diagnostic& problem : problems.list()) {
    text += problem.text() + "\n";
  }
  EXPECT_NE(text.find("t.csv: row 2, column gpus: \"eight\" is no number > 0"), std::string::npos)
      << text;
  EXPECT_NE(text.find("row 3: has 2 cells, the header 36"), std::string::npos) << text;
  EXPECT_NE(text.find("row 4, column gpus: \"-1\" is no number > 0"), std::string::npos) << text;
  EXPECT_NE(text.find("row 5, column id: is missing"), std::string::npos) << text;
}

TEST(CardNames, TheLongestCardThatANameBeginsWithWins) {
  const std::vector<std::string> ids = CardLibrary::open(MOESIM_SOURCE_DIR).ids(CardKind::model);
  const auto id_of = [&ids](std::string_view name) {
    const auto found = model_card_named(name, ids);
    return found ? found->id : "";
  };
  EXPECT_EQ(id_of("deepseek-ai/DeepSeek-R1-0528"), "deepseek_r1");
  EXPECT_EQ(id_of("DeepSeek-V3/R1 (671B-A37B)"), "deepseek_v3");
  EXPECT_EQ(id_of("deepseek-ai/DeepSeek-V3.2"), "deepseek_v3_2");
  EXPECT_EQ(id_of("nvidia/Qwen3-32B-NVFP4"), "qwen3_32b");
  EXPECT_EQ(id_of("mistralai/Mixtral-8x7B-Instruct-v0.1"), "mixtral_8x7b");
  EXPECT_EQ(id_of("meta-llama/Llama-3.1-8B-Instruct"), "llama_3_1_8b");
  EXPECT_EQ(id_of("Qwen3-235B-A22B-2507"), "qwen3_235b_a22b");
  EXPECT_EQ(id_of("/models/openai/gpt-oss-120b"), "gpt_oss_120b");
  // A distilled model shares the name's beginning, not the architecture.
  EXPECT_EQ(id_of("deepseek-ai/DeepSeek-R1-Distill-Llama-70B"), "");
  EXPECT_EQ(id_of(""), "");
}

TEST(CardNames, SystemsAndEnginesAreRecognisedByTheirWords) {
  EXPECT_EQ(cluster_named("H100 SXM 80GB, 8/node, InfiniBand"), "cluster_h100_ib400");
  EXPECT_EQ(cluster_named("h200_sxm"), "cluster_h200_ib400");
  EXPECT_EQ(cluster_named("NVIDIA GH200 Grace Hopper Superchip 144GB"), "cluster_gh200_ib400");
  EXPECT_EQ(cluster_named("NVIDIA H100-NVL-94GB"), std::nullopt);
  EXPECT_EQ(cluster_named("H20 96GB"), std::nullopt);
  EXPECT_EQ(software_named("TensorRT-LLM 0.17.post1.dev (PyTorch), --ep_size 4").version,
            "0.17.post1.dev");
  EXPECT_EQ(software_named("SGLang 0.4.2.post4 ROCm").engine, ServingEngine::sglang);
  EXPECT_EQ(software_named("vllm").engine, ServingEngine::vllm);
  EXPECT_EQ(software_named("DeepSeek in-house").engine, ServingEngine::unknown);
}

TEST(Csv, QuotesHideCommasLineBreaksAndQuotes) {
  const auto rows = parse_csv("a,b\r\n\"x,\"\"y\"\"\n\",2\n\n3,\n");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].cells, (std::vector<std::string>{"x,\"y\"\n", "2"}));
  EXPECT_EQ(rows[2].cells, (std::vector<std::string>{"3", ""}));
  EXPECT_EQ(rows[2].line, 5);
}

}  // namespace
}  // namespace moesim

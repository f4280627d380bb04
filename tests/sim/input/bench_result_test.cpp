// SPDX-License-Identifier: Apache-2.0
// Benchmark results as measured rows: each tool's figures keep their meaning.
#include "sim/input/bench_result.h"

#include <gtest/gtest.h>

#include "sim/base/json.h"

namespace moesim {
namespace {

TEST(BenchResult, VllmJsonBecomesAClosedLoopRow) {
  const ImportedBench bench = import_bench_result(
      R"({"date": "20260101-120000", "backend": "vllm", "model_id": "openai/gpt-oss-120b",
          "num_prompts": 160, "max_concurrency": 16, "request_rate": "inf", "completed": 160,
          "total_input_tokens": 160000, "total_output_tokens": 32000, "output_throughput": 900.5,
          "mean_ttft_ms": 250.0, "mean_tpot_ms": 12.5, "p99_tpot_ms": 20.0})",
      "run.json");
  EXPECT_EQ(bench.format, "vllm bench serve");
  ASSERT_EQ(bench.rows.size(), 1u);
  const ServingMeasurement& row = bench.rows[0];
  EXPECT_EQ(row.load, "16");
  EXPECT_EQ(row.input_tokens, "1000");  // 160000 / 160
  EXPECT_EQ(row.output_tokens, "200");
  EXPECT_DOUBLE_EQ(*row.ttft_s, 0.25);
  EXPECT_DOUBLE_EQ(*row.tpot_s, 0.0125);
  EXPECT_FALSE(row.output_rate);  // the number of GPUs is not in the file
  EXPECT_NE(row.notes.find("900.5 tok/s total"), std::string::npos);
  EXPECT_EQ(bench.unread, (std::vector<std::string>{"num_prompts", "p99_tpot_ms"}));
}

TEST(BenchResult, SglangWritesOneObjectALine) {
  const ImportedBench bench = import_bench_result(
      "{\"backend\": \"sglang\", \"request_rate\": 2.0, \"completed\": 10, \"total_input_tokens\": "
      "100, \"total_output_tokens\": 50, \"mean_ttft_ms\": 10, \"mean_tpot_ms\": 5}\n"
      "{\"backend\": \"sglang\", \"request_rate\": 4.0, \"completed\": 10, \"total_input_tokens\": "
      "100, \"total_output_tokens\": 50, \"mean_ttft_ms\": 20, \"mean_tpot_ms\": 6}\n",
      "runs.jsonl");
  EXPECT_EQ(bench.format, "sglang.bench_serving");
  ASSERT_EQ(bench.rows.size(), 2u);
  EXPECT_EQ(bench.rows[1].load, "qps 4");
  EXPECT_EQ(bench.rows[1].id, "runs.jsonl-2");
}

TEST(BenchResult, InferenceXIsInSecondsAndPerGpu) {
  const ImportedBench bench = import_bench_result(
      R"([{"hw": "h200", "tp": 8, "ep": 8, "dp_attention": "true", "conc": 64, "isl": 1024,
           "osl": 1024, "model": "deepseek-ai/DeepSeek-R1-0528", "framework": "trt",
           "precision": "fp8", "tput_per_gpu": 500.0, "output_tput_per_gpu": 250.0,
           "mean_ttft": 0.5, "mean_tpot": 0.03}])",
      "agg.json");
  EXPECT_EQ(bench.format, "InferenceX");
  const ServingMeasurement& row = bench.rows.at(0);
  EXPECT_DOUBLE_EQ(*row.tpot_s, 0.03);
  EXPECT_DOUBLE_EQ(*row.data, 8);  // attention replicas
  EXPECT_DOUBLE_EQ(*row.tensor, 1);
  EXPECT_DOUBLE_EQ(*row.moe_tensor, 1);
  EXPECT_DOUBLE_EQ(*row.output_rate, 250);
}

TEST(BenchResult, GuidellmsTimePerOutputTokenIsNotTaken) {
  const ImportedBench bench = import_bench_result(
      read_text_file(std::string(MOESIM_SOURCE_DIR) + "/tests/data/bench_result_sample.json",
                     1u << 20),
      "guide.json");
  ASSERT_EQ(bench.rows.size(), 2u);
  EXPECT_DOUBLE_EQ(*bench.rows[0].tpot_s, 0.0125);  // inter-token, not the 14 ms with the first
  EXPECT_NE(bench.rows[0].notes.find("counts the first token in"), std::string::npos);
  EXPECT_EQ(bench.rows[0].load, "16");
  EXPECT_EQ(bench.rows[1].load, "qps 2.5");
}

TEST(BenchResult, AiperfUnitsAreRead) {
  const ImportedBench bench = import_bench_result(
      R"({"time_to_first_token": {"unit": "ms", "avg": 100.0},
          "inter_token_latency": {"unit": "us", "avg": 9000.0},
          "output_sequence_length": {"unit": "tokens", "avg": 128},
          "input_config": {"loadgen": {"concurrency": 8},
                           "endpoint": {"model_names": ["Qwen/Qwen3-32B"]}}})",
      "a.json");
  const ServingMeasurement& row = bench.rows.at(0);
  EXPECT_DOUBLE_EQ(*row.ttft_s, 0.1);
  EXPECT_DOUBLE_EQ(*row.tpot_s, 0.009);
  EXPECT_EQ(row.load, "8");
  EXPECT_EQ(row.model, "Qwen/Qwen3-32B");
}

TEST(BenchResult, PrintedSummariesAreReadRunByRun) {
  const std::string run =
      "============ Serving Benchmark Result ============\n"
      "Successful requests:                     32\n"
      "Maximum request concurrency:             16\n"
      "Total input tokens:                      65536\n"
      "Total generated tokens:                  32768\n"
      "Mean TTFT (ms):                          7279.56\n"
      "Mean TPOT (ms):                          70.14\n"
      "P99 TPOT (ms):                           72.63\n";
  const ImportedBench bench = import_bench_result(run + "noise\n" + run, "log.txt");
  ASSERT_EQ(bench.rows.size(), 2u);
  EXPECT_EQ(bench.format, "vllm bench serve");
  EXPECT_EQ(bench.rows[0].input_tokens, "2048");
  EXPECT_EQ(bench.rows[0].output_tokens, "1024");
  EXPECT_NEAR(*bench.rows[0].tpot_s, 0.07014, 1e-12);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// moesim calibrate --scenario: efficiency of a deployment from its own benchmark results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/base/json.h"
#include "sim/study/serving_calibration.h"
#include "tests/sim/cli/run_command.h"

namespace moesim {
namespace {

using ::testing::HasSubstr;

std::string file_in_folder(const std::string& name, const std::string& text) {
  const std::string path = (std::filesystem::path(::testing::TempDir()) / name).string();
  write_text_file(path, text);
  return path;
}

const char* const kScenario = R"({
  "schema": "moesim/scenario/1", "name": "dense server", "model": "llama_3_1_8b",
  "cluster": "cluster_h100_ib400", "nodes": 1, "gpus_per_node": 1,
  "workload": {"kind": "serving", "concurrency": 8, "prompt_tokens": 512, "output_tokens": 128,
               "requests": 64},
  "serving": {"engine": "vllm"}, "fidelity": "event", "seed": 1})";

/// Rows as `moesim import` writes them, TPOT and TTFT in milliseconds.
std::string rows(double tpot_1, double ttft_1, double tpot_64, double ttft_64) {
  const auto row = [](const char* id, int slots, double tpot, double ttft) {
    return std::string(id) + ",mine,,,Llama-3.1-8B,bf16,H100 SXM,1,1,1,1,1,1,agg,512,128," +
           std::to_string(slots) + ",0,vllm,,," + std::to_string(ttft) + "," +
           std::to_string(tpot) + ",\n";
  };
  return "id,source,source_ref,date,model,precision,system,gpus,nodes,tp,dp,ep,pp,role,isl,osl,"
         "concurrency_or_batch,prefix_hit,framework_version,input_tok_s_per_gpu,"
         "output_tok_s_per_gpu,ttft_ms,tpot_ms,notes\n" +
         row("low", 1, tpot_1, ttft_1) + row("high", 64, tpot_64, ttft_64);
}

TEST(CalibrateServing, FindsASlowerStepAndWritesProfilesThatAScenarioCanUse) {
  const std::string scenario = file_in_folder("deployment.json", kScenario);
  const CardLibrary cards = CardLibrary::open(MOESIM_SOURCE_DIR);
  // Made by the model itself, with 2 ms more a step and memory at 90%: what must be found again.
  const EfficiencySet truth{.memory = 0.9, .arithmetic = 1, .step_s = 2e-3, .request_s = 0.05};
  ScenarioSpec spec = load_scenario_spec(scenario);
  double value[4];
  for (int i = 0; i < 2; ++i) {
    spec.workload.concurrency = i == 0 ? 1 : 64;
    const ServingPrediction made = predict_serving(spec, truth, cards, "made");
    value[2 * i] = made.tpot_s->value * 1e3;
    value[2 * i + 1] = made.ttft_s->value * 1e3;
  }
  const std::string results =
      file_in_folder("measured.csv", rows(value[0], value[1], value[2], value[3]));
  const std::string out = ::testing::TempDir() + "/fitted";
  const Outcome result = moesim({"calibrate", results, "--scenario", scenario, "--out", out});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("fitted to 2 rows"));
  EXPECT_THAT(result.out, HasSubstr("what to measure next"));
  EXPECT_THAT(result.out, HasSubstr("add "));
  const Json device = load_json(out + "/h100_sxm.json");
  const Json* rate = device.find("memory_bandwidth_bytes_per_s");
  EXPECT_EQ(rate->find("origin")->as_text(), "fitted");
  // Memory and step time share the gap, and the prior would rather move memory than add 2 ms a
  // step: it is found within 0.15.
  EXPECT_NEAR(rate->find("value")->as_number() / 3.35e12, 0.9, 0.15);
  const Outcome used = moesim({"run", scenario, "--set",
                               "/cluster=" + out + "/cluster_h100_ib400.json", "--format", "json"});
  ASSERT_EQ(used.code, 0) << used.err;
}

TEST(CalibrateServing, SaysWhatIsMissing) {
  const std::string scenario = file_in_folder("deployment.json", kScenario);
  EXPECT_THAT(moesim({"calibrate", "--scenario", scenario}).err,
              HasSubstr("nothing to calibrate from"));
  EXPECT_THAT(moesim({"calibrate", "x.csv", "--scenario", "quickstart"}).err,
              HasSubstr("#/workload/kind: is not \"serving\""));
}

}  // namespace
}  // namespace moesim

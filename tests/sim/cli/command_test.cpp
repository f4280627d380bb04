// SPDX-License-Identifier: Apache-2.0
// The program as its users see it: words in, text, JSON and exit codes out.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "sim/base/json.h"
#include "tests/sim/cli/run_command.h"

namespace moesim {
namespace {

const std::string kQuickstart = std::string(MOESIM_SOURCE_DIR) + "/scenarios/quickstart.json";
const std::string kSmall = std::string(MOESIM_SOURCE_DIR) + "/scenarios/mixtral_8x7b_h100.json";

TEST(CommandLine, RunPrintsEveryPromisedKeyAsJson) {
  const Outcome outcome = moesim({"run", kQuickstart, "--format", "json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const Json json = parse_json(outcome.out, "output");
  for (const char* key : {"schema", "version", "seed", "scenario", "feasibility", "provenance",
                          "metrics", "breakdown", "alerts"}) {
    EXPECT_NE(json.find(key), nullptr) << key;
  }
  EXPECT_TRUE(json.at_pointer("/feasibility/ok")->as_bool());
  const Json* rate = json.at_pointer("/metrics/output_tokens_per_s_per_gpu");
  ASSERT_NE(rate, nullptr);
  EXPECT_GT(rate->find("value")->as_number(), 0);
  EXPECT_TRUE(rate->find("basis")->is_text());
  EXPECT_FALSE(rate->find("extrapolated") == nullptr);
  EXPECT_NE(json.at_pointer("/metrics/step_s/p99/value"), nullptr);
  EXPECT_EQ(json.at_pointer("/scenario/workload/context_tokens")->as_number(), 4096);
}

TEST(CommandLine, AResultCanBeRerunFromItself) {
  const Json first = parse_json(
      moesim({"run", kSmall, "--format", "json", "--set", "/routing/sigma=0.3"}).out, "output");
  const std::string path = ::testing::TempDir() + "/again.json";
  write_text_file(path, first.find("scenario")->dump());
  const Json second = parse_json(moesim({"run", path, "--format", "json"}).out, "output");
  EXPECT_EQ(second.find("metrics")->dump(), first.find("metrics")->dump());
}

TEST(CommandLine, TextFitsAHundredColumns) {
  std::istringstream lines(moesim({"run", kQuickstart, "--set", "/routing/sigma=1.1"}).out);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    });
    EXPECT_LE(columns, 100) << line;
    ++count;
  }
  EXPECT_GT(count, 30);
}

TEST(CommandLine, SetReportsEveryWrongEditAtOnce) {
  const Outcome outcome = moesim({"run", kQuickstart, "--set", "/routing/skew=1", "--set",
                                  "/routing/sigma=-1", "--set", "seed"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("--set#/routing/skew: unknown key"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find(
                "--set#/routing/sigma: -1 is out of range; allowed: a number >= 0 and <= 10"),
            std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find("\"seed\" has no \"=\""), std::string::npos) << outcome.err;
}

TEST(CommandLine, SetTakesScaledTextWhereTheFieldHasAUnit) {
  const Outcome outcome =
      moesim({"run", kSmall, "--format", "json", "--set", "/runtime/host_overhead_s=2 ms"});
  EXPECT_EQ(parse_json(outcome.out, "output")
                .at_pointer("/scenario/runtime/host_overhead_s")
                ->as_number(),
            0.002);
}

TEST(CommandLine, ImpossibleLayoutsNameWhatIsAllowed) {
  const Outcome outcome = moesim({"run", kQuickstart, "--set", "/nodes=6"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find(
                "/parallelism/expert: 128 x expert_tensor 1 is not the 48 GPUs of the cluster"),
            std::string::npos)
      << outcome.err;
}

TEST(CommandLine, DoesNotFitPrintsTheReportAndExitsWithTwo) {
  const Outcome outcome = moesim({"run", kSmall, "--set", "/workload/batch_per_gpu=4096"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.out.find("DOES NOT FIT"), std::string::npos);
  EXPECT_NE(outcome.err.find("out of memory"), std::string::npos);
}

TEST(CommandLine, OutFolderHoldsEveryFormat) {
  const std::string folder = ::testing::TempDir() + "/run_out";
  EXPECT_EQ(moesim({"run", kSmall, "--out", folder, "--quiet"}).code, 0);
  for (const char* name : {"result.json", "metrics.csv", "report.md", "report.txt"}) {
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(folder) / name)) << name;
  }
}

TEST(CommandLine, TraceHoldsEverySpanOfEveryGpu) {
  const std::string trace = ::testing::TempDir() + "/trace.json";
  EXPECT_EQ(moesim({"run", kSmall, "--fidelity", "event", "--quiet", "--trace", trace}).code, 0);
  const Json json = load_json(trace);
  std::set<std::int64_t> gpus;
  for (const Json& event : json.find("traceEvents")->items()) {
    gpus.insert(event.find("pid")->as_integer());
  }
  EXPECT_EQ(gpus.size(), 8u);
  const Outcome analytic = moesim({"run", kSmall, "--quiet", "--trace", trace});
  EXPECT_EQ(analytic.code, 2);
  EXPECT_EQ(analytic.err, "--trace: the closed form has no timeline; add --fidelity event\n");
}

TEST(CommandLine, ReplicationsGiveARangeToWhatDependsOnTheSeed) {
  const Outcome outcome =
      moesim({"run", kSmall, "--fidelity", "event", "--format", "json", "--replications", "5"});
  const Json json = parse_json(outcome.out, "output");
  const Json* load = json.at_pointer("/metrics/rank_load_max_over_mean");
  ASSERT_NE(load->find("low"), nullptr);
  EXPECT_LT(load->find("low")->as_number(), load->find("high")->as_number());
  EXPECT_EQ(json.at_pointer("/metrics/memory_bytes/kv_cache/low"), nullptr);
}

TEST(CommandLine, AFileWithWrongKeysAndWrongNamesGetsEveryMessageAtOnce) {
  const std::string path = ::testing::TempDir() + "/bad.json";
  write_text_file(
      path,
      R"({"schema": "moesim/scenario/1", "model": "mixtral_8x7", "cluster": "cluster_h100_ib40",
    "routing": {"sgma": 1}, "workload": {"phase": "decod"}})");
  const Outcome outcome = moesim({"run", path});
  EXPECT_EQ(outcome.code, 2);
  for (const char* part :
       {"#/routing/sgma: unknown key; did you mean \"sigma\"?",
        "#/workload/phase: \"decod\" is none of the choices", "#/model: ", "#/cluster: "}) {
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << "\n" << outcome.err;
  }
}

TEST(CommandLine, TheScenarioMayFollowItsEdits) {
  EXPECT_EQ(moesim({"run", "--set", "/routing/sigma=0.2", kSmall, "--quiet"}).code, 0);
}

TEST(CommandLine, UnknownWordsAreInputErrorsWithTheNearestName) {
  EXPECT_EQ(moesim({"run", "quickstrat"}).code, 2);
  EXPECT_NE(moesim({"run", "quickstrat"}).err.find("quickstart"), std::string::npos);
  EXPECT_NE(moesim({"show", "deepsek_v3"}).err.find("did you mean \"deepseek_v3\"?"),
            std::string::npos);
  EXPECT_EQ(moesim({"fly"}).code, 2);
  EXPECT_EQ(moesim({}).code, 2);
  EXPECT_EQ(moesim({"run", "/nowhere/x.json"}).code, 2);
}

TEST(CommandLine, HelpHasAnExampleForEveryCommand) {
  for (const Command& command : commands()) {
    const Outcome outcome = moesim({command.name, "--help"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_NE(outcome.out.find("Example: moesim "), std::string::npos) << command.name;
  }
  EXPECT_NE(moesim({"--version"}).out.find("moesim 0."), std::string::npos);
}

TEST(CommandLine, ShowListsWhatShips) {
  EXPECT_NE(moesim({"show", "models"}).out.find("deepseek_v3"), std::string::npos);
  EXPECT_NE(moesim({"show", "profiles"}).out.find("h800_sxm"), std::string::npos);
  EXPECT_NE(moesim({"show", "scenarios"}).out.find("quickstart"), std::string::npos);
  EXPECT_NE(moesim({"show", "h800_sxm"}).out.find("datasheet"), std::string::npos);
  EXPECT_TRUE(parse_json(moesim({"show", "--schema", "scenario"}).out, "schema").is_object());
  EXPECT_EQ(moesim({"show", "--schema", "scenery"}).code, 2);
}

TEST(CommandLine, ImportTurnsAHuggingFaceConfigurationIntoACard) {
  const std::string config = ::testing::TempDir() + "/config.json";
  // Mixtral 8x7B as published: https://huggingface.co/mistralai/Mixtral-8x7B-v0.1, config.json.
  write_text_file(
      config,
      R"({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000, "max_position_embeddings": 32768,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16"})");
  const std::string card = ::testing::TempDir() + "/mine.json";
  const Outcome outcome = moesim({"import", config, "--out", card});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("46.70B parameters"), std::string::npos) << outcome.err;
  EXPECT_EQ(moesim({"run", kSmall, "--set", "/model=" + card, "--set", "/nodes=1", "--set",
                    "/parallelism/expert=8", "--quiet"})
                .code,
            0);
}

TEST(CommandLine, ABenchmarkOfOnesOwnMachineMakesAClusterThatRuns) {
  const std::string folder = ::testing::TempDir();
  write_text_file(folder + "/bandwidth.json",
                  "{\"nvbandwidth\": {\"testcases\": [{\"name\": \"host_to_device_memcpy_ce\", "
                  "\"status\": \"Passed\", \"bandwidth_matrix\": [[\"50\", \"x\", \"52\"]]}]}}");
  const std::string mine = folder + "/my_cluster.json";
  const Outcome made = moesim({"calibrate", folder + "/bandwidth.json", "--cluster",
                               "cluster_h100_ib400", "--source", "our rack", "--out", mine});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_NE(made.out.find("host link: 5.1e+10 bytes/s, median of 2"), std::string::npos)
      << made.out;
  EXPECT_NE(made.err.find("/nvbandwidth/testcases/0/bandwidth_matrix/0/1: \"x\" is no rate"),
            std::string::npos)
      << made.err;
  const Outcome run = moesim({"run", kSmall, "--set", "/cluster=" + mine, "--format", "json"});
  EXPECT_EQ(run.code, 0) << run.err;
}

}  // namespace
}  // namespace moesim

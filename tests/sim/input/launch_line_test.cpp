// SPDX-License-Identifier: Apache-2.0
// Launch lines of serving engines into scenarios and back; shell words and YAML beneath them.
#include "sim/input/launch_line.h"

#include <gtest/gtest.h>

#include "sim/input/launch_script.h"
#include "sim/input/yaml_text.h"

namespace moesim {
namespace {

const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(MOESIM_SOURCE_DIR);
  return library;
}

ImportedLaunch import(const std::string& text, const std::string& cluster = "cluster_h100_ib400") {
  LaunchOptions options;
  options.cluster = cluster;
  return import_launch(text, "line", cards(), options);
}

std::string at(const ImportedLaunch& launch, const char* pointer) {
  const Json* value = launch.scenario.at_pointer(pointer);
  return value == nullptr ? "" : value->dump(-1);
}

TEST(LaunchLine, VllmSharesExpertsOutOverTensorTimesDataOnlyWhenAsked) {
  const std::string line = "vllm serve deepseek-ai/DeepSeek-R1 -tp 4 --data-parallel-size=2";
  const ImportedLaunch split = import(line);
  EXPECT_EQ(at(split, "/parallelism/expert"), "1");
  EXPECT_EQ(at(split, "/parallelism/expert_tensor"), "8");
  const ImportedLaunch shared = import(line + " --enable-expert-parallel");
  EXPECT_EQ(at(shared, "/parallelism/expert"), "8");
  EXPECT_EQ(at(shared, "/parallelism/data"), "2");
  EXPECT_EQ(at(shared, "/parallelism/tensor"), "4");
}

TEST(LaunchLine, SglangCountsAttentionReplicasInsideTp) {
  const ImportedLaunch launch = import(
      "python3 -m sglang.launch_server --model-path deepseek-ai/DeepSeek-R1-0528 --tp 16 --dp 8 "
      "\\\n"
      "  --enable-dp-attention --nnodes 2 --moe-a2a-backend deepep --mem-fraction-static 0.82");
  EXPECT_EQ(at(launch, "/parallelism/tensor"), "2");
  EXPECT_EQ(at(launch, "/parallelism/data"), "8");
  EXPECT_EQ(at(launch, "/parallelism/expert"), "16");
  EXPECT_EQ(at(launch, "/nodes"), "2");
  EXPECT_EQ(at(launch, "/runtime/memory_utilisation"), "0.82");
}

TEST(LaunchLine, TensorRtReadsItsYamlFromTheSameScript) {
  const ImportedLaunch launch = import(
      "TP=8\ncat > o.yml << EOF\nenable_attention_dp: true\nkv_cache_config:\n  dtype: fp8\nEOF\n"
      "mpirun -n 1 trtllm-serve nvidia/DeepSeek-R1-0528-FP4 --tp_size=$TP --ep_size=$TP "
      "--extra_llm_api_options=o.yml > log 2>&1 &",
      "cluster_b200_ib400");
  EXPECT_EQ(launch.tool, LaunchTool::trtllm);
  EXPECT_EQ(at(launch, "/parallelism/data"), "8");
  EXPECT_EQ(at(launch, "/parallelism/expert"), "8");
  EXPECT_EQ(at(launch, "/precision/kv_cache"), "\"fp8\"");
  EXPECT_EQ(at(launch, "/precision/weights"), "\"nvfp4\"");
  EXPECT_TRUE(launch.unknown_flags.empty());
}

TEST(LaunchLine, TensorRtReplicasThatWaitForEachOthersPrompts) {
  const auto wait = [](const std::string& config) {
    const ImportedLaunch launch =
        import("cat > o.yml << EOF\nenable_attention_dp: true\nattention_dp_config:\n" + config +
                   "EOF\ntrtllm-serve nvidia/DeepSeek-R1-0528-FP4 --tp_size=8 --ep_size=8 "
                   "--extra_llm_api_options=o.yml",
               "cluster_b200_ib400");
    EXPECT_TRUE(launch.unknown_flags.empty());
    return at(launch, "/serving/prompt_wait_steps");
  };
  EXPECT_EQ(wait("  enable_balance: true\n  timeout_iters: 60\n"), "60");
  EXPECT_EQ(wait("  enable_balance: true\n"), "50");  // TensorRT-LLM's default
  EXPECT_EQ(wait("  enable_balance: false\n  timeout_iters: 60\n"),
            wait("  batching_wait_iters: 0\n"));
}

TEST(LaunchLine, FairseqCapacityIsAShareOfTokensPerExpert) {
  // 0.05 of the tokens an expert, 64 experts, top-2: factor 0.05 x 64 / 2 = 1.6.
  const ImportedLaunch launch =
      import("fairseq-train data --moe-expert-count 64 --moe-eval-capacity-token-fraction 0.05");
  EXPECT_EQ(at(launch, "/capacity/factor"), "1.6");
  EXPECT_EQ(at(launch, "/model_edits/experts"), "64");
  EXPECT_EQ(at(launch, "/model_edits/top_k"), "2");
}

TEST(LaunchLine, EveryFlagIsAccountedFor) {
  const ImportedLaunch launch = import(
      "HF_HOME=/x vllm serve openai/gpt-oss-120b --tensor-parallel-size 2 --port 8000 "
      "--enable-eplb --no-such-flag 7 stray");
  EXPECT_EQ(launch.unknown_flags, (std::vector<std::string>{"--no-such-flag 7", "stray"}));
  EXPECT_EQ(launch.without_effect, (std::vector<std::string>{"--port 8000"}));
  ASSERT_GE(launch.not_simulated.size(), 2u);
  EXPECT_EQ(launch.not_simulated[0], "environment HF_HOME=/x");
  EXPECT_EQ(launch.not_simulated[1], "--enable-eplb");
  EXPECT_EQ(at(launch, "/gpus_per_node"), "2");
}

TEST(LaunchLine, WhatIsWrittenReadsBackAsTheSameLayout) {
  struct Case {
    const char* line;
    const char* cluster;
  };
  const Case cases[] = {
      {"vllm serve openai/gpt-oss-120b --tensor-parallel-size 2 --kv-cache-dtype fp8",
       "cluster_h100_ib400"},
      {"vllm serve deepseek-ai/DeepSeek-V3 --tensor-parallel-size 1 --data-parallel-size 16 "
       "--enable-expert-parallel --all2all-backend deepep_low_latency",
       "cluster_h200_ib400"},
      {"python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-R1 --tp 16 --dp 8 "
       "--enable-dp-attention --ep-size 16 --deepep-mode normal --enable-two-batch-overlap",
       "cluster_h100_ib400"},
      {"trtllm-serve mistralai/Mixtral-8x7B-v0.1 --tp_size 4 --ep_size 2", "cluster_h100_ib400"},
  };
  for (const Case& item : cases) {
    const ImportedLaunch first = import(item.line, item.cluster);
    Diagnostics diagnostics;
    const ScenarioSpec spec = read_object<ScenarioSpec>(first.scenario, "spec", diagnostics);
    ASSERT_TRUE(diagnostics.empty());
    const LaunchCommand command = launch_command(resolve(spec, cards(), "spec"), first.tool);
    LaunchOptions options;
    options.cluster = item.cluster;
    options.read_file = [&command](const std::string& name) -> std::optional<std::string> {
      for (const auto& [path, text] : command.files) {
        if (path == name) {
          return text;
        }
      }
      return std::nullopt;
    };
    const ImportedLaunch again = import_launch(command.command, "line", cards(), options);
    EXPECT_TRUE(again.unknown_flags.empty()) << command.command;
    for (const char* part : {"/model", "/nodes", "/gpus_per_node", "/parallelism", "/precision",
                             "/communication", "/runtime", "/serving"}) {
      EXPECT_EQ(at(again, part), at(first, part)) << command.command;
    }
  }
}

TEST(Shell, WordsVariablesAndHereDocumentsAreThoseOfAShell) {
  const ShellText text = parse_shell(
      "A=3 # comment\nrun \"x $A\" 'y $A' ${B:-z} $C a\\ b 2>&1 | tee log\n"
      "cat > f <<EOF\nk: ${A}\nEOF\n",
      "t");
  ASSERT_EQ(text.commands.size(), 3u);
  EXPECT_EQ(text.commands[0].words,
            (std::vector<std::string>{"run", "x 3", "y $A", "z", "$C", "a b"}));
  EXPECT_EQ(text.commands[0].unresolved, (std::vector<std::string>{"$C"}));
  EXPECT_EQ(text.commands[1].words, (std::vector<std::string>{"tee", "log"}));
  EXPECT_EQ(text.files.at("f"), "k: 3\n");
}

TEST(Yaml, BlocksFlowsAndScalarsBecomeJson) {
  const Json json = parse_yaml(
      read_text_file(std::string(MOESIM_SOURCE_DIR) + "/tests/data/yaml_sample.yaml", 1u << 20),
      "t");
  EXPECT_EQ(json.dump(-1),
            parse_json("{\"enable_attention_dp\":true,\"kv_cache_config\":{\"dtype\":\"fp8\","
                       "\"free_gpu_memory_fraction\":0.75},\"cuda_graph_config\":{\"batch_sizes\":"
                       "[1,2,4,8],\"enable_padding\":\"yes\"},\"lists\":[{\"name\":\"a # b\","
                       "\"size\":1000.0},\"it's\",{\"x\":1,\"y\":[null,null,-2]}],\"empty\":null}",
                       "j")
                .dump(-1));
}

}  // namespace
}  // namespace moesim

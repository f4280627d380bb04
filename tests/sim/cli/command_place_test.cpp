// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <gmock/gmock.h>

#include <filesystem>
#include <sstream>
#include <vector>

#include "sim/base/json.h"
#include "sim/cli/commands.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PlaceCommand : public ::testing::Test {
 protected:
  PlaceCommand()
      : folder_(fs::temp_directory_path() / ("moesim_place_command_" + std::to_string(getpid()))) {
    fs::create_directories(folder_);
    write_text_file(
        path("loads.json"),
        R"({"weights": [[600, 560, 120, 120, 20, 10, 10, 10]], "slots": 16, "gpus": 8})");
  }
  ~PlaceCommand() override { fs::remove_all(folder_); }

  std::string path(const char* name) const { return (folder_ / name).string(); }
  int run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), {"moesim", "place"});
    out_.str("");
    err_.str("");
    return run_program(static_cast<int>(arguments.size()), arguments.data(),
                       {out_, err_, MOESIM_SOURCE_DIR});
  }

  fs::path folder_;
  std::ostringstream out_, err_;
};

TEST_F(PlaceCommand, WritesSlotsReplicasLoadsAndBalancedness) {
  ASSERT_EQ(run({path("loads.json").c_str(), "--policy", "eplb", "--format", "json"}), 0)
      << err_.str();
  const Json json = parse_json(out_.str(), "out");
  for (const char* key : {"slot_to_expert", "replicas", "gpu_load", "balancedness"}) {
    ASSERT_NE(json.find(key), nullptr) << key;
  }
  // EPLB's hottest GPU carries 232 of a mean of 1450 / 8.
  EXPECT_NEAR(json.find("balancedness")->items()[0].as_number(), 1450.0 / 8 / 232, 1e-12);
}

TEST_F(PlaceCommand, JudgesAFileOfAnotherEngineAsItWroteIt) {
  ASSERT_EQ(run({path("loads.json").c_str(), "--format", "json"}), 0);
  const Json best = parse_json(out_.str(), "out");
  for (const char* format : {"sglang", "vllm"}) {
    ASSERT_EQ(run({path("loads.json").c_str(), "--format", format}), 0);
    write_text_file(path("placement.json"), out_.str());
    ASSERT_EQ(run({path("loads.json").c_str(), "--evaluate", path("placement.json").c_str(),
                   "--format", "json"}),
              0)
        << err_.str();
    EXPECT_EQ(parse_json(out_.str(), "out"), best) << format;
  }
}

TEST_F(PlaceCommand, NamesAWrongPolicyAndAFileThatDoesNotFit) {
  EXPECT_EQ(run({path("loads.json").c_str(), "--policy", "eplp"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean \"eplb\"?"));
  write_text_file(path("short.json"), R"({"slot_to_expert": [[0, 1, 2, 3, 4, 5, 6, 7]]})");
  EXPECT_EQ(run({path("loads.json").c_str(), "--evaluate", path("short.json").c_str()}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("8 slots"));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/validation_suites.h"

#include <unistd.h>

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "sim/cli/commands.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

int validate(const std::vector<std::string>& words, std::string& out, std::string& err) {
  std::vector<const char*> argv = {"moesim", "validate"};
  for (const std::string& word : words) {
    argv.push_back(word.c_str());
  }
  std::ostringstream out_stream;
  std::ostringstream err_stream;
  const int code = run_program(static_cast<int>(argv.size()), argv.data(),
                               CommandContext{out_stream, err_stream, MOESIM_SOURCE_DIR});
  out = out_stream.str();
  err = err_stream.str();
  return code;
}

TEST(ValidationSuites, ErrorsOfAGroupAreThoseOfItsRows) {
  // Relative errors .5 and .1, absolute 5, 1 and 0 (measured as 0, so without a relative one); the
  // fourth row is only counted. One of two bands holds its row.
  SuiteAnswer answer;
  add_rows(answer, "s",
           {{"g", "a", 10, 15, "estimate", "", 9.0, 16.0},
            {"g", "b", 10, 9, "estimate", "", 8.0, 9.5},
            {"g", "c", 0, 0, "estimate", ""},
            {"g", "d", 7, 0, "", "no prediction"}},
           true);
  ASSERT_EQ(answer.groups.items().size(), 1u);
  const Json& group = answer.groups.items()[0];
  EXPECT_EQ(group.find("n")->as_integer(), 3);
  EXPECT_EQ(group.find("left_out")->as_integer(), 1);
  EXPECT_NEAR(group.find("mape")->as_number(), 0.3, 1e-12);
  EXPECT_NEAR(group.find("median_ape")->as_number(), 0.3, 1e-12);
  EXPECT_NEAR(group.find("bias")->as_number(), 0.2, 1e-12);
  EXPECT_NEAR(group.find("max_error")->as_number(), 5, 1e-12);
  EXPECT_NEAR(group.find("median_error")->as_number(), 1, 1e-12);
  EXPECT_NEAR(group.find("band_coverage")->as_number(), 0.5, 1e-12);
  ASSERT_EQ(answer.rows.items().size(), 4u);
  EXPECT_EQ(answer.rows.items()[2].find("ape"), nullptr);
  EXPECT_EQ(answer.rows.items()[3].find("left_out")->as_text(), "no prediction");
}

TEST(ValidationSuites, AFolderIsFoundFromAboveAndByItsName) {
  const fs::path folder = fs::temp_directory_path() / ("moesim_suites_" + std::to_string(getpid()));
  fs::create_directories(folder / "routing");
  SuiteRequest request;
  for (const fs::path& path : {folder, folder / "routing", folder / "routing/", folder / "none"}) {
    request.folders = {path.string()};
    const bool is_there = path.filename() != "none";
    EXPECT_EQ(parents_of(request, "routing").size(), is_there ? 1u : 0u) << path;
  }
  std::string out;
  std::string err;
  EXPECT_EQ(
      validate({"--data", folder.string(), "--suite", "routing", "--format", "json"}, out, err), 0);
  EXPECT_THAT(err, ::testing::HasSubstr("load_stats.csv: the file is absent"));
  EXPECT_EQ(validate({"--data", folder.string(), "--suite", "offload"}, out, err), 0);
  EXPECT_THAT(err, ::testing::HasSubstr("no folder of --data holds offload/"));
  EXPECT_EQ(validate({"--data", folder.string(), "--suite", "offlod"}, out, err), 2);
  fs::remove_all(folder);
}

TEST(ValidationSuites, RoutingAndOffloadMeetTheirDataFromTheCommandLine) {
  const char* given = std::getenv("MOESIM_DATA_DIR");
  const fs::path data =
      given != nullptr ? fs::path(given) : fs::path(MOESIM_SOURCE_DIR) / "../shared/data";
  if (!fs::exists(data / "offload" / "throughput.csv") || !fs::exists(data / "routing")) {
    GTEST_SKIP() << "no routing/ and offload/ (MOESIM_DATA_DIR)";
  }
  std::string out;
  std::string err;
  ASSERT_EQ(validate({"--data", data.string(), "--suite", "routing", "--suite", "offload", "--rows",
                      "--format", "json"},
                     out, err),
            0);
  const Json json = parse_json(out, "out");
  std::vector<std::string> names;
  for (const Json& group : json.find("groups")->items()) {
    names.push_back(group.find("suite")->as_text() + " " + group.find("group")->as_text());
    if (names.back() == "offload offload_throughput") {
      EXPECT_LE(group.find("median_ape")->as_number(), 0.20);
      EXPECT_GE(group.find("n")->as_integer(), 20);
    }
    if (names.back() == "routing replay_load_stats") {
      EXPECT_LE(group.find("max_error")->as_number(), 5e-4);  // printed to three decimals
    }
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf(
                         {"routing replay_load_stats", "routing replay_locality",
                          "routing model_hottest", "routing model_active",
                          "offload expert_cache_hit_rate", "offload offload_throughput"}));
  EXPECT_GT(json.find("rows")->items().size(), 600u);
}

}  // namespace
}  // namespace moesim

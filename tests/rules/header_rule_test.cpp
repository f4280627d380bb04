// SPDX-License-Identifier: Apache-2.0
// Every header compiles alone, and twice in a row: whoever includes it needs to know nothing else.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "sim/base/json.h"
#include "tests/rules/repository.h"

namespace moesim::rules {
namespace {

class HeaderRule : public testing::TestWithParam<const char*> {};

TEST_P(HeaderRule, HeadersOfTheFolderCompileAlone) {
  namespace fs = std::filesystem;
  const std::string folder = GetParam();
  std::string slug = folder;
  for (char& c : slug) {
    c = c == '/' ? '_' : c;
  }
  const fs::path place = fs::path(MOESIM_BINARY_DIR) / "header_rule" / slug;
  fs::create_directories(place);
  std::size_t checked = 0;
  for (const std::string& header : files_ending({".h"})) {
    if (module_of(header) != folder) {
      continue;
    }
    const std::string stem = fs::path(header).stem().string();
    const std::string source = (place / (stem + ".cpp")).string();
    const std::string report = (place / (stem + ".txt")).string();
    write_text_file(source, "#include \"" + header + "\"\n#include \"" + header + "\"\n");
    const std::string command = std::string(MOESIM_COMPILER) + " -std=c++20 -Wall -Wextra -I '" +
                                MOESIM_SOURCE_DIR + "' -c '" + source + "' -o '" +
                                (place / (stem + ".o")).string() + "' > '" + report + "' 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << header << " does not compile alone:\n"
                                               << read_text_file(report, 1u << 20).substr(0, 2000);
    ++checked;
  }
  if (checked == 0) {
    GTEST_SKIP() << folder << " has no headers";
  }
}

// gui/ is left out: its headers need Qt's include folders, which its own build knows.
INSTANTIATE_TEST_SUITE_P(Folders, HeaderRule,
                         testing::Values("sim", "sim/base", "sim/input", "sim/cluster", "sim/moe",
                                         "sim/workload", "sim/cost", "sim/engine", "sim/serving",
                                         "sim/training", "sim/run", "sim/study", "sim/report",
                                         "sim/cli", "kernels", "calibrate", "tests"),
                         [](const testing::TestParamInfo<const char*>& folder) {
                           std::string name = folder.param;
                           for (char& c : name) {
                             c = c == '/' ? '_' : c;
                           }
                           return name;
                         });

}  // namespace
}  // namespace moesim::rules

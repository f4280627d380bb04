// SPDX-License-Identifier: Apache-2.0
// Every header compiles alone, and twice in a row: whoever includes it needs to know nothing else.
//
// A header that its own source includes first has proved the former by the time this test is built;
// only the others cost a compiler run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/base/json.h"
#include "tests/rules/repository.h"

namespace moesim::rules {
namespace {

/// The build compiles a source beside the header whose first include is the header.
bool is_proved_by_its_source(const std::string& header) {
  namespace fs = std::filesystem;
  const std::string source = fs::path(header).replace_extension(".cpp").string();
  const std::string list = (fs::path(header).parent_path() / "CMakeLists.txt").string();
  const std::vector<std::string>& files = repository_files();
  if (!std::binary_search(files.begin(), files.end(), source) ||
      !std::binary_search(files.begin(), files.end(), list) ||
      file_text(list).find(fs::path(source).filename().string()) == std::string::npos) {
    return false;
  }
  for (const std::string& line : lines_of(file_text(source))) {
    if (line.starts_with("#include")) {
      return line == "#include \"" + header + "\"";
    }
  }
  return false;
}

bool may_be_included_twice(const std::string& header) {
  const std::vector<std::string> lines = lines_of(file_text(header));
  return std::find(lines.begin(), lines.end(), "#pragma once") != lines.end();
}

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
    if (module_of(header) != folder || header.starts_with("tests/gui/")) {
      continue;
    }
    ++checked;
    EXPECT_TRUE(may_be_included_twice(header)) << header << " has no #pragma once";
    if (is_proved_by_its_source(header)) {
      continue;
    }
    const std::string stem = fs::path(header).stem().string();
    const std::string source = (place / (stem + ".cpp")).string();
    const std::string report = (place / (stem + ".txt")).string();
    write_text_file(source, "#include \"" + header + "\"\n");
    const std::string command = std::string(MOESIM_COMPILER) + " -std=c++20 -Wall -Wextra -I '" +
                                MOESIM_SOURCE_DIR + "' -c '" + source + "' -o '" +
                                (place / (stem + ".o")).string() + "' > '" + report + "' 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << header << " does not compile alone:\n"
                                               << read_text_file(report, 1u << 20).substr(0, 2000);
  }
  if (checked == 0) {
    GTEST_SKIP() << folder << " has no headers";
  }
}

// gui/ and tests/gui/ are left out: their headers need Qt's include folders, which their own build
// knows.
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

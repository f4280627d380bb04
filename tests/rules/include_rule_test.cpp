// SPDX-License-Identifier: Apache-2.0
// What may include what: one total order inside sim/, narrow doors between the other folders.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/rules/repository.h"

namespace moesim::rules {
namespace {

const std::vector<std::string> kOrder = {"base",  "input",  "cluster", "moe",      "workload",
                                         "cost",  "engine", "serving", "training", "run",
                                         "study", "report", "cli"};

struct Include {
  std::string file;
  std::size_t line = 0;
  std::string target;  ///< between the quotes or brackets
  bool quoted = false;
};

std::vector<Include> includes_of(const std::string& file) {
  std::vector<Include> found;
  const std::vector<std::string> lines = lines_of(file_text(file));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    std::size_t at = line.find_first_not_of(" \t");
    if (at == std::string::npos || line[at] != '#') {
      continue;
    }
    at = line.find_first_not_of(" \t", at + 1);
    if (at == std::string::npos || line.compare(at, 7, "include") != 0) {
      continue;
    }
    const std::size_t open = line.find_first_of("\"<", at + 7);
    const std::size_t close =
        open == std::string::npos ? open : line.find_first_of("\">", open + 1);
    if (close != std::string::npos) {
      found.push_back({file, i + 1, line.substr(open + 1, close - open - 1), line[open] == '"'});
    }
  }
  return found;
}

std::vector<Include> all_includes() {
  std::vector<Include> all;
  for (const std::string& file : files_ending({".h", ".cpp", ".cu"})) {
    const std::vector<Include> found = includes_of(file);
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

std::string where(const Include& include) {
  return include.file + ":" + std::to_string(include.line) + " includes " + include.target;
}

int rank_of(const std::string& module) {
  const std::string folder = module.substr(module.find('/') + 1);
  const auto found = std::find(kOrder.begin(), kOrder.end(), folder);
  return found == kOrder.end() ? -1 : static_cast<int>(found - kOrder.begin());
}

TEST(IncludeRule, OwnHeadersAreNamedFromTheRepositoryRoot) {
  for (const Include& include : all_includes()) {
    if (!include.quoted || include.target.starts_with("moc_")) {
      continue;
    }
    const auto& files = repository_files();
    EXPECT_TRUE(std::binary_search(files.begin(), files.end(), include.target))
        << where(include) << ", which is no file from the root";
  }
}

TEST(IncludeRule, FoldersOfSimIncludeOnlyFoldersOnTheirLeft) {
  for (const Include& include : all_includes()) {
    const std::string from = module_of(include.file);
    if (!from.starts_with("sim/") || !include.quoted) {
      continue;
    }
    const std::string to = module_of(include.target);
    if (from == "sim/cli" && to == "calibrate") {
      continue;  // the command line also drives the calibration
    }
    ASSERT_GE(rank_of(from), 0) << include.file << " lies in a folder without a place in the order";
    EXPECT_TRUE(to.starts_with("sim/") && rank_of(to) >= 0 && rank_of(to) <= rank_of(from))
        << where(include) << "; order: base < input < cluster < moe < workload < cost < engine < "
        << "serving < training < run < study < report < cli";
  }
}

TEST(IncludeRule, OtherFoldersUseOnlyTheirDoors) {
  const std::map<std::string, std::set<std::string>> doors = {
      {"kernels", {"kernels", "sim/base"}},
      {"calibrate", {"calibrate", "kernels", "sim/base", "sim/input", "sim/cluster", "sim/cost"}},
      {"gui", {"gui", "sim/base", "sim/input", "sim/run", "sim/study", "sim/report"}},
  };
  for (const Include& include : all_includes()) {
    const auto door = doors.find(module_of(include.file));
    if (include.target == "sim/engine/timeline.h" && door != doors.end() && door->first == "gui") {
      continue;  // plain values that RunOptions fills
    }
    if (door != doors.end() && include.quoted && !include.target.starts_with("moc_")) {
      EXPECT_TRUE(door->second.count(module_of(include.target)) != 0) << where(include);
    }
  }
}

TEST(IncludeRule, SimSeesNoQtAndNoGpuHeader) {
  for (const Include& include : all_includes()) {
    if (!include.file.starts_with("sim/")) {
      continue;
    }
    const std::string& target = include.target;
    const bool foreign = target.starts_with("Q") || target.starts_with("Qt") ||
                         target.starts_with("cuda") || target.starts_with("hip/") ||
                         target.starts_with("nccl") || target.starts_with("rccl");
    EXPECT_FALSE(foreign) << where(include);
  }
}

TEST(IncludeRule, HeadersStayFreeOfSlowLibraries) {
  // nlohmann/json and Boost.Graph cost seconds a file: they belong into .cpp files.
  for (const Include& include : all_includes()) {
    if (include.file.ends_with(".h")) {
      EXPECT_FALSE(include.target.starts_with("nlohmann/") ||
                   include.target.starts_with("boost/graph"))
          << where(include);
    }
  }
}

TEST(IncludeRule, OnlyGpuHeaderNamesCudaAndHip) {
  for (const Include& include : all_includes()) {
    if (include.file == "kernels/gpu.h") {
      continue;
    }
    EXPECT_FALSE(include.target.starts_with("cuda_runtime") ||
                 include.target.starts_with("hip/hip_runtime"))
        << where(include);
  }
}

}  // namespace
}  // namespace moesim::rules

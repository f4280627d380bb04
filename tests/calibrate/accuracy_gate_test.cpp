// SPDX-License-Identifier: Apache-2.0
// Errors of the shipped curves on a small sample of published kernel times may not grow.
//
// tests/data/accuracy_sample holds the rows (its README names the sources), recorded.json the error
// statistics of the curves when they were last fitted. A change that makes a group worse than
// recorded by more than the allowance fails; one that makes it better is recorded with
// MOESIM_RECORD_ACCURACY=1 in the environment.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "calibrate/validate_compute.h"

namespace moesim {
namespace {

// Rounding of the recorded figures, and what another order of additions may move.
constexpr double kMedianAllowance = 0.001;
constexpr double kP90Allowance = 0.005;
constexpr std::size_t kMostRows = 200;

Json statistics(const ComputeValidation& validation) {
  Json groups = Json::object();
  for (const ValidationGroup& group : validation.groups) {
    Json json = Json::object();
    json.set("n", static_cast<std::int64_t>(group.n));
    json.set("median_ape", std::round(1e4 * group.median_ape) / 1e4);
    json.set("p90_ape", std::round(1e4 * group.p90_ape) / 1e4);
    groups.set(group.group, std::move(json));
  }
  return groups;
}

TEST(AccuracyGate, ErrorsOnThePublishedSampleAreNotAboveTheRecordedOnes) {
  const std::string folder = std::string(MOESIM_SOURCE_DIR) + "/tests/data/accuracy_sample";
  const ComputeValidation validation =
      validate_compute({folder}, load_curve_sets(MOESIM_SOURCE_DIR), false);
  ASSERT_TRUE(validation.problems.empty()) << validation.problems.front().text();
  ASSERT_TRUE(validation.absent.empty()) << validation.absent.front();
  if (std::getenv("MOESIM_RECORD_ACCURACY") != nullptr) {
    write_text_file(folder + "/recorded.json", statistics(validation).dump() + "\n");
  }
  const Json recorded = load_json(folder + "/recorded.json");
  std::size_t rows = 0;
  for (const ValidationGroup& group : validation.groups) {
    rows += group.n + group.left_out;
    const Json* known = recorded.find(group.group);
    ASSERT_NE(known, nullptr) << group.group << " is not recorded";
    EXPECT_EQ(known->find("n")->as_integer(), static_cast<std::int64_t>(group.n)) << group.group;
    EXPECT_LE(group.median_ape, known->find("median_ape")->as_number() + kMedianAllowance)
        << group.group;
    EXPECT_LE(group.p90_ape, known->find("p90_ape")->as_number() + kP90Allowance) << group.group;
  }
  EXPECT_EQ(validation.groups.size(), recorded.members().size());
  EXPECT_GE(rows, 150u);
  EXPECT_LE(rows, kMostRows);
}

}  // namespace
}  // namespace moesim

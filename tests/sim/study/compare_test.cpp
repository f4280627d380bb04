// SPDX-License-Identifier: Apache-2.0
// Two results side by side.
#include "sim/study/compare.h"

#include <gtest/gtest.h>

#include "sim/base/error.h"

namespace moesim {
namespace {

Json result(const std::string& tpot, const std::string& scenario) {
  return parse_json("{\"scenario\": " + scenario + ", \"metrics\": {\"tpot_s\": {\"mean\": " +
                        tpot + "}, \"mfu\": {\"value\": 0.5}}}",
                    "result");
}

const FigureDifference& tpot(const ResultComparison& comparison) {
  return comparison.figures.at(0);
}

TEST(Compare, BandsDecideWhatIsToldApart) {
  // Half-widths of 10% each in log space: sqrt(2) x 0.1 = 0.141; ln(1.1) = 0.095 lies within,
  // ln(1.2) = 0.182 does not.
  const std::string a = "{\"value\": 1, \"low\": 0.904837418, \"high\": 1.105170918}";
  const std::string near = "{\"value\": 1.1, \"low\": 0.99532116, \"high\": 1.21568801}";
  const std::string far = "{\"value\": 1.2, \"low\": 1.0858049, \"high\": 1.3262051}";
  const auto verdict = [&a](const std::string& b) {
    return tpot(compare_results(result(a, "{}"), "a", result(b, "{}"), "b"));
  };
  EXPECT_EQ(verdict(near).verdict, Verdict::within_bands);
  EXPECT_EQ(verdict(far).verdict, Verdict::differs);
  EXPECT_DOUBLE_EQ(*verdict(far).ratio, 1.2);
  EXPECT_EQ(verdict("{\"value\": 1.2}").verdict, Verdict::without_bands);
  EXPECT_EQ(verdict(a).verdict, Verdict::same);
}

TEST(Compare, KeysThatDifferAreNamedByTheirPointers) {
  const ResultComparison comparison = compare_results(
      result("{\"value\": 1}", R"({"nodes": 1, "routing": {"sigma": 0.5, "kind": "gumbel"}})"), "a",
      result("{\"value\": 1}", R"({"nodes": 2, "routing": {"kind": "gumbel"}, "seed": 3})"), "b");
  ASSERT_EQ(comparison.keys.size(), 3u);
  EXPECT_EQ(comparison.keys[0].pointer, "/nodes");
  EXPECT_EQ(comparison.keys[1].pointer, "/routing/sigma");
  EXPECT_EQ(comparison.keys[1].b, "");
  EXPECT_EQ(comparison.keys[2].pointer, "/seed");
}

TEST(Compare, SomethingThatIsNoResultIsRefused) {
  EXPECT_THROW(compare_results(parse_json("{}", "x"), "x.json", parse_json("{}", "y"), "y.json"),
               InputError);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/residual_trees.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <filesystem>
#include <limits>

#include "sim/base/random.h"
#include "sim/cost/cost_curve.h"

namespace moesim {
namespace {

ResidualTrees two_trees() {
  ResidualTrees trees(2, 0.5, {{1.0F, 2.0F}, {10.0F}});
  // Leaf index = (x0 > 1) + 2 * (x1 > 10).
  trees.add_tree(std::array<ResidualTrees::Question, 2>{{{0, 0}, {1, 0}}},
                 std::array<double, 4>{1.27, 0.0, -1.27, 0.64});
  // Both questions ask x0: 0 below 1, 1 between 1 and 2, 3 above 2.
  trees.add_tree(std::array<ResidualTrees::Question, 2>{{{0, 0}, {0, 1}}},
                 std::array<double, 4>{0.0, 12.7, 5.0, -12.7});
  return trees;
}

TEST(ResidualTrees, TheAnswersOfATreeAreTheBitsOfItsLeaf) {
  const ResidualTrees trees = two_trees();
  const float low[] = {0.5F, 5.0F};      // 0.5 + 1.27 + 0
  const float middle[] = {1.5F, 11.0F};  // 0.5 + 0.64 + 12.7
  const float high[] = {3.0F, 5.0F};     // 0.5 + 0 - 12.7
  EXPECT_NEAR(trees.evaluate(low), 1.77, 1e-6);
  EXPECT_NEAR(trees.evaluate(middle), 13.84, 1e-6);
  EXPECT_NEAR(trees.evaluate(high), -12.2, 1e-6);
}

TEST(ResidualTrees, AThresholdItselfIsNotAbove) {
  const float at[] = {1.0F, 10.0F};
  EXPECT_NEAR(two_trees().evaluate(at), 1.77, 1e-6);
}

TEST(ResidualTrees, LeavesAreWithinHalfAStepOfWhatWasGiven) {
  ResidualTrees trees(1, 0.0, {{0.0F}});
  trees.add_tree(std::array<ResidualTrees::Question, 1>{{{0, 0}}},
                 std::array<double, 2>{1.0, 0.3333});
  const float below[] = {-1.0F};
  const float above[] = {1.0F};
  EXPECT_NEAR(trees.evaluate(below), 1.0, 1e-6);
  EXPECT_NEAR(trees.evaluate(above), 0.3333, 0.5 / 127.0);  // step: largest leaf / 127
}

TEST(ResidualTrees, AnyNumberOfTreesAddsUpTheLeavesThatTheirQuestionsName) {
  RandomStream random(3, "test/trees");
  for (const std::size_t num_trees : {1U, 7U, 48U, 49U, 205U}) {
    for (const std::size_t depth : {1U, 5U, 6U, 8U}) {
      // Thresholds in a clump, alone, spread out; the third feature has none.
      std::vector<std::vector<float>> thresholds = {
          {0.0F, 1e-4F, 2e-4F, 3e-4F, 4e-4F, 100.0F}, {5.0F}, {}, {}};
      for (int i = 0; i < 200; ++i) {
        thresholds[3].push_back(static_cast<float>(i) - 100.0F);
      }
      ResidualTrees trees(static_cast<int>(depth), 0.25, thresholds);
      std::vector<std::vector<ResidualTrees::Question>> questions;
      std::vector<std::vector<double>> leaves;
      for (std::size_t tree = 0; tree < num_trees; ++tree) {
        questions.emplace_back();
        for (std::size_t d = 0; d < depth; ++d) {
          const std::size_t feature = std::array<std::size_t, 3>{0, 1, 3}[random.below(3)];
          questions.back().push_back(
              {static_cast<std::uint8_t>(feature),
               static_cast<std::uint8_t>(random.below(thresholds[feature].size()))});
        }
        leaves.emplace_back(std::size_t{1} << depth);
        for (double& leaf : leaves.back()) {
          leaf = static_cast<double>(random.below(255)) - 127.0;
        }
        leaves.back()[0] = 127.0;  // the scale is 1, so that every leaf is a whole number
        trees.add_tree(questions.back(), leaves.back());
      }
      const float infinity = std::numeric_limits<float>::infinity();
      for (const float first : {-infinity, 0.0F, 1.5e-4F, 3e-4F, 50.0F, 100.0F, infinity}) {
        for (const float last : {-1e9F, -100.0F, -0.5F, 37.25F, 99.5F, 1e9F}) {
          const float x[] = {first, 5.0F, 1.0F, last};
          double expected = 0.25;
          for (std::size_t tree = 0; tree < num_trees; ++tree) {
            std::size_t leaf = 0;
            for (std::size_t d = 0; d < depth; ++d) {
              const ResidualTrees::Question& q = questions[tree][d];
              leaf += (x[q.feature] > thresholds[q.feature][q.threshold] ? 1U : 0U) << d;
            }
            expected += leaves[tree][leaf];
          }
          EXPECT_EQ(trees.evaluate(x), expected) << num_trees << " trees of depth " << depth;
        }
      }
    }
  }
}

std::vector<float> floats_of(const Json& json, const char* key) {
  std::vector<std::uint8_t> bytes;
  EXPECT_TRUE(base64_decode(json.find(key)->as_text(), bytes));
  std::vector<float> values(bytes.size() / 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t bits = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) {
      bits |= static_cast<std::uint32_t>(bytes[4 * i + byte]) << (8 * byte);
    }
    values[i] = std::bit_cast<float>(bits);
  }
  return values;
}

/// Trees as their file describes them, walked question by question. Even and odd trees add up in
/// single precision on their own, in order: the order decides the last bits.
class PlainTrees {
 public:
  explicit PlainTrees(const Json& json)
      : depth_(static_cast<std::size_t>(json.find("depth")->as_integer())),
        base_(json.find("base")->as_number()),
        thresholds_(floats_of(json, "thresholds")),
        scales_(floats_of(json, "scales")) {
    EXPECT_TRUE(base64_decode(json.find("questions")->as_text(), questions_));
    EXPECT_TRUE(base64_decode(json.find("leaves")->as_text(), leaves_));
    std::size_t first = 0;
    for (const Json& count : json.find("num_thresholds")->items()) {
      first_threshold_.push_back(first);
      first += static_cast<std::size_t>(count.as_integer());
    }
  }
  const std::vector<float>& thresholds() const { return thresholds_; }
  double evaluate(const float* x) const {
    std::array<float, 2> sums{};
    for (std::size_t tree = 0; tree < scales_.size(); ++tree) {
      std::size_t leaf = 0;
      for (std::size_t d = 0; d < depth_; ++d) {
        const std::uint8_t* question = &questions_[2 * (tree * depth_ + d)];
        const float threshold = thresholds_[first_threshold_[question[0]] + question[1]];
        leaf += (x[question[0]] > threshold ? 1U : 0U) << d;
      }
      const auto steps = static_cast<std::int8_t>(leaves_[(tree << depth_) + leaf]);
      sums[tree % 2] += scales_[tree] * static_cast<float>(steps);
    }
    return base_ + (static_cast<double>(sums[0]) + static_cast<double>(sums[1]));
  }

 private:
  std::size_t depth_;
  double base_;
  std::vector<float> thresholds_;
  std::vector<float> scales_;
  std::vector<std::uint8_t> questions_;
  std::vector<std::uint8_t> leaves_;
  std::vector<std::size_t> first_threshold_;
};

TEST(ResidualTrees, ShippedTreesAddUpToTheBitsOfAPlainWalk) {
  RandomStream random(11, "test/plain_walk");
  const float infinity = std::numeric_limits<float>::infinity();
  const std::string folder = std::string(MOESIM_SOURCE_DIR) + "/hardware_profiles/curves";
  std::size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") {
      continue;
    }
    const CurveSet set = CurveSet::load(entry.path().string());
    if (!set.transferred_from.empty()) {
      continue;  // the trees of its base
    }
    for (const CostCurve& curve : set.curves()) {
      for (const ResidualTrees* trees : {&curve.residual, &curve.band}) {
        if (trees->num_trees() == 0) {
          continue;
        }
        const PlainTrees plain(trees->to_json());
        for (int i = 0; i < 200; ++i) {
          FeatureVector x{};
          for (std::size_t f = 0; f < curve.ranges.size(); ++f) {
            const FeatureRange& range = curve.ranges[f];
            const auto share = static_cast<float>(1.2 * random.uniform() - 0.1);
            x[f] = range.low + share * (range.high - range.low);
          }
          // A threshold itself, and what no op has.
          const float odd[] = {plain.thresholds()[random.below(plain.thresholds().size())],
                               infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
          x[random.below(curve.ranges.size())] = odd[random.below(4)];
          ASSERT_EQ(trees->evaluate(x.data()), plain.evaluate(x.data())) << entry.path();
          ++compared;
        }
      }
    }
  }
  EXPECT_GE(compared, 20000u);
}

TEST(ResidualTrees, AFileHoldsTheSameTrees) {
  const ResidualTrees trees = two_trees();
  std::string problem;
  const ResidualTrees read = ResidualTrees::from_json(trees.to_json(), 2, problem);
  EXPECT_EQ(problem, "");
  ASSERT_EQ(read.num_trees(), 2u);
  for (const float a : {0.0F, 1.0F, 1.7F, 2.5F}) {
    for (const float b : {9.0F, 12.0F}) {
      const float x[] = {a, b};
      EXPECT_EQ(read.evaluate(x), trees.evaluate(x));
    }
  }
}

TEST(ResidualTrees, DamagedFilesAreRefusedWithAReason) {
  const auto problem_with = [](const char* key, Json value) {
    Json json = two_trees().to_json();
    json.set(key, std::move(value));
    std::string problem;
    EXPECT_EQ(ResidualTrees::from_json(json, 2, problem).num_trees(), 0u);
    return problem;
  };
  EXPECT_EQ(problem_with("depth", 0), "depth must be a whole number from 1 to 8");
  EXPECT_EQ(problem_with("leaves", "AAAA"),
            "questions and leaves do not match the number of trees");
  EXPECT_EQ(problem_with("leaves", "?"), "questions and leaves must be base64 text");
  EXPECT_EQ(problem_with("questions", "CQAAAAAAAAA="),  // first byte 9: feature 9 of 2
            "a question names a feature or threshold that is not there");
  EXPECT_EQ(problem_with("scales", "AACAfw=="),  // 0x7f800000 is infinity
            "thresholds and scales must be base64 of finite binary32 numbers");
}

TEST(ResidualTrees, Base64FollowsItsStandard) {
  // RFC 4648, section 10.
  const std::string foobar = "foobar";
  const char* expected[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
  for (std::size_t n = 0; n <= foobar.size(); ++n) {
    const std::vector<std::uint8_t> bytes(foobar.begin(),
                                          foobar.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_EQ(base64_encode(bytes), expected[n]);
    std::vector<std::uint8_t> back;
    ASSERT_TRUE(base64_decode(expected[n], back));
    EXPECT_EQ(back, bytes);
  }
  std::vector<std::uint8_t> bytes;
  EXPECT_FALSE(base64_decode("Zg=", bytes));
  EXPECT_FALSE(base64_decode("Z===", bytes));
}

}  // namespace
}  // namespace moesim

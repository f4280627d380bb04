// SPDX-License-Identifier: Apache-2.0
// A sum of small decision trees: the smooth part of log(measured / law) that the law leaves.
//
// Each tree asks the same `depth` questions "is feature f above t?" whatever the answers before
// (an oblivious tree), so it is a table of 2^depth leaves indexed by the answer bits: no branches,
// a few nanoseconds a tree, and two bytes a question plus one byte a leaf in a file. Leaves are
// 8-bit multiples of one scale a tree. Source of the form: Kohavi, "Bottom-up induction of
// oblivious, read-once decision graphs" (1994); sums of them as in gradient boosting, Friedman
// (2001).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/base/json.h"

namespace moesim {

class ResidualTrees {
 public:
  struct Question {
    std::uint8_t feature = 0;
    std::uint8_t threshold = 0;  ///< index into the feature's thresholds
  };

  ResidualTrees() = default;
  /// `thresholds` [features][ascending, at most 255]. All trees have `depth` questions.
  ResidualTrees(int depth, double base, std::vector<std::vector<float>> thresholds);
  /// Appends a tree: `questions` [depth], `leaves` [2^depth], leaf index = sum answer_d << d.
  /// Leaves are rounded to 1/127 of the largest.
  void add_tree(std::span<const Question> questions, std::span<const double> leaves);

  /// `features` [features]. Cost: about 1.5 ns a tree.
  double evaluate(const float* features) const;
  std::size_t num_trees() const { return num_trees_; }

  /// {"depth", "base", "num_thresholds" [features], "thresholds", "scales", "questions", "leaves"};
  /// the last four are base64, numbers as little-endian binary32. Only thresholds that a question
  /// names are written.
  Json to_json() const;
  /// Throws nothing: problems go to `problem` (first one wins) and the result has no trees.
  static ResidualTrees from_json(const Json& json, std::size_t num_features, std::string& problem);

 private:
  /// Answer bits of a whole word of trees at once: a feature value falls between two thresholds,
  /// and for each such place the answers to all questions about the feature are known beforehand.
  void add_answers(std::span<const Question> questions);

  int depth_ = 1;
  double base_ = 0;
  std::size_t num_trees_ = 0;
  std::vector<std::vector<float>> thresholds_;
  std::vector<Question> questions_;
  std::vector<std::int8_t> quantised_;
  std::vector<float> scales_;
  std::vector<float> leaves_;           // [trees][2^depth]
  std::vector<std::size_t> first_row_;  // [features] of the rows of a feature's places
  std::size_t num_rows_ = 0;
  std::vector<std::uint64_t>
      answers_;  // [words][rows], `depth` bits a tree, 64 / depth trees a word
};

/// RFC 4648 with padding; `decode` returns false on any other character or a wrong length.
std::string base64_encode(std::span<const std::uint8_t> bytes);
bool base64_decode(std::string_view text, std::vector<std::uint8_t>& bytes);

}  // namespace moesim

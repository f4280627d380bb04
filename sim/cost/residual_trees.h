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

  /// Room for so many trees, so that adding them moves nothing.
  void reserve(std::size_t trees);
  /// `features` [features]. Cost: about 1 ns a tree.
  double evaluate(const float* features) const;
  std::size_t num_trees() const { return num_trees_; }

  /// {"depth", "base", "num_thresholds" [features], "thresholds", "scales", "questions", "leaves"};
  /// the last four are base64, numbers as little-endian binary32. Only thresholds that a question
  /// names are written.
  Json to_json() const;
  /// Throws nothing: problems go to `problem` (first one wins) and the result has no trees.
  static ResidualTrees from_json(const Json& json, std::size_t num_features, std::string& problem);

 private:
  /// A feature that has a cell of more than two thresholds.
  struct Crowded {
    std::uint32_t feature = 0;
    std::uint32_t most = 0;  ///< thresholds in one cell
    std::uint32_t end = 0;   ///< of the feature's thresholds in `above_`
  };

  void add_axis(std::size_t feature);
  void add_answers(std::span<const Question> questions);
  /// Cell of each feature's value; NaN goes to the first.
  void find_cells(const float* features, std::int32_t* cells) const;
  /// Sum of the leaves that the union of `rows` of `answers_` names; depth 0: `depth_`.
  template <int known_depth>
  double leaf_sum(std::span<const std::uint8_t* const> rows) const;

  int depth_ = 1;
  double base_ = 0;
  std::size_t num_trees_ = 0;
  std::vector<std::vector<float>> thresholds_;
  std::vector<Question> questions_;
  std::vector<std::int8_t> quantised_;  // [trees][2^depth]
  std::vector<float> scales_;           // [trees]
  std::vector<float> leaves_;           // [room][2^depth], zero beyond the trees
  /// A feature's axis from its first to its last threshold is cut into equal cells. The cell is
  /// monotone in the value, rounding included: a threshold in an earlier cell lies below the value,
  /// one in a later cell does not.
  std::vector<float> axis_low_;        // [features]
  std::vector<float> cells_per_unit_;  // [features]
  /// Row of values below all thresholds of the cell.
  std::vector<std::uint16_t> lowest_row_;  // [features][cells]
  std::vector<Crowded> crowded_;
  std::vector<std::uint32_t> first_row_;  // [features]
  /// A feature value lies above so many of its thresholds, and for each such number the answers to
  /// all questions about the feature are known beforehand: [rows][room], a tree's leaf in a byte.
  /// The leaves of an op are the union of one row a feature.
  std::vector<std::uint8_t> answers_;
  std::vector<float> above_;  // [rows]: the threshold that leads to the next row, or infinity
  std::size_t num_rows_ = 0;
  std::size_t room_ = 0;  ///< trees in a row, whole blocks
};

/// RFC 4648 with padding; `decode` returns false on any other character or a wrong length.
std::string base64_encode(std::span<const std::uint8_t> bytes);
bool base64_decode(std::string_view text, std::vector<std::uint8_t>& bytes);

}  // namespace moesim

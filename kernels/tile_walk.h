// SPDX-License-Identifier: Apache-2.0
// The order in which blocks that stay on their processor work through the output tiles of all
// groups.
//
// Row tiles come first within stripes of kStripe, so that the tiles in flight at one moment read
// few rows of A and few of B, which then stay in the cache: 132 tiles as 16 x 8 read 24 panels, in
// plain row order 133.
#pragma once

#include "kernels/gemm_tile.h"

namespace moesim::gpu::MOESIM_BACKEND {

/// Tiles of kRows x kCols over the groups of a GemmProblem; `find` must be asked for rising
/// indices.
template <int kRows, int kCols>
class TileWalk {
 public:
  static constexpr int kStripe = 16;

  MOESIM_DEVICE explicit TileWalk(const GemmProblem& problem)
      : problem_(problem), cols_((problem.n + kCols - 1) / kCols) {
    enter(0);
  }
  /// Whether tile `index` exists; then group(), first_row() to last_row() (not included, and at
  /// most kRows in the tile belong to it) and first_col() say where it is.
  MOESIM_DEVICE bool find(int index) {
    while (index - passed_ >= tiles_) {
      passed_ += tiles_;
      if (group_ + 1 >= problem_.num_groups) {
        return false;
      }
      enter(group_ + 1);
    }
    const int at = index - passed_;
    const int stripe = at / (kStripe * cols_);
    const int rows_before = stripe * kStripe;
    const int rows = rows_ - rows_before < kStripe ? rows_ - rows_before : kStripe;
    const int within = at - rows_before * cols_;
    first_row_ = begin_ + (rows_before + within % rows) * kRows;
    first_col_ = within / rows * kCols;
    return true;
  }
  MOESIM_DEVICE int group() const { return group_; }
  MOESIM_DEVICE int first_row() const { return first_row_; }
  MOESIM_DEVICE int last_row() const { return end_; }
  MOESIM_DEVICE int first_col() const { return first_col_; }

 private:
  MOESIM_DEVICE void enter(int group) {
    group_ = group;
    begin_ = problem_.offsets == nullptr ? 0 : problem_.offsets[group];
    end_ = problem_.offsets == nullptr ? problem_.num_rows : problem_.offsets[group + 1];
    rows_ = (end_ - begin_ + kRows - 1) / kRows;
    tiles_ = rows_ * cols_;
  }

  const GemmProblem& problem_;
  int cols_;        ///< column tiles
  int passed_ = 0;  ///< tiles of earlier groups
  int group_ = 0;
  int begin_ = 0;
  int end_ = 0;
  int rows_ = 0;   ///< row tiles of this group
  int tiles_ = 0;  ///< tiles of this group
  int first_row_ = 0;
  int first_col_ = 0;
};

}  // namespace moesim::gpu::MOESIM_BACKEND

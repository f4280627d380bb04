// SPDX-License-Identifier: Apache-2.0
#include "kernels/tile_walk.h"

#include <gtest/gtest.h>

#include <vector>

#include "sim/base/random.h"

namespace moesim::gpu::on_host {
namespace {

constexpr int kRows = 4;
constexpr int kCols = 8;

TEST(TileWalk, BlocksTogetherVisitEachElementOfEachGroupOnce) {
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(51, "tile walk test", static_cast<std::uint64_t>(trial));
    const int groups = 1 + static_cast<int>(random.below(7));
    std::vector<std::int32_t> offsets(1, 0);
    for (int group = 0; group < groups; ++group) {  // a third of the groups is empty
      const int rows = random.below(3) == 0 ? 0 : static_cast<int>(random.below(150));
      offsets.push_back(offsets.back() + rows);
    }
    GemmProblem problem{};
    problem.num_groups = groups;
    problem.num_rows = offsets.back();
    problem.n = 1 + static_cast<int>(random.below(60));
    if (groups > 1 || random.below(2) == 0) {
      problem.offsets = offsets.data();
    }
    std::vector<int> visits(static_cast<std::size_t>(problem.num_rows) * problem.n, 0);
    const int blocks = 1 + static_cast<int>(random.below(20));
    for (int block = 0; block < blocks; ++block) {
      TileWalk<kRows, kCols> walk(problem);
      for (int tile = block; walk.find(tile); tile += blocks) {
        ASSERT_EQ(walk.last_row(), offsets[walk.group() + 1]);
        ASSERT_GE(walk.first_row(), offsets[walk.group()]);
        for (int row = walk.first_row(); row < walk.first_row() + kRows; ++row) {
          for (int col = walk.first_col(); col < walk.first_col() + kCols; ++col) {
            if (row < walk.last_row() && col < problem.n) {
              ++visits[static_cast<std::size_t>(row) * problem.n + col];
            }
          }
        }
      }
    }
    EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
  }
}

TEST(TileWalk, TilesInFlightShareRowsAndColumns) {
  // 40 row tiles, 30 column tiles: the first 128 tiles are 16 row tiles x 8 column tiles.
  GemmProblem problem{};
  problem.num_groups = 1;
  problem.num_rows = 40 * kRows;
  problem.n = 30 * kCols;
  TileWalk<kRows, kCols> walk(problem);
  for (int tile = 0; tile < 128; ++tile) {
    ASSERT_TRUE(walk.find(tile));
    EXPECT_EQ(walk.first_row(), tile % 16 * kRows);
    EXPECT_EQ(walk.first_col(), tile / 16 * kCols);
  }
}

}  // namespace
}  // namespace moesim::gpu::on_host

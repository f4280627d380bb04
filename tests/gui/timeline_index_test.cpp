// SPDX-License-Identifier: GPL-3.0-or-later
// Windows, neighbours, search and sums of the timeline, against counting by hand.
#include "gui/timeline_index.h"

#include <gtest/gtest.h>

namespace moesim::gui {
namespace {

/// Two GPUs; on each three slices of 10 ps from 0, 20 and 40: attention, experts, attention.
Timeline threeSlices() {
  Timeline timeline;
  timeline.kinds = {"attention", "experts"};
  timeline.streams = {"compute", "communication"};
  const LabelId first = timeline.labels.intern("layer 1 attention");
  const LabelId second = timeline.labels.intern("layer 1 experts");
  for (std::uint32_t gpu = 0; gpu < 2; ++gpu) {
    for (int i = 0; i < 3; ++i) {
      Span span;
      span.start = SimTime(20 * i);
      span.end = SimTime(20 * i + 10);
      span.device = gpu;
      span.kind = i == 1 ? 1 : 0;
      span.label = i == 1 ? second : first;
      timeline.spans.push_back(span);
    }
  }
  return timeline;
}

TEST(GuiTimelineIndex, FindsTheSliceUnderATimeAndNothingInGaps) {
  const TimelineIndex index(threeSlices());
  ASSERT_EQ(index.lanes().size(), 2U) << "streams without slices have no lane";
  EXPECT_EQ(index.sliceAt(0, 0), 0);
  EXPECT_EQ(index.sliceAt(0, 9), 0);
  EXPECT_EQ(index.sliceAt(0, 10), -1);
  EXPECT_EQ(index.sliceAt(0, 25), 1);
  EXPECT_EQ(index.sliceAt(0, 50), -1);
  EXPECT_EQ(index.sliceAt(7, 0), -1);
}

TEST(GuiTimelineIndex, SumsTimeByKindWithinAWindow) {
  const TimelineIndex index(threeSlices());
  // [5, 45) holds 5 ps of the first, 10 of the second, 5 of the third slice, on each of two lanes.
  const WindowSum sum = index.sum(0, 1, 5, 45);
  EXPECT_EQ(sum.byKind[0], 2 * (5 + 5));
  EXPECT_EQ(sum.byKind[1], 2 * 10);
  EXPECT_EQ(sum.slices, 6);
}

TEST(GuiTimelineIndex, SearchWalksThroughTimeAndWrapsAround) {
  const TimelineIndex index(threeSlices());
  const std::vector<bool> matches = index.matching("EXPERTS");
  SliceRef at = index.nextMatch(matches, {}, 1);
  EXPECT_EQ(at, (SliceRef{0, 1}));
  at = index.nextMatch(matches, at, 1);
  EXPECT_EQ(at, (SliceRef{1, 1})) << "the same time on the next lane";
  at = index.nextMatch(matches, at, 1);
  EXPECT_EQ(at, (SliceRef{0, 1})) << "around";
  EXPECT_FALSE(index.nextMatch(index.matching("nowhere"), {}, 1).isValid());
}

TEST(GuiTimelineIndex, NeighboursStopAtTheEndsOfALane) {
  const TimelineIndex index(threeSlices());
  EXPECT_EQ(index.neighbour({0, 0}, -1), (SliceRef{0, 0}));
  EXPECT_EQ(index.neighbour({0, 0}, 1), (SliceRef{0, 1}));
  EXPECT_EQ(index.neighbour({0, 2}, 1), (SliceRef{0, 2}));
}

TEST(GuiTimelineIndex, RowsOfTheTableGoLaneByLane) {
  const TimelineIndex index(threeSlices());
  EXPECT_EQ(index.at(0), (SliceRef{0, 0}));
  EXPECT_EQ(index.at(3), (SliceRef{1, 0}));
  EXPECT_EQ(index.at(5), (SliceRef{1, 2}));
}

TEST(GuiTimelineIndex, AnEmptyTimelineHasNoLanes) {
  const TimelineIndex index{Timeline{}};
  EXPECT_TRUE(index.lanes().empty());
  EXPECT_EQ(index.numSlices(), 0);
  EXPECT_FALSE(index.neighbour({}, 1).isValid());
}

}  // namespace
}  // namespace moesim::gui

// SPDX-License-Identifier: GPL-3.0-or-later
// A timeline in the order in which it is drawn: one lane per stream of a GPU and per link, slices
// of a lane by time, so that any window is found by bisection.
//
// A window is drawn in time proportional to lanes x pixels, whatever the number of slices: from one
// pixel to the next the index jumps over everything that starts in between. Building it sorts once.
#pragma once

#include <QString>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "gui/answer.h"

namespace moesim::gui {

struct Slice {
  std::int64_t start = 0;  ///< ps
  std::int64_t end = 0;
  std::uint32_t label = 0;
  std::uint16_t kind = 0;
  float utilisation = 1;  ///< links: height of the bar
};

struct Lane {
  QString name;
  int device = -1;            ///< -1: a link
  std::vector<Slice> slices;  ///< by start; they do not overlap
};

/// Where a slice is.
struct SliceRef {
  int lane = -1;
  int slice = -1;
  bool isValid() const { return lane >= 0; }
  friend bool operator==(const SliceRef&, const SliceRef&) = default;
};

/// Time by kind within a window.
struct WindowSum {
  std::vector<std::int64_t> byKind;  ///< ps, summed over lanes
  std::int64_t slices = 0;
};

class TimelineIndex {
 public:
  explicit TimelineIndex(const Timeline& timeline);

  const std::vector<Lane>& lanes() const { return lanes_; }
  const std::vector<QString>& kinds() const { return kinds_; }
  /// Whether any slice is of this kind.
  bool hasKind(std::size_t kind) const { return hasKind_[kind]; }
  const QString& label(const Slice& slice) const;
  std::int64_t begin() const { return begin_; }
  std::int64_t end() const { return end_; }
  std::int64_t numSlices() const { return numSlices_; }

  /// The slice of a lane at `time`, or -1.
  int sliceAt(int lane, std::int64_t time) const;
  /// First slice of a lane that ends after `time`.
  int firstEndingAfter(int lane, std::int64_t time) const;
  /// The same for a time that is probably not far after slice `from`: doubles its steps from there.
  int firstEndingAfter(int lane, std::int64_t time, int from) const;
  SliceRef neighbour(const SliceRef& from, int direction) const;
  /// Labels that hold `words`, ignoring case [labels].
  std::vector<bool> matching(const QString& words) const;
  /// The next slice in time, after `from`, whose label matches; wraps around.
  SliceRef nextMatch(const std::vector<bool>& matches, const SliceRef& from, int direction) const;
  /// Over lanes [firstLane, lastLane] and [from, to) ps.
  WindowSum sum(int firstLane, int lastLane, std::int64_t from, std::int64_t to) const;
  /// The slice with this running number, lane after lane (rows of the table twin).
  SliceRef at(std::int64_t row) const;

 private:
  std::vector<Lane> lanes_;
  std::vector<QString> kinds_;
  std::vector<bool> hasKind_;  ///< [kinds]
  std::vector<QString> labels_;
  std::vector<std::int64_t> firstRow_;  ///< [lanes]
  std::int64_t begin_ = 0;
  std::int64_t end_ = 1;
  std::int64_t numSlices_ = 0;
};

}  // namespace moesim::gui

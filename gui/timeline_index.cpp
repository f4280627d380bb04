// SPDX-License-Identifier: GPL-3.0-or-later
#include "gui/timeline_index.h"

#include <algorithm>
#include <cmath>

#include "gui/text.h"

namespace moesim::gui {

TimelineIndex::TimelineIndex(const Timeline& timeline) {
  for (const std::string& kind : timeline.kinds) {
    kinds_.push_back(text(kind));
  }
  labels_.reserve(timeline.labels.size() + 1);
  for (std::size_t i = 0; i < timeline.labels.size(); ++i) {
    labels_.push_back(text(timeline.labels.text(static_cast<LabelId>(i))));
  }
  labels_.push_back(QStringLiteral("in use"));  // of links
  const std::size_t streams = std::max<std::size_t>(1, timeline.streams.size());
  std::size_t devices = 0;
  for (const Span& span : timeline.spans) {
    devices = std::max<std::size_t>(devices, span.device + std::size_t{1});
  }
  std::vector<std::size_t> count(devices * streams, 0);
  for (const Span& span : timeline.spans) {
    ++count[span.device * streams + span.stream];
  }
  std::vector<int> laneOf(devices * streams, -1);
  for (std::size_t i = 0; i < count.size(); ++i) {
    if (count[i] > 0) {
      laneOf[i] = static_cast<int>(lanes_.size());
      Lane lane;
      lane.device = static_cast<int>(i / streams);
      lane.name =
          QStringLiteral("GPU %1 %2")
              .arg(i / streams)
              .arg(timeline.streams.empty() ? QString() : wordsOf(timeline.streams[i % streams]));
      lane.slices.reserve(count[i]);
      lanes_.push_back(std::move(lane));
    }
  }
  begin_ = timeline.spans.empty() ? 0 : INT64_MAX;
  end_ = 0;
  hasKind_.assign(kinds_.size() + 1, false);
  for (const Span& span : timeline.spans) {
    hasKind_[span.kind] = true;
    Lane& lane = lanes_[static_cast<std::size_t>(laneOf[span.device * streams + span.stream])];
    lane.slices.push_back({span.start.picoseconds(), span.end.picoseconds(),
                           static_cast<std::uint32_t>(span.label), span.kind, 1});
    begin_ = std::min(begin_, span.start.picoseconds());
    end_ = std::max(end_, span.end.picoseconds());
  }
  const auto linkKind = static_cast<std::uint16_t>(kinds_.size());
  kinds_.push_back(QStringLiteral("link"));
  const auto linkLabel = static_cast<std::uint32_t>(labels_.size() - 1);
  for (const LinkTrack& track : timeline.links) {
    Lane lane;
    lane.name = text(track.name);
    hasKind_[linkKind] = hasKind_[linkKind] || !track.intervals.empty();
    for (const LinkTrack::Interval& interval : track.intervals) {
      lane.slices.push_back({interval.start.picoseconds(), interval.end.picoseconds(), linkLabel,
                             linkKind, interval.utilisation});
      end_ = std::max(end_, interval.end.picoseconds());
    }
    lanes_.push_back(std::move(lane));
  }
  for (Lane& lane : lanes_) {
    const auto earlier = [](const Slice& a, const Slice& b) { return a.start < b.start; };
    if (!std::is_sorted(lane.slices.begin(), lane.slices.end(), earlier)) {
      std::sort(lane.slices.begin(), lane.slices.end(), earlier);
    }
    firstRow_.push_back(numSlices_);
    numSlices_ += static_cast<std::int64_t>(lane.slices.size());
  }
  end_ = std::max(end_, begin_ + 1);
}

const QString& TimelineIndex::label(const Slice& slice) const { return labels_[slice.label]; }

int TimelineIndex::firstEndingAfter(int lane, std::int64_t time) const {
  // Slices of a lane do not overlap, so their ends rise with their starts.
  const std::vector<Slice>& slices = lanes_[static_cast<std::size_t>(lane)].slices;
  const auto found = std::partition_point(slices.begin(), slices.end(),
                                          [time](const Slice& s) { return s.end <= time; });
  return static_cast<int>(found - slices.begin());
}

int TimelineIndex::firstEndingAfter(int lane, std::int64_t time, int from) const {
  const std::vector<Slice>& slices = lanes_[static_cast<std::size_t>(lane)].slices;
  const auto count = static_cast<int>(slices.size());
  int low = from;
  int step = 1;
  while (low + step < count && slices[static_cast<std::size_t>(low + step)].end <= time) {
    low += step;
    step *= 2;
  }
  const auto begin = slices.begin() + low;
  const auto end = slices.begin() + std::min(count, low + step + 1);
  return static_cast<int>(
      std::partition_point(begin, end, [time](const Slice& s) { return s.end <= time; }) -
      slices.begin());
}

int TimelineIndex::sliceAt(int lane, std::int64_t time) const {
  if (lane < 0 || lane >= static_cast<int>(lanes_.size())) {
    return -1;
  }
  const std::vector<Slice>& slices = lanes_[static_cast<std::size_t>(lane)].slices;
  const int at = firstEndingAfter(lane, time);
  return at < static_cast<int>(slices.size()) && slices[static_cast<std::size_t>(at)].start <= time
             ? at
             : -1;
}

SliceRef TimelineIndex::neighbour(const SliceRef& from, int direction) const {
  if (!from.isValid()) {
    return lanes_.empty() || lanes_.front().slices.empty() ? SliceRef{} : SliceRef{0, 0};
  }
  const auto count = static_cast<int>(lanes_[static_cast<std::size_t>(from.lane)].slices.size());
  return {from.lane, std::clamp(from.slice + direction, 0, std::max(0, count - 1))};
}

std::vector<bool> TimelineIndex::matching(const QString& words) const {
  std::vector<bool> matches(labels_.size(), false);
  if (!words.isEmpty()) {
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      matches[i] = labels_[i].contains(words, Qt::CaseInsensitive);
    }
  }
  return matches;
}

SliceRef TimelineIndex::nextMatch(const std::vector<bool>& matches, const SliceRef& from,
                                  int direction) const {
  // By (start, lane), so that the search walks through time and not lane by lane.
  using Key = std::pair<std::int64_t, int>;
  const Key here = from.isValid() ? Key{lanes_[static_cast<std::size_t>(from.lane)]
                                            .slices[static_cast<std::size_t>(from.slice)]
                                            .start,
                                        from.lane}
                                  : Key{direction > 0 ? begin_ - 1 : end_ + 1, 0};
  SliceRef best;
  SliceRef wrapped;
  Key bestKey{};
  Key wrappedKey{};
  for (int lane = 0; lane < static_cast<int>(lanes_.size()); ++lane) {
    const std::vector<Slice>& slices = lanes_[static_cast<std::size_t>(lane)].slices;
    for (int i = 0; i < static_cast<int>(slices.size()); ++i) {
      if (!matches[slices[static_cast<std::size_t>(i)].label]) {
        continue;
      }
      const Key key{slices[static_cast<std::size_t>(i)].start, lane};
      const bool isBeyond = direction > 0 ? key > here : key < here;
      SliceRef& target = isBeyond ? best : wrapped;
      Key& targetKey = isBeyond ? bestKey : wrappedKey;
      if (!target.isValid() || (direction > 0 ? key < targetKey : key > targetKey)) {
        target = {lane, i};
        targetKey = key;
      }
    }
  }
  return best.isValid() ? best : wrapped;
}

WindowSum TimelineIndex::sum(int firstLane, int lastLane, std::int64_t from,
                             std::int64_t to) const {
  WindowSum sum;
  sum.byKind.assign(kinds_.size(), 0);
  for (int lane = std::max(0, firstLane);
       lane <= std::min(lastLane, static_cast<int>(lanes_.size()) - 1); ++lane) {
    const std::vector<Slice>& slices = lanes_[static_cast<std::size_t>(lane)].slices;
    for (auto i = static_cast<std::size_t>(firstEndingAfter(lane, from));
         i < slices.size() && slices[i].start < to; ++i) {
      sum.byKind[slices[i].kind] += std::min(to, slices[i].end) - std::max(from, slices[i].start);
      ++sum.slices;
    }
  }
  return sum;
}

SliceRef TimelineIndex::at(std::int64_t row) const {
  const auto lane =
      std::upper_bound(firstRow_.begin(), firstRow_.end(), row) - firstRow_.begin() - 1;
  return {static_cast<int>(lane),
          static_cast<int>(row - firstRow_[static_cast<std::size_t>(lane)])};
}

}  // namespace moesim::gui

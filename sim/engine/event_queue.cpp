// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/event_queue.h"

#include <algorithm>

namespace moesim {
namespace {

bool happens_after(const Event& a, const Event& b) { return happens_before(b, a); }

}  // namespace

void EventQueue::push_near(const Event& event) {
  const std::size_t count = near_.size();
  if (count > kInsertReach && happens_before(near_[count - kInsertReach], event)) {
    late_.push_back(event);
    std::push_heap(late_.begin(), late_.end(), happens_after);
    return;
  }
  near_.push_back(event);
  std::size_t hole = count;
  while (hole > 0 && happens_before(near_[hole - 1], event)) {
    near_[hole] = near_[hole - 1];
    --hole;
  }
  near_[hole] = event;
}

Event EventQueue::pop_late() {
  std::pop_heap(late_.begin(), late_.end(), happens_after);
  const Event event = late_.back();
  late_.pop_back();
  now_ = event.time;
  return event;
}

template <class Visit>
void EventQueue::for_each_event(const Bucket& bucket, const Visit& visit) {
  std::size_t left = bucket.count;
  for (const Chunk* chunk = bucket.first; left > 0; chunk = chunk->next) {
    const std::size_t count = std::min(left, kChunkEvents);
    for (std::size_t i = 0; i < count; ++i) {
      visit(chunk->events[i]);
    }
    left -= count;
  }
}

void EventQueue::extend(Bucket& bucket) {
  if (free_chunks_ == nullptr) {
    add_slab();
  }
  Chunk* const chunk = free_chunks_;
  free_chunks_ = chunk->next;
  chunk->next = nullptr;
  if (bucket.first == nullptr) {
    bucket.first = chunk;
  } else {
    bucket.last->next = chunk;
  }
  bucket.last = chunk;
  bucket.cursor = chunk->events.data();
  bucket.end = bucket.cursor + kChunkEvents;
}

void EventQueue::add_slab() {
  slabs_.push_back(std::make_unique<Chunk[]>(kSlabChunks));
  for (std::size_t i = 0; i < kSlabChunks; ++i) {
    slabs_.back()[i].next = free_chunks_;
    free_chunks_ = &slabs_.back()[i];
  }
}

void EventQueue::refill() {
  // All events wait in buckets, at or after base_. A digit that differs first is the larger one, so
  // the lowest level holds the earliest events, and in it the lowest digit.
  while (near_.empty()) {
    const std::size_t level = static_cast<std::size_t>(std::countr_zero(occupied_levels_));
    const std::size_t digit = static_cast<std::size_t>(std::countr_zero(occupied_[level]));
    Bucket& source = buckets_[level * kFanout + digit];
    const Bucket bucket = source;
    source.cursor = source.end = nullptr;
    source.first = nullptr;
    source.count = 0;
    occupied_[level] &= occupied_[level] - 1;
    if (occupied_[level] == 0) {
      occupied_levels_ &= occupied_levels_ - 1;
    }
    if (bucket.count <= kNearTarget) {
      take_few(bucket);
    } else if (level == 0) {
      take_equal_times(bucket);
    } else {
      deal_out(bucket, static_cast<int>(level));
    }
    bucket.last->next = free_chunks_;
    free_chunks_ = bucket.first;
  }
}

void EventQueue::take_few(const Bucket& bucket) {
  near_.resize(bucket.count);
  Event* const sorted = near_.data();
  std::size_t count = 0;
  for_each_event(bucket, [&](const Event& event) {
    std::size_t hole = count++;
    while (hole > 0 && happens_before(sorted[hole - 1], event)) {
      sorted[hole] = sorted[hole - 1];
      --hole;
    }
    sorted[hole] = event;
  });
  base_ = static_cast<std::uint64_t>(sorted[0].time.picoseconds());
  near_end_ = base_ + 1;
}

void EventQueue::take_equal_times(const Bucket& bucket) {
  near_.reserve(bucket.count);
  for_each_event(bucket, [&](const Event& event) { near_.push_back(event); });
  // Without priorities they are in order of arrival already.
  if (std::is_sorted(near_.begin(), near_.end(), happens_before)) {
    std::reverse(near_.begin(), near_.end());
  } else {
    std::sort(near_.begin(), near_.end(), happens_after);
  }
  base_ = static_cast<std::uint64_t>(near_.front().time.picoseconds());
  near_end_ = base_ + 1;
}

void EventQueue::deal_out(const Bucket& bucket, int level) {
  const int shift = level * kDigitBits;
  const std::uint64_t time = static_cast<std::uint64_t>(bucket.first->events[0].time.picoseconds());
  base_ = (time >> shift) << shift;  // the first time of the bucket
  near_end_ = base_;
  for_each_event(bucket, [&](const Event& event) { append(event); });
}

}  // namespace moesim

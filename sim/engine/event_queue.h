// SPDX-License-Identifier: Apache-2.0
// Pending events in the order (time, priority, sequence), exactly and the same on each machine.
//
// A radix queue: an event waits in the bucket of the highest base-32 digit in which its time
// differs from `base_`, a time just ahead of the clock (a hierarchical timing wheel whose wheels
// need no width to be chosen or adapted). When the near events run out, the earliest bucket is
// sorted if it is small, and otherwise dealt out again to the finer buckets of its own span:
//
//     push -> [coarse bucket] -> [finer bucket] -> near (sorted, a few events) -> pop
//
// Every move is a sequential append, so a million pending events cost few cache misses. No
// distribution of times is a trap: a time has 13 digits, so an event moves at most 13 times; equal
// times are sorted once; what arrives among the near events goes into a heap unless it is next.
// Worst case O(13 + log n) for each event, typically two or three moves.
// References: Ahuja, Mehlhorn, Orlin, Tarjan, "Faster algorithms for the shortest path problem",
// JACM 1990 (radix heap); Varghese & Lauck, "Hashed and hierarchical timing wheels", SOSP 1987;
// Tang, Goh, Thng, "Ladder queue", TOMACS 2005 (sorting only the events that are next).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/sim_time.h"

namespace moesim {

/// Something that happens at `time`; what it means is the owner's business.
struct Event {
  SimTime time;
  std::uint64_t order = 0;  ///< priority (upper 16 bits, offset by 2^15), then sequence (lower 48)
  std::uint64_t data = 0;   ///< the caller's

  int priority() const { return static_cast<int>(order >> 48) - 32768; }
  std::uint64_t sequence() const { return order & 0xffffffffffffull; }
};

/// True when `a` happens before `b`; sequences differ, so this is a total order.
inline bool happens_before(const Event& a, const Event& b) {
  return a.time != b.time ? a.time < b.time : a.order < b.order;
}

/// Not copyable; about 17 KB when empty, 24 bytes and some slack for each pending event.
class EventQueue {
 public:
  EventQueue() = default;
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  /// Adds an event at `time` >= now(). Among equal times the lower `priority` comes first, among
  /// equal priorities the one pushed first.
  void push(SimTime time, std::int16_t priority, std::uint64_t data) {
    MOESIM_CHECK(time >= now_, "an event cannot be scheduled before the current time");
    const std::uint64_t order = (static_cast<std::uint64_t>(priority + 32768) << 48) | sequence_++;
    const Event event{time, order, data};
    if (static_cast<std::uint64_t>(time.picoseconds()) < near_end_) {
      push_near(event);
    } else {
      append(event);
    }
  }

  /// The next event; the queue must not be empty.
  const Event& top() {
    MOESIM_CHECK(!empty(), "an empty event queue has no next event");
    if (near_.empty() && late_.empty()) {
      refill();
    }
    return next_is_late() ? late_.front() : near_.back();
  }

  /// Removes and returns the next event and advances the clock to it; the queue must not be empty.
  Event pop() {
    MOESIM_CHECK(!empty(), "an empty event queue has no next event");
    if (near_.empty() && late_.empty()) {
      refill();
    }
    ++num_popped_;
    if (next_is_late()) [[unlikely]] {
      return pop_late();
    }
    const Event event = near_.back();
    near_.pop_back();
    now_ = event.time;
    return event;
  }

  bool empty() const { return num_popped_ == sequence_; }
  std::size_t size() const { return sequence_ - num_popped_; }
  /// Time of the event popped last; zero at first.
  SimTime now() const { return now_; }

 private:
  static constexpr int kDigitBits = 5;
  static constexpr int kFanout = 1 << kDigitBits;
  static constexpr int kLevels = (63 + kDigitBits - 1) / kDigitBits;
  static constexpr std::size_t kChunkEvents = 13;  // 320 bytes with the link: five cache lines
  static constexpr std::size_t kSlabChunks = 32;
  static constexpr std::size_t kNearTarget = 24;  // a bucket of at most this many is sorted at once
  static constexpr std::size_t kInsertReach = 24;  // how far a push may shift the near events

  struct Chunk {
    std::array<Event, kChunkEvents> events;
    Chunk* next = nullptr;
  };
  /// A list of chunks in the order of arrival; all are full but the last.
  struct Bucket {
    Event* cursor = nullptr;
    Event* end = nullptr;
    Chunk* first = nullptr;
    Chunk* last = nullptr;
    std::size_t count = 0;
  };

  bool next_is_late() const {
    return !late_.empty() && (near_.empty() || happens_before(late_.front(), near_.back()));
  }

  /// Puts an event that is due no earlier than `base_` into the bucket of its first digit that
  /// differs.
  void append(const Event& event) {
    const std::uint64_t time = static_cast<std::uint64_t>(event.time.picoseconds());
    const int level = (63 - std::countl_zero((time ^ base_) | 1)) / kDigitBits;
    const int digit = static_cast<int>(time >> (level * kDigitBits)) & (kFanout - 1);
    Bucket& bucket = buckets_[static_cast<std::size_t>(level * kFanout + digit)];
    if (bucket.cursor == bucket.end) [[unlikely]] {
      extend(bucket);
      occupied_[static_cast<std::size_t>(level)] |= std::uint64_t{1} << digit;
      occupied_levels_ |= 1u << level;
    }
    *bucket.cursor++ = event;
    ++bucket.count;
  }

  void push_near(const Event& event);
  Event pop_late();
  void extend(Bucket& bucket);
  template <class Visit>
  static void for_each_event(const Bucket& bucket, const Visit& visit);
  void refill();
  void take_few(const Bucket& bucket);
  void take_equal_times(const Bucket& bucket);
  void deal_out(const Bucket& bucket, int level);
  void add_slab();

  SimTime now_;
  // Events before near_end_ are in near_ or late_, the rest in buckets; their digits are compared
  // with base_, and near_end_ - 1 <= base_ <= near_end_.
  std::uint64_t near_end_ = 0;
  std::uint64_t base_ = 0;
  std::uint64_t sequence_ = 0;  // of the next push
  std::uint64_t num_popped_ = 0;
  std::vector<Event> near_;  // latest first, so that the next one is at the back
  std::vector<Event> late_;  // min-heap of what arrived among many near events
  std::array<Bucket, static_cast<std::size_t>(kLevels* kFanout)> buckets_;
  std::array<std::uint64_t, kLevels> occupied_{};  // one bit for each bucket of a level
  std::uint32_t occupied_levels_ = 0;
  Chunk* free_chunks_ = nullptr;
  std::vector<std::unique_ptr<Chunk[]>> slabs_;
};

}  // namespace moesim

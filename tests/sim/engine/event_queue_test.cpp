// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/event_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "sim/base/random.h"

namespace moesim {
namespace {

/// What the queue must equal: a binary heap on (time, priority, order of arrival).
struct Expected {
  std::int64_t time;
  int priority;
  std::uint64_t arrival;
  auto operator<=>(const Expected&) const = default;
};
using Model = std::priority_queue<Expected, std::vector<Expected>, std::greater<>>;

struct Distribution {
  std::string name;
  std::function<std::int64_t(RandomStream&)> gap;  // picoseconds from now to the new event
};

std::vector<Distribution> distributions() {
  return {
      {"all equal times", [](RandomStream&) { return 0; }},
      {"equal gaps", [](RandomStream&) { return 1000; }},
      {"few distinct gaps", [](RandomStream& r) { return static_cast<std::int64_t>(r.below(3)); }},
      {"uniform", [](RandomStream& r) { return static_cast<std::int64_t>(r.below(1'000'000)); }},
      {"exponential",
       [](RandomStream& r) { return static_cast<std::int64_t>(r.exponential() * 1e7); }},
      {"bimodal",
       [](RandomStream& r) {
         return static_cast<std::int64_t>(r.below(10) == 0 ? 1'000'000'000'000 : r.below(100));
       }},
      {"every scale", [](RandomStream& r) { return std::int64_t{1} << r.below(56); }},
      {"far future and now",
       [](RandomStream& r) {
         return static_cast<std::int64_t>(
             r.below(2) == 0 ? 0 : (std::int64_t{1} << 55) + static_cast<std::int64_t>(r.below(7)));
       }},
      {"heavy tail",
       [](RandomStream& r) {
         return static_cast<std::int64_t>(portable_exp(r.exponential() * 2.0));
       }},
  };
}

void expect_same(const Event& event, const Expected& expected) {
  ASSERT_EQ(event.time.picoseconds(), expected.time);
  ASSERT_EQ(event.priority(), expected.priority);
  ASSERT_EQ(event.data, expected.arrival);
  ASSERT_EQ(event.sequence(), expected.arrival);
}

/// Fills to `pending`, holds, then drains; mixes bursts of pushes and of pops in between.
void compare_with_heap(const Distribution& distribution, std::uint64_t seed, std::size_t pending,
                       std::size_t steps) {
  SCOPED_TRACE(distribution.name + ", seed " + std::to_string(seed));
  RandomStream random(seed, "event_queue_test");
  EventQueue queue;
  Model model;
  std::uint64_t arrivals = 0;
  const auto push = [&] {
    // Far gaps add up; at the end of time everything is due at once.
    const std::int64_t now = queue.now().picoseconds();
    const std::int64_t time = now + std::min(distribution.gap(random), INT64_MAX - now);
    const int priority = static_cast<int>(random.below(4)) - 2;
    queue.push(SimTime(time), static_cast<std::int16_t>(priority), arrivals);
    model.push({time, priority, arrivals});
    ++arrivals;
  };
  const auto pop = [&] {
    const Event next = queue.top();
    expect_same(next, model.top());
    expect_same(queue.pop(), model.top());
    ASSERT_EQ(queue.now().picoseconds(), model.top().time);
    model.pop();
  };
  for (std::size_t i = 0; i < pending; ++i) {
    push();
  }
  for (std::size_t step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
    if (random.below(100) == 0) {  // a burst
      for (std::uint64_t i = random.below(100); i > 0; --i) {
        push();
      }
    }
    ASSERT_EQ(queue.size(), model.size());
    pop();
    push();
    if (random.below(100) == 0) {
      for (std::uint64_t i = random.below(100); i > 0 && !queue.empty(); --i) {
        pop();
      }
    }
    if (queue.empty()) {
      push();
    }
  }
  while (!queue.empty() && !testing::Test::HasFatalFailure()) {
    pop();
  }
  EXPECT_TRUE(model.empty());
}

TEST(EventQueue, EqualsABinaryHeapForEveryDistributionOfTimes) {
  for (const Distribution& distribution : distributions()) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      const std::size_t pending = seed % 3 == 0 ? 5000 : seed % 3 == 1 ? 3 : 100;
      compare_with_heap(distribution, seed, pending, 4000);
      if (HasFatalFailure()) {
        return;
      }
    }
  }
}

TEST(EventQueue, DrainsInStableSortedOrder) {
  for (const Distribution& distribution : distributions()) {
    RandomStream random(7, "drain");
    EventQueue queue;
    std::vector<Expected> events;
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      const std::int64_t time = distribution.gap(random);
      events.push_back({time, 0, i});
      queue.push(SimTime(time), 0, i);
    }
    std::stable_sort(events.begin(), events.end(),
                     [](const Expected& a, const Expected& b) { return a.time < b.time; });
    for (const Expected& expected : events) {
      ASSERT_EQ(queue.pop().data, expected.arrival) << distribution.name;
    }
    EXPECT_TRUE(queue.empty());
  }
}

TEST(EventQueue, TiesGoToTheLowerPriorityThenToTheFirstPushed) {
  EventQueue queue;
  queue.push(SimTime(5), 0, 1);
  queue.push(SimTime(5), 32767, 2);
  queue.push(SimTime(5), -32768, 3);
  queue.push(SimTime(5), 0, 4);
  queue.push(SimTime(4), 32767, 5);
  const std::uint64_t order[] = {5, 3, 1, 4, 2};
  for (const std::uint64_t expected : order) {
    EXPECT_EQ(queue.pop().data, expected);
  }
}

TEST(EventQueue, AnEventPushedAtTheCurrentTimeComesBeforeLaterOnesEvenWithAWorsePriority) {
  EventQueue queue;
  queue.push(SimTime(10), 0, 1);
  queue.push(SimTime(10), 1, 2);
  queue.push(SimTime(11), -5, 3);
  EXPECT_EQ(queue.pop().data, 1u);
  queue.push(SimTime(10), 0, 4);  // at now: before the pending priority 1
  queue.push(SimTime(10), 9, 5);  // at now: after it, but before time 11
  const std::uint64_t order[] = {4, 2, 5, 3};
  for (const std::uint64_t expected : order) {
    EXPECT_EQ(queue.pop().data, expected);
  }
  EXPECT_EQ(queue.now(), SimTime(11));
}

TEST(EventQueue, AcceptsThePresentAndTheLargestTime) {
  EventQueue queue;
  queue.push(SimTime::max(), 0, 2);
  queue.push(SimTime(0), 0, 1);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.pop().data, 1u);
  EXPECT_EQ(queue.pop().data, 2u);
  queue.push(SimTime::max(), 0, 3);
  EXPECT_EQ(queue.pop().data, 3u);
  EXPECT_TRUE(queue.empty());
}

TEST(EventQueueDeathTest, RefusesThePastAndPoppingNothing) {
  EventQueue queue;
  EXPECT_DEATH(queue.pop(), "an empty event queue has no next event");
  queue.push(SimTime(10), 0, 0);
  queue.pop();
  EXPECT_DEATH(queue.push(SimTime(9), 0, 0), "before the current time");
}

TEST(EventQueue, AMillionEqualTimesPushedWhileTheyArePoppedIsNoTrap) {
  EventQueue queue;
  for (std::uint64_t i = 0; i < 500'000; ++i) {
    queue.push(SimTime(1000), 0, i);
  }
  for (std::uint64_t i = 0; i < 1'000'000; ++i) {
    ASSERT_EQ(queue.pop().data, i);
    if (i < 500'000) {
      queue.push(SimTime(1000), 0, 500'000 + i);
    }
  }
  EXPECT_TRUE(queue.empty());
}

TEST(EventQueue, AMillionEventsBetweenTwoFarApartIsNoTrap) {
  // Twenty events span a second; then a million land between them, each earlier than the one
  // before.
  EventQueue queue;
  for (int i = 0; i < 20; ++i) {
    queue.push(SimTime(std::int64_t{50'000'000'000} * (i + 1)), 0, 0);
  }
  EXPECT_EQ(queue.top().time, SimTime(50'000'000'000));
  for (std::int64_t i = 1'000'000; i > 0; --i) {
    queue.push(SimTime(i * 40'000), 0, 1);
  }
  SimTime last(0);
  while (!queue.empty()) {
    const SimTime time = queue.pop().time;
    ASSERT_GE(time, last);
    last = time;
  }
  EXPECT_EQ(last, SimTime(1'000'000'000'000));
}

}  // namespace
}  // namespace moesim

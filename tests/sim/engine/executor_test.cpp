// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/sim/engine/graph_fixtures.h"

namespace moesim {
namespace {

using test::GraphBuilder;
using test::kComm;
using test::kCompute;
using test::kCopy;
using test::random_graph;
using test::RandomGraphOptions;

SimTime start_of(const ExecutionResult& result, TaskId task) {
  return result.start[static_cast<std::size_t>(task)];
}
SimTime end_of(const ExecutionResult& result, TaskId task) {
  return result.end[static_cast<std::size_t>(task)];
}

bool same_times(const ExecutionResult& a, const ExecutionResult& b) {
  return a.makespan == b.makespan && a.start == b.start && a.end == b.end && a.waiting == b.waiting;
}

TEST(Executor, AnEmptyGraphTakesNoTime) {
  const ExecutionResult result = execute(GraphBuilder(3).build());
  EXPECT_EQ(result.makespan, SimTime(0));
  EXPECT_TRUE(result.critical_path.empty());
}

TEST(Executor, AStreamRunsByPriorityThenInTheOrderAdded) {
  GraphBuilder builder(1);
  const TaskId third = builder.work(0, 10, {}, 2);
  const TaskId first = builder.work(0, 20, {}, 1);
  const TaskId second = builder.work(0, 30, {}, 1);
  const ExecutionResult result = execute(builder.build());
  EXPECT_EQ(start_of(result, first), SimTime(0));
  EXPECT_EQ(start_of(result, second), SimTime(20));
  EXPECT_EQ(start_of(result, third), SimTime(50));
}

TEST(Executor, AStreamKeepsProgramOrderEvenWhenALaterTaskIsReadyFirst) {
  // On device 0: `blocked` waits for device 1 until 100, and `ready` behind it waits too.
  GraphBuilder builder(2);
  const TaskId slow = builder.work(1, 100);
  const TaskId blocked = builder.work(0, 5, {slow});
  const TaskId ready = builder.work(0, 5);
  const ExecutionResult result = execute(builder.build());
  EXPECT_EQ(start_of(result, blocked), SimTime(100));
  EXPECT_EQ(start_of(result, ready), SimTime(105));
}

TEST(Executor, AGroupStartsWithItsSlowestMemberAndHoldsTheStreamsThatWait) {
  GraphBuilder builder(2);
  const TaskId fast = builder.work(0, 10);
  const TaskId slow = builder.work(1, 40);
  const TaskId a = builder.transfer(0, 5, {fast});
  const TaskId b = builder.transfer(1, 7, {slow});
  const TaskId behind = builder.transfer(0, 1);
  builder.group({a, b});
  const ExecutionResult result = execute(builder.build());
  EXPECT_EQ(start_of(result, a), SimTime(40));
  EXPECT_EQ(start_of(result, b), SimTime(40));
  EXPECT_EQ(end_of(result, a), SimTime(45));
  EXPECT_EQ(end_of(result, b), SimTime(47));
  EXPECT_EQ(start_of(result, behind), SimTime(45));
  EXPECT_EQ(result.waiting_time(0, kComm), SimTime(30));  // ready at 10, started at 40
  EXPECT_EQ(result.waiting_time(1, kComm), SimTime(0));
  EXPECT_EQ(result.device_finish[0], SimTime(46));
  EXPECT_EQ(result.device_finish[1], SimTime(47));
}

TEST(Executor, AGroupThatEndsTogetherTakesItsLongestDuration) {
  GraphBuilder builder(2);
  const TaskId a = builder.transfer(0, 5);
  const TaskId b = builder.transfer(1, 7);
  builder.group({a, b}, GroupEnd::together);
  const ExecutionResult result = execute(builder.build());
  EXPECT_EQ(end_of(result, a), SimTime(7));
  EXPECT_EQ(end_of(result, b), SimTime(7));
}

TEST(Executor, BusyAndCriticalTimeAreCountedByKind) {
  GraphBuilder builder(1);
  const TaskId work = builder.work(0, 10);
  const TaskId move = builder.transfer(0, 4, {work});
  builder.transfer(0, 3, {}, kCopy);
  const TaskId last = builder.work(0, 6, {move});
  const KindId work_kind = builder.work_kind();
  const KindId transfer_kind = builder.transfer_kind();
  const ExecutionResult result = execute(builder.build());
  EXPECT_EQ(result.busy_time(0, kCompute, work_kind), SimTime(16));
  EXPECT_EQ(result.busy_time(0, kComm, transfer_kind), SimTime(4));
  EXPECT_EQ(result.busy_time(0, kCopy, transfer_kind), SimTime(3));
  EXPECT_EQ(result.busy_time(0, kCompute, transfer_kind), SimTime(0));
  EXPECT_EQ(result.critical_path, (std::vector<TaskId>{work, move, last}));
  EXPECT_EQ(result.critical_time[0], SimTime(16));
  EXPECT_EQ(result.critical_time[1], SimTime(4));
}

TEST(Executor, TheTimelineHoldsEveryTaskUnderItsLabelOrItsKind) {
  GraphBuilder builder(1);
  const LabelId label = builder.raw().label("layer 3 attention");
  EXPECT_EQ(builder.raw().label("layer 3 attention"), label);
  builder.add({.kind = builder.work_kind(), .duration = SimTime(10), .label = label}, {});
  builder.work(0, 5);
  ExecutionOptions options;
  options.record_timeline = true;
  const TaskGraph graph = builder.build();
  const Timeline timeline = execute(graph, options).timeline;
  ASSERT_EQ(timeline.spans.size(), 2u);
  EXPECT_EQ(timeline.labels.text(timeline.spans[0].label), "layer 3 attention");
  EXPECT_EQ(timeline.labels.text(timeline.spans[1].label), "work");
  EXPECT_EQ(timeline.kinds[timeline.spans[0].kind], "work");
  EXPECT_EQ(timeline.streams[timeline.spans[0].stream], "compute");
  EXPECT_EQ(timeline.spans[1].start, SimTime(10));
  EXPECT_EQ(timeline.spans[1].end, SimTime(15));
  options.record_from = SimTime(11);  // the first task ends at 10
  EXPECT_EQ(execute(graph, options).timeline.spans.size(), 1u);
}

TEST(Executor, SlowDevicesStretchTheNamedStreamsAndRoundUp) {
  GraphBuilder builder(2);
  const TaskId work = builder.work(1, 3);
  const TaskId transfer = builder.transfer(1, 3);
  const TaskId other = builder.work(0, 3);
  ExecutionOptions options;
  options.slow_devices = {
      {.device = 1, .factor = {.compute = 1.5, .communication = 1.0, .copy = 1.0}}};
  const ExecutionResult result = execute(builder.build(), options);
  EXPECT_EQ(end_of(result, work), SimTime(5));  // 4.5 rounds up
  EXPECT_EQ(end_of(result, transfer), SimTime(3));
  EXPECT_EQ(end_of(result, other), SimTime(3));
}

TEST(Executor, JitterHasMeanOneAndTheStatedVariation) {
  // 20,000 draws with cv 0.3: the mean is within 4 * 0.3 / sqrt(20000) = 0.0085 of 1; the
  // variation's own error is near 0.3 * sqrt((1 + 3 * 0.3^2) / 20000) * 4 = 0.01.
  GraphBuilder builder(1);
  for (int i = 0; i < 20'000; ++i) {
    builder.work(0, 1'000'000'000);
  }
  ExecutionOptions options;
  options.jitter_cv.compute = 0.3;
  const ExecutionResult result = execute(builder.build(), options);
  double sum = 0.0;
  double sum_of_squares = 0.0;
  for (std::size_t i = 0; i < 20'000; ++i) {
    const double x = static_cast<double>((result.end[i] - result.start[i]).picoseconds()) / 1e9;
    sum += x;
    sum_of_squares += x * x;
  }
  const double mean = sum / 20'000;
  EXPECT_NEAR(mean, 1.0, 0.0085);
  EXPECT_NEAR(std::sqrt(sum_of_squares / 20'000 - mean * mean), 0.3, 0.01);
}

TEST(Executor, TheSameSeedGivesTheSameTimesAndAnotherSeedOthers) {
  const TaskGraph graph = random_graph(1);
  ExecutionOptions options;
  options.jitter_cv = {0.1, 0.2, 0.3};
  options.seed = 5;
  const ExecutionResult first = execute(graph, options);
  EXPECT_TRUE(same_times(first, execute(graph, options)));
  options.seed = 6;
  EXPECT_FALSE(same_times(first, execute(graph, options)));
}

TEST(Executor, JitterOfOneDeviceDoesNotDependOnTheOthersTasks) {
  const auto end_on_device_0 = [](bool is_other_busy) {
    GraphBuilder builder(2);
    if (is_other_busy) {
      builder.work(1, 12345);
    }
    builder.work(0, 1'000'000);
    ExecutionOptions options;
    options.jitter_cv.compute = 0.5;
    return execute(builder.build(), options).device_finish[0];
  };
  EXPECT_EQ(end_on_device_0(false), end_on_device_0(true));
}

/// Times by brute force: pushes every start later until nothing moves.
void expect_smallest_consistent_schedule(const TaskGraph& graph, const ExecutionResult& result) {
  std::vector<SimTime> start(graph.num_tasks());
  std::vector<SimTime> end(graph.num_tasks());
  for (bool is_moving = true; is_moving;) {
    is_moving = false;
    for (std::size_t task = 0; task < graph.num_tasks(); ++task) {
      std::vector<std::uint32_t> members = {static_cast<std::uint32_t>(task)};
      SimTime duration = graph.duration[task];
      if (graph.group[task] != TaskGraph::kNoGroup) {
        const auto span = graph.members_of(graph.group[task]);
        members.assign(span.begin(), span.end());
        for (const std::uint32_t member : members) {
          if (graph.group_end[graph.group[task]] == GroupEnd::together) {
            duration = std::max(duration, graph.duration[member]);
          }
        }
      }
      SimTime earliest(0);
      for (const std::uint32_t member : members) {
        for (const std::uint32_t before : graph.dependencies_of(member)) {
          earliest = std::max(earliest, end[before]);
        }
      }
      if (start[task] != earliest || end[task] != earliest + duration) {
        start[task] = earliest;
        end[task] = earliest + duration;
        is_moving = true;
      }
    }
  }
  EXPECT_EQ(result.start, start);
  EXPECT_EQ(result.end, end);
}

TEST(Executor, EqualsTheSmallestConsistentScheduleOfRandomGraphs) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    const TaskGraph graph = random_graph(seed);
    expect_smallest_consistent_schedule(graph, execute(graph));
    if (HasFailure()) {
      return;
    }
  }
}

TEST(Executor, TimeOrderAndAnyOrderAgreeWhenNoComputeIsTaken) {
  // A share makes the executor use events; without compute streams there is nothing to slow down.
  RandomGraphOptions options;
  options.streams = {
      {"a", StreamClass::copy}, {"b", StreamClass::communication}, {"c", StreamClass::copy}};
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    options.share = 0.0;
    const ExecutionResult any_order = execute(random_graph(seed, options));
    options.share = 0.5;
    EXPECT_TRUE(same_times(any_order, execute(random_graph(seed, options)))) << "seed " << seed;
  }
}

TEST(Executor, RelabelledDevicesGiveRelabelledResults) {
  for (const double share : {0.0, 0.3}) {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
      RandomGraphOptions options;
      options.share = share;
      const ExecutionResult plain = execute(random_graph(seed, options));
      options.relabelled = {3, 0, 4, 1, 2};
      const ExecutionResult moved = execute(random_graph(seed, options));
      EXPECT_EQ(plain.end, moved.end) << "seed " << seed;
      for (std::uint32_t device = 0; device < 5; ++device) {
        EXPECT_EQ(plain.device_finish[device], moved.device_finish[options.relabelled[device]]);
        EXPECT_EQ(plain.waiting_time(device, kComm),
                  moved.waiting_time(options.relabelled[device], kComm));
      }
    }
  }
}

TEST(Executor, AnAddedIdleDeviceChangesNothing) {
  ExecutionOptions jitter;
  jitter.jitter_cv = {0.2, 0.2, 0.2};
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    RandomGraphOptions options;
    options.share = seed % 2 == 0 ? 0.2 : 0.0;
    const ExecutionResult plain = execute(random_graph(seed, options), jitter);
    options.relabelled = {0, 1, 2, 3, 4, 5};  // a sixth device without tasks
    const ExecutionResult more = execute(random_graph(seed, options), jitter);
    EXPECT_EQ(plain.end, more.end) << "seed " << seed;
    EXPECT_EQ(plain.makespan, more.makespan);
    EXPECT_EQ(plain.critical_path, more.critical_path);
    EXPECT_EQ(more.device_finish[5], SimTime(0));
  }
}

TEST(Executor, DoubledDurationsDoubleEveryTime) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    RandomGraphOptions options;
    const ExecutionResult plain = execute(random_graph(seed, options));
    options.scale = 2;
    const ExecutionResult doubled = execute(random_graph(seed, options));
    for (std::size_t task = 0; task < plain.end.size(); ++task) {
      ASSERT_EQ(plain.end[task] + plain.end[task], doubled.end[task]) << "seed " << seed;
    }
  }
}

TEST(Executor, TheCriticalPathIsAChainFromZeroToTheMakespan) {
  ExecutionOptions jitter;
  jitter.jitter_cv = {0.2, 0.2, 0.2};
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraphOptions options;
    options.share = seed % 2 == 0 ? 0.3 : 0.0;
    const ExecutionResult result = execute(random_graph(seed, options), jitter);
    SimTime at(0);
    for (const TaskId task : result.critical_path) {
      EXPECT_EQ(start_of(result, task), at);
      at = end_of(result, task);
    }
    EXPECT_EQ(at, result.makespan);
    EXPECT_EQ(std::accumulate(result.critical_time.begin(), result.critical_time.end(), SimTime(0)),
              result.makespan);
  }
}

TEST(ExecutorDeathTest, RefusesACycle) {
  GraphBuilder builder(1);
  const TaskId a = builder.work(0, 1);
  const TaskId b = builder.transfer(0, 1, {a});
  builder.raw().add_dependency(b, a);
  const TaskGraph graph = builder.build();
  EXPECT_DEATH(execute(graph), "wait for each other for ever");
}

TEST(ExecutorDeathTest, RefusesCollectivesInDifferentOrdersOnTwoDevices) {
  GraphBuilder builder(2);
  const TaskId a0 = builder.transfer(0, 1);
  const TaskId b0 = builder.transfer(0, 1);
  const TaskId b1 = builder.transfer(1, 1);
  const TaskId a1 = builder.transfer(1, 1);
  builder.group({a0, a1});
  builder.group({b0, b1});
  const TaskGraph graph = builder.build();
  EXPECT_DEATH(execute(graph), "groups in different orders");
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The executor against closed forms.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "sim/engine/executor.h"
#include "tests/sim/engine/graph_fixtures.h"

namespace moesim {
namespace {

using test::GraphBuilder;
using test::kComm;
using test::kCopy;
using test::random_graph;
using test::RandomGraphOptions;

TEST(ExecutorTheory, ASerialChainTakesTheSum) {
  GraphBuilder builder(3);
  std::vector<TaskId> last;
  for (int i = 1; i <= 100; ++i) {
    last = {builder.work(static_cast<std::uint32_t>(i % 3), i, last)};
  }
  EXPECT_EQ(execute(builder.build()).makespan, SimTime(5050));  // 100 * 101 / 2
}

TEST(ExecutorTheory, TwoStreamsOfOneDeviceOverlapToTheMaximum) {
  for (const std::int64_t transfer : {1, 69, 70, 71, 500}) {
    GraphBuilder builder(1);
    builder.work(0, 30);
    builder.work(0, 40);
    builder.transfer(0, transfer);
    EXPECT_EQ(execute(builder.build()).makespan, SimTime(std::max<std::int64_t>(70, transfer)));
  }
}

TEST(ExecutorTheory, ForkAndJoinTakeTheLongestBranch) {
  GraphBuilder builder(4);
  const TaskId fork = builder.work(0, 5);
  std::vector<TaskId> branches;
  for (std::uint32_t device = 0; device < 4; ++device) {
    branches.push_back(builder.work(device, 10 * (device + 1), {fork}));
  }
  builder.work(0, 7, branches);
  EXPECT_EQ(execute(builder.build()).makespan, SimTime(5 + 40 + 7));
}

TEST(ExecutorTheory, APipelineOfEqualStagesTakesBatchesPlusStagesMinusOne) {
  // GPipe's fill and drain: m batches through p stages of t each take (m + p - 1) t.
  constexpr std::int64_t kStage = 13;
  for (const int batches : {1, 2, 9}) {
    GraphBuilder builder(4);
    for (int batch = 0; batch < batches; ++batch) {
      std::vector<TaskId> last;
      for (std::uint32_t stage = 0; stage < 4; ++stage) {
        last = {builder.work(stage, kStage, last)};
      }
    }
    EXPECT_EQ(execute(builder.build()).makespan, SimTime((batches + 3) * kStage));
  }
}

TEST(ExecutorTheory, KMessagesTakeTheLogGpTime) {
  // LogGP with gap g > overhead o: the sender's NIC is taken for g by each message, the wire adds
  // L, the receiver o: the last of k arrives at k g + L + o. Each message has a wire of its own,
  // since latency occupies nobody.
  constexpr std::int64_t kGap = 50;
  constexpr std::int64_t kLatency = 700;
  constexpr std::int64_t kOverhead = 20;
  for (const std::uint32_t k : {1u, 2u, 32u}) {
    GraphBuilder builder(2 + k);
    for (std::uint32_t i = 0; i < k; ++i) {
      const TaskId sent = builder.transfer(0, kGap);
      const TaskId arrived = builder.transfer(2 + i, kLatency, {sent}, kCopy);
      builder.work(1, kOverhead, {arrived});
    }
    EXPECT_EQ(execute(builder.build()).makespan, SimTime(k * kGap + kLatency + kOverhead));
  }
}

TEST(ExecutorTheory, StepsWithABarrierTakeTheSumOfTheSlowest) {
  constexpr std::uint32_t kDevices = 16;
  constexpr std::int64_t kBarrier = 11;
  RandomStream random(3, "barrier");
  GraphBuilder builder(kDevices);
  std::vector<std::vector<TaskId>> last(kDevices);
  std::int64_t expected = 0;
  for (int step = 0; step < 20; ++step) {
    std::vector<TaskId> members;
    std::int64_t slowest = 0;
    for (std::uint32_t device = 0; device < kDevices; ++device) {
      const std::int64_t work = static_cast<std::int64_t>(random.below(1000));
      slowest = std::max(slowest, work);
      members.push_back(
          builder.transfer(device, kBarrier, {builder.work(device, work, last[device])}));
      last[device] = {members.back()};
    }
    builder.group(members);
    expected += slowest + kBarrier;
  }
  EXPECT_EQ(execute(builder.build()).makespan, SimTime(expected));
}

TEST(ExecutorTheory, TwoMicroBatchesHideTheShorterOfComputeAndCommunication) {
  // L layers of compute c then communication m, two batches in turns on both streams. Compute-bound
  // (m <= c): the compute stream never waits and the last communication sticks out, 2 L c + m.
  // Communication-bound (m >= c): c + 2 L m. One batch alone takes L (c + m).
  constexpr int kLayers = 61;
  for (const auto& [c, m] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {100, 1}, {100, 99}, {100, 100}, {100, 101}, {10, 300}}) {
    for (const int batches : {1, 2}) {
      GraphBuilder builder(1);
      std::vector<std::vector<TaskId>> last(2);
      for (int layer = 0; layer < kLayers; ++layer) {
        for (int batch = 0; batch < batches; ++batch) {
          const TaskId work = builder.work(0, c, last[static_cast<std::size_t>(batch)]);
          last[static_cast<std::size_t>(batch)] = {builder.transfer(0, m, {work})};
        }
      }
      const std::int64_t expected = batches == 1 ? kLayers * (c + m)
                                    : m <= c     ? 2 * kLayers * c + m
                                                 : c + 2 * kLayers * m;
      EXPECT_EQ(execute(builder.build()).makespan, SimTime(expected))
          << c << " " << m << " " << batches;
    }
  }
}

TEST(ExecutorTheory, TheMakespanLiesBetweenTheBusiestStreamAndTheSumOfAllWork) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const TaskGraph graph = random_graph(seed);
    const ExecutionResult result = execute(graph);
    SimTime sum(0);
    SimTime busiest(0);
    for (std::size_t queue = 0; queue < result.waiting.size(); ++queue) {
      SimTime busy(0);
      for (std::size_t kind = 0; kind < result.num_kinds; ++kind) {
        busy += result.busy[queue * result.num_kinds + kind];
      }
      sum += busy;
      busiest = std::max(busiest, busy);
    }
    EXPECT_GE(result.makespan, busiest) << "seed " << seed;
    EXPECT_LE(result.makespan, sum) << "seed " << seed;
  }
}

TEST(ExecutorTheory, AComputeShareCostsItsPartOfTheOverlap) {
  // A transfer of 40 takes a quarter: work of 100 loses 40 / 4 = 10.
  GraphBuilder short_transfer(1, 0.25);
  short_transfer.work(0, 100);
  short_transfer.transfer(0, 40);
  EXPECT_EQ(execute(short_transfer.build()).end[0], SimTime(110));
  // Transfers throughout: 100 / 0.75 = 133.3, rounded up.
  GraphBuilder long_transfer(1, 0.25);
  long_transfer.work(0, 100);
  long_transfer.transfer(0, 1000);
  EXPECT_EQ(execute(long_transfer.build()).end[0], SimTime(134));
  // Two at a time take half: 20 in the first 40, the rest alone.
  GraphBuilder two_transfers(1, 0.25);
  two_transfers.work(0, 100);
  two_transfers.transfer(0, 40);
  two_transfers.transfer(0, 40, {}, kCopy);
  EXPECT_EQ(execute(two_transfers.build()).end[0], SimTime(120));
  // Another device's transfer takes nothing.
  GraphBuilder elsewhere(2, 0.25);
  elsewhere.work(0, 100);
  elsewhere.transfer(1, 1000);
  EXPECT_EQ(execute(elsewhere.build()).end[0], SimTime(100));
}

TEST(ExecutorTheory, ComputeTasksAdvanceByExactlyTheirWorkUnderComputeShares) {
  // The integral of the rate over the task's stay covers its duration, and one picosecond less does
  // not.
  constexpr double kShare = 0.1875;  // a multiple of 1/65536
  constexpr std::int64_t kFull = 65536;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    RandomGraphOptions options;
    options.share = kShare;
    const TaskGraph graph = random_graph(seed, options);
    const ExecutionResult result = execute(graph);
    for (std::size_t task = 0; task < graph.num_tasks(); ++task) {
      if (graph.stream[task] != 0 || graph.duration[task] == SimTime(0)) {
        continue;
      }
      const auto work_until = [&](SimTime end) {
        std::int64_t work = (end - result.start[task]).picoseconds() * kFull;
        for (std::size_t other = 0; other < graph.num_tasks(); ++other) {
          if (graph.device[other] == graph.device[task] && graph.stream[other] != 0) {
            const SimTime from = std::max(result.start[other], result.start[task]);
            const SimTime to = std::min(result.end[other], end);
            work -= to > from
                        ? (to - from).picoseconds() * static_cast<std::int64_t>(kShare * kFull)
                        : 0;
          }
        }
        return work;
      };
      const std::int64_t needed = graph.duration[task].picoseconds() * kFull;
      ASSERT_GE(work_until(result.end[task]), needed) << "seed " << seed << " task " << task;
      ASSERT_LT(work_until(result.end[task] - SimTime(1)), needed)
          << "seed " << seed << " task " << task;
    }
  }
}

}  // namespace
}  // namespace moesim

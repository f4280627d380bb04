// SPDX-License-Identifier: Apache-2.0
// Small and random task graphs for the tests of the executor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "sim/base/random.h"
#include "sim/engine/task_graph.h"

namespace moesim::test {

inline constexpr StreamId kCompute{0};
inline constexpr StreamId kComm{1};
inline constexpr StreamId kCopy{2};

inline std::vector<StreamInfo> three_streams() {
  return {{"compute", StreamClass::compute},
          {"communication", StreamClass::communication},
          {"copy", StreamClass::copy}};
}

/// A builder with the kinds "work" (0) and "transfer" (1, taking `share` of compute).
class GraphBuilder {
 public:
  explicit GraphBuilder(std::uint32_t num_devices, double share = 0.0,
                        std::vector<StreamInfo> streams = three_streams())
      : builder_(num_devices, std::move(streams)) {
    work_ = builder_.add_kind("work");
    transfer_ = builder_.add_kind("transfer", share);
  }
  TaskId work(std::uint32_t device, std::int64_t ps, std::vector<TaskId> after = {},
              std::int32_t priority = 0) {
    return add({.device = device,
                .stream = kCompute,
                .kind = work_,
                .duration = SimTime(ps),
                .priority = priority},
               after);
  }
  TaskId transfer(std::uint32_t device, std::int64_t ps, std::vector<TaskId> after = {},
                  StreamId stream = kComm, std::int32_t priority = 0) {
    return add({.device = device,
                .stream = stream,
                .kind = transfer_,
                .duration = SimTime(ps),
                .priority = priority},
               after);
  }
  TaskId add(const Task& task, const std::vector<TaskId>& after) {
    const TaskId id = builder_.add_task(task);
    for (const TaskId before : after) {
      builder_.add_dependency(before, id);
    }
    return id;
  }
  void group(const std::vector<TaskId>& members, GroupEnd end = GroupEnd::each_own) {
    builder_.add_group(members, end);
  }
  TaskGraphBuilder& raw() { return builder_; }
  KindId work_kind() const { return work_; }
  KindId transfer_kind() const { return transfer_; }
  TaskGraph build() { return std::move(builder_).build(); }

 private:
  TaskGraphBuilder builder_;
  KindId work_{0};
  KindId transfer_{0};
};

struct RandomGraphOptions {
  std::uint32_t num_devices = 5;
  int num_steps = 60;
  double share = 0.0;
  std::vector<std::uint32_t> relabelled;  ///< new number of each device; empty: as they are
  std::vector<StreamInfo> streams = three_streams();
  std::int64_t scale = 1;
};

/// Random work, transfers and groups that look back at earlier tasks only, so it is free of cycles.
inline TaskGraph random_graph(std::uint64_t seed, const RandomGraphOptions& options = {}) {
  RandomStream random(seed, "random_graph");
  GraphBuilder builder(static_cast<std::uint32_t>(
                           std::max<std::size_t>(options.num_devices, options.relabelled.size())),
                       options.share, options.streams);
  std::vector<TaskId> tasks;
  const auto device = [&](std::uint64_t d) {
    return options.relabelled.empty() ? static_cast<std::uint32_t>(d) : options.relabelled[d];
  };
  const auto duration = [&] {
    return static_cast<std::int64_t>(random.below(1000)) * options.scale;
  };
  const auto some_tasks = [&] {
    std::vector<TaskId> some;
    for (std::uint64_t i = tasks.empty() ? 0 : random.below(4); i > 0; --i) {
      const std::size_t reach = std::min<std::size_t>(tasks.size(), 30);
      some.push_back(tasks[tasks.size() - 1 - random.below(reach)]);
    }
    return some;
  };
  for (int step = 0; step < options.num_steps; ++step) {
    const std::uint64_t what = random.below(8);
    if (what == 0) {
      std::vector<TaskId> members;
      for (std::uint32_t d = 0; d < options.num_devices; ++d) {
        if (random.below(4) != 0 || members.empty()) {
          members.push_back(builder.transfer(device(d), duration(), some_tasks()));
        }
      }
      builder.group(members, random.below(2) == 0 ? GroupEnd::each_own : GroupEnd::together);
      tasks.insert(tasks.end(), members.begin(), members.end());
    } else if (what <= 2) {
      const StreamId stream = random.below(2) == 0 ? kComm : kCopy;
      tasks.push_back(builder.transfer(device(random.below(options.num_devices)), duration(),
                                       some_tasks(), stream));
    } else {
      tasks.push_back(
          builder.work(device(random.below(options.num_devices)), duration(), some_tasks()));
    }
  }
  return builder.build();
}

}  // namespace moesim::test

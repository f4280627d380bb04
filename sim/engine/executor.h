// SPDX-License-Identifier: Apache-2.0
// Runs a task graph: when does each task start and end, and what decided the makespan?
//
// Model. A task starts when its dependencies have ended and its stream has finished the task before
// it; a group starts when every member could, and holds its streams while it waits:
//
//     start(task)  = max over dependencies of end       end(task) = start + duration * slow *
//     jitter start(group) = max over members of the same
//
// Without compute shares the end is known at the start, so tasks may be visited in any order that
// respects dependencies. With them a compute task advances at rate 1 - (sum of the shares of the
// tasks running on the device's other streams); the event queue keeps the order of time and each
// change of rate moves the end, exactly up to one rounding up to the next picosecond. Jitter is
// lognormal with mean 1, from one named stream for each device and stream class, drawn in task
// order. So the result depends only on graph, options and seed.
// Scope: fixed program order (no dynamic choice among ready tasks); contention inside the network
// belongs in the durations. References: Culler et al., "LogP", PPoPP 1993 (bounds the tests use).
#pragma once

#include <cstdint>
#include <vector>

#include "sim/base/sim_time.h"
#include "sim/engine/task_graph.h"
#include "sim/engine/timeline.h"

namespace moesim {

/// A device whose tasks take `factor` > 0 times as long.
struct SlowDevice {
  std::uint32_t device = 0;
  PerStreamClass<double> factor{1.0, 1.0, 1.0};
};

struct ExecutionOptions {
  std::uint64_t seed = 0;
  PerStreamClass<double>
      jitter_cv{};  ///< standard deviation / mean of each task's duration; 0: none
  std::vector<SlowDevice> slow_devices;
  bool record_timeline = false;
  SimTime record_from;  ///< spans that touch [record_from, record_to] are kept
  SimTime record_to = SimTime::max();
};

struct ExecutionResult {
  SimTime makespan;
  std::vector<SimTime> start;          ///< [task]
  std::vector<SimTime> end;            ///< [task]
  std::vector<SimTime> device_finish;  ///< [device] end of its last task; zero for an idle device
  std::vector<SimTime> busy;           ///< [device, stream, kind] time spent running
  std::vector<SimTime>
      waiting;  ///< [device, stream] time a stream held a ready task whose group was not
  std::vector<TaskId> critical_path;   ///< first to last: each starts at the end of the one before
  std::vector<SimTime> critical_time;  ///< [kind] on the critical path; they add up to the makespan
  Timeline timeline;                   ///< empty unless recorded

  std::size_t num_streams = 0;
  std::size_t num_kinds = 0;
  SimTime busy_time(std::uint32_t device, StreamId stream, KindId kind) const {
    return busy[(device * num_streams + static_cast<std::size_t>(stream)) * num_kinds +
                static_cast<std::size_t>(kind)];
  }
  SimTime waiting_time(std::uint32_t device, StreamId stream) const {
    return waiting[device * num_streams + static_cast<std::size_t>(stream)];
  }
};

/// O(tasks + dependencies), with compute shares times the cost of an event. A graph in which tasks
/// wait for each other for ever (a cycle, or collectives in different orders on two devices) is our
/// bug: MOESIM_CHECK.
ExecutionResult execute(const TaskGraph& graph, const ExecutionOptions& options = {});

}  // namespace moesim

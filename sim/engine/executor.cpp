// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/executor.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/random.h"
#include "sim/base/stop.h"
#include "sim/engine/event_queue.h"

namespace moesim {
namespace {

__extension__ typedef __int128 Int128;

constexpr std::int64_t kFullRate = 65536;  // compute shares are kept to 1/65536

SimTime scaled(SimTime duration, double factor) {
  const double ps = std::ceil(static_cast<double>(duration.picoseconds()) * factor);
  MOESIM_CHECK(ps < 9.2e18, "a duration with jitter and slow-down stays below 106 days");
  return SimTime(static_cast<std::int64_t>(ps));
}

/// Draws lognormal factors with mean 1, one stream for each device and stream class.
class Jitter {
 public:
  Jitter(const TaskGraph& graph, const ExecutionOptions& options) {
    static constexpr const char* kNames[] = {"engine/jitter/compute", "engine/jitter/communication",
                                             "engine/jitter/copy"};
    for (std::size_t c = 0; c < 3; ++c) {
      const double cv = options.jitter_cv[static_cast<StreamClass>(c)];
      MOESIM_CHECK(cv >= 0.0 && cv < 100.0, "a coefficient of variation is in [0, 100)");
      variance_[c] = portable_log(1.0 + cv * cv);
      sigma_[c] = std::sqrt(variance_[c]);
      for (std::uint32_t device = 0; cv > 0.0 && device < graph.num_devices; ++device) {
        streams_[c].emplace_back(options.seed, kNames[c], device);
      }
    }
  }
  double factor(StreamClass stream_class, std::uint32_t device) {
    const std::size_t c = static_cast<std::size_t>(stream_class);
    if (streams_[c].empty()) {
      return 1.0;
    }
    return portable_exp(sigma_[c] * streams_[c][device].normal() - 0.5 * variance_[c]);
  }

 private:
  std::vector<RandomStream> streams_[3];
  double sigma_[3];
  double variance_[3];
};

std::vector<SimTime> disturbed_durations(const TaskGraph& graph, const ExecutionOptions& options) {
  std::vector<SimTime> durations = graph.duration;
  const PerStreamClass<double>& cv = options.jitter_cv;
  const bool has_jitter = cv.compute != 0.0 || cv.communication != 0.0 || cv.copy != 0.0;
  if (!has_jitter && options.slow_devices.empty()) {
    return durations;
  }
  std::vector<PerStreamClass<double>> slow(graph.num_devices, {1.0, 1.0, 1.0});
  for (const SlowDevice& device : options.slow_devices) {
    MOESIM_CHECK(device.device < graph.num_devices, "a slow device is a device of the graph");
    for (const double factor :
         {device.factor.compute, device.factor.communication, device.factor.copy}) {
      MOESIM_CHECK(factor > 0.0, "a slow device's factor is positive");
    }
    slow[device.device] = device.factor;
  }
  Jitter jitter(graph, options);
  for (std::size_t task = 0; task < graph.num_tasks(); ++task) {
    const std::uint32_t device = graph.device[task];
    const StreamClass stream_class = graph.streams[graph.stream[task]].stream_class;
    durations[task] =
        scaled(durations[task], slow[device][stream_class] * jitter.factor(stream_class, device));
  }
  return durations;
}

/// Slows the compute tasks of a device while others take a share of its compute.
class ComputeShares {
 public:
  ComputeShares(const TaskGraph& graph, EventQueue& events)
      : graph_(graph),
        events_(events),
        rate_taken_(graph.num_devices, 0),
        running_(graph.num_devices * graph.streams.size()) {
    for (const TaskKind& kind : graph.kinds) {
      taken_by_kind_.push_back(
          static_cast<std::int64_t>(kind.compute_share * static_cast<double>(kFullRate) + 0.5));
    }
  }

  void task_starts(std::uint32_t task, SimTime now, SimTime duration) {
    const std::uint32_t device = graph_.device[task];
    if (is_compute(task)) {
      Running& running = running_[queue_of(task)];
      running = {Int128{duration.picoseconds()} * kFullRate, now, task, running.version + 1, true};
      announce_end(running, device);
    } else {
      events_.push(now + duration, 0, task);
      change_rate(device, now, taken_by_kind_[graph_.kind[task]]);
    }
  }

  /// The end of a task; false when its end has moved since this event was made.
  bool task_ends(const Event& event) {
    const std::uint32_t task = static_cast<std::uint32_t>(event.data);
    if (!is_compute(task)) {
      change_rate(graph_.device[task], event.time, -taken_by_kind_[graph_.kind[task]]);
      return true;
    }
    Running& running = running_[queue_of(task)];
    if (running.version != static_cast<std::uint32_t>(event.data >> 32) || !running.is_running) {
      return false;
    }
    running.is_running = false;
    return true;
  }

 private:
  struct Running {
    Int128 work_left = 0;  // picoseconds at full rate, times kFullRate
    SimTime since;
    std::uint32_t task = 0;
    std::uint32_t version = 0;  // of the end event that counts
    bool is_running = false;
  };

  std::size_t queue_of(std::uint32_t task) const {
    return graph_.device[task] * graph_.streams.size() + graph_.stream[task];
  }
  bool is_compute(std::uint32_t task) const {
    return graph_.streams[graph_.stream[task]].stream_class == StreamClass::compute;
  }
  /// Shares that add up to everything still leave 1/65536, so that all work ends.
  std::int64_t rate(std::uint32_t device) const {
    return std::max<std::int64_t>(kFullRate - rate_taken_[device], 1);
  }

  void announce_end(const Running& running, std::uint32_t device) {
    const std::int64_t r = rate(device);
    const Int128 left = running.work_left > 0 ? (running.work_left + r - 1) / r : 0;
    MOESIM_CHECK(left < INT64_MAX, "a slowed task ends within 106 days");
    events_.push(running.since + SimTime(static_cast<std::int64_t>(left)), 0,
                 (std::uint64_t{running.version} << 32) | running.task);
  }

  void change_rate(std::uint32_t device, SimTime now, std::int64_t taken) {
    if (taken == 0) {
      return;
    }
    const std::int64_t old_rate = rate(device);
    rate_taken_[device] += taken;
    for (std::size_t stream = 0; stream < graph_.streams.size(); ++stream) {
      Running& running = running_[device * graph_.streams.size() + stream];
      if (running.is_running) {
        running.work_left -= Int128{(now - running.since).picoseconds()} * old_rate;
        running.since = now;
        ++running.version;
        announce_end(running, device);
      }
    }
  }

  const TaskGraph& graph_;
  EventQueue& events_;
  std::vector<std::int64_t> taken_by_kind_;
  std::vector<std::int64_t> rate_taken_;  // [device]
  std::vector<Running> running_;          // [device, stream]
};

/// Start and end of every task. `Begin` learns of each task that starts; it sets the task's end, or
/// later does.
class Schedule {
 public:
  Schedule(const TaskGraph& graph, const std::vector<SimTime>& durations, ExecutionResult& result)
      : graph_(graph),
        durations_(durations),
        result_(result),
        num_unmet_(graph.num_tasks()),
        num_unready_(graph.num_groups()) {
    for (std::size_t task = 0; task < graph.num_tasks(); ++task) {
      num_unmet_[task] = graph.dependency_begin[task + 1] - graph.dependency_begin[task];
    }
    for (std::size_t group = 0; group < graph.num_groups(); ++group) {
      num_unready_[group] = graph.member_begin[group + 1] - graph.member_begin[group];
    }
  }

  template <class Begin>
  void start_roots(const Begin& begin) {
    for (std::uint32_t task = 0; task < graph_.num_tasks(); ++task) {
      if (graph_.dependency_begin[task] == graph_.dependency_begin[task + 1]) {
        become_ready(task, begin);
      }
    }
  }

  template <class Begin>
  void finish(std::uint32_t task, const Begin& begin) {
    ++num_finished_;
    const SimTime end = result_.end[task];
    for (const std::uint32_t next : graph_.successors_of(task)) {
      result_.start[next] = std::max(result_.start[next], end);
      if (--num_unmet_[next] == 0) {
        become_ready(next, begin);
      }
    }
  }

  std::size_t num_finished() const { return num_finished_; }

 private:
  template <class Begin>
  void become_ready(std::uint32_t task, const Begin& begin) {
    const std::uint32_t group = graph_.group[task];
    if (group == TaskGraph::kNoGroup) {
      begin(task, durations_[task]);
    } else if (--num_unready_[group] == 0) {
      start_group(group, begin);
    }
  }

  template <class Begin>
  void start_group(std::uint32_t group, const Begin& begin) {
    const std::span<const std::uint32_t> members = graph_.members_of(group);
    SimTime start(0);
    SimTime longest(0);
    for (const std::uint32_t member : members) {
      start = std::max(start, result_.start[member]);
      longest = std::max(longest, durations_[member]);
    }
    const bool together = graph_.group_end[group] == GroupEnd::together;
    for (const std::uint32_t member : members) {
      const std::size_t queue =
          graph_.device[member] * graph_.streams.size() + graph_.stream[member];
      result_.waiting[queue] += start - result_.start[member];
      result_.start[member] = start;
      begin(member, together ? longest : durations_[member]);
    }
  }

  const TaskGraph& graph_;
  const std::vector<SimTime>& durations_;
  ExecutionResult& result_;
  std::vector<std::uint32_t> num_unmet_;    // [task] dependencies
  std::vector<std::uint32_t> num_unready_;  // [group] members
  std::size_t num_finished_ = 0;
};

std::size_t run_in_any_order(const TaskGraph& graph, const std::vector<SimTime>& durations,
                             ExecutionResult& result) {
  Schedule schedule(graph, durations, result);
  std::vector<std::uint32_t> started;
  const auto begin = [&](std::uint32_t task, SimTime duration) {
    result.end[task] = result.start[task] + duration;
    started.push_back(task);
  };
  schedule.start_roots(begin);
  while (!started.empty()) {
    const std::uint32_t task = started.back();
    started.pop_back();
    schedule.finish(task, begin);
  }
  return schedule.num_finished();
}

std::size_t run_in_time_order(const TaskGraph& graph, const std::vector<SimTime>& durations,
                              ExecutionResult& result) {
  Schedule schedule(graph, durations, result);
  EventQueue events;
  ComputeShares shares(graph, events);
  const auto begin = [&](std::uint32_t task, SimTime duration) {
    shares.task_starts(task, result.start[task], duration);
  };
  schedule.start_roots(begin);
  for (std::size_t count = 0; !events.empty(); ++count) {
    if (count % 1024 == 0) {
      check_stopped();
    }
    const Event event = events.pop();
    if (shares.task_ends(event)) {
      const std::uint32_t task = static_cast<std::uint32_t>(event.data);
      result.end[task] = event.time;
      schedule.finish(task, begin);
    }
  }
  return schedule.num_finished();
}

void add_up(const TaskGraph& graph, ExecutionResult& result) {
  for (std::size_t task = 0; task < graph.num_tasks(); ++task) {
    const std::size_t queue = graph.device[task] * result.num_streams + graph.stream[task];
    result.busy[queue * result.num_kinds + graph.kind[task]] +=
        result.end[task] - result.start[task];
    SimTime& finish = result.device_finish[graph.device[task]];
    finish = std::max(finish, result.end[task]);
  }
  for (const SimTime finish : result.device_finish) {
    result.makespan = std::max(result.makespan, finish);
  }
}

/// A dependency of `task` that ended when the task started, or kNoGroup; a group looks at all its
/// members.
std::uint32_t deciding_dependency(const TaskGraph& graph, const ExecutionResult& result,
                                  std::uint32_t task) {
  const SimTime start = result.start[task];
  const auto find_in = [&](std::uint32_t member) {
    for (const std::uint32_t before : graph.dependencies_of(member)) {
      if (result.end[before] == start) {
        return before;
      }
    }
    return TaskGraph::kNoGroup;
  };
  std::uint32_t found = find_in(task);
  if (found == TaskGraph::kNoGroup && graph.group[task] != TaskGraph::kNoGroup) {
    for (const std::uint32_t member : graph.members_of(graph.group[task])) {
      found = find_in(member);
      if (found != TaskGraph::kNoGroup) {
        break;
      }
    }
  }
  return found;
}

void trace_critical_path(const TaskGraph& graph, ExecutionResult& result) {
  if (graph.num_tasks() == 0) {
    return;
  }
  const auto last = std::max_element(result.end.begin(), result.end.end());
  std::uint32_t task = static_cast<std::uint32_t>(last - result.end.begin());
  while (true) {
    result.critical_path.push_back(static_cast<TaskId>(task));
    result.critical_time[graph.kind[task]] += result.end[task] - result.start[task];
    if (result.start[task] == SimTime(0)) {
      break;
    }
    task = deciding_dependency(graph, result, task);
    MOESIM_CHECK(task != TaskGraph::kNoGroup, "a task starts when something it waits for ends");
  }
  std::reverse(result.critical_path.begin(), result.critical_path.end());
}

Timeline timeline_of(const TaskGraph& graph, const ExecutionOptions& options,
                     const ExecutionResult& result) {
  Timeline timeline;
  timeline.labels = graph.labels;
  std::vector<LabelId> kind_label;
  for (const TaskKind& kind : graph.kinds) {
    timeline.kinds.push_back(kind.name);
    kind_label.push_back(timeline.labels.intern(kind.name));
  }
  for (const StreamInfo& stream : graph.streams) {
    timeline.streams.push_back(stream.name);
  }
  for (std::size_t task = 0; task < graph.num_tasks(); ++task) {
    if (result.end[task] < options.record_from || result.start[task] > options.record_to) {
      continue;
    }
    const LabelId label =
        graph.label[task] == LabelId{0} ? kind_label[graph.kind[task]] : graph.label[task];
    timeline.spans.push_back({result.start[task], result.end[task], graph.device[task], label,
                              graph.kind[task], graph.stream[task]});
  }
  return timeline;
}

}  // namespace

ExecutionResult execute(const TaskGraph& graph, const ExecutionOptions& options) {
  ExecutionResult result;
  result.num_streams = graph.streams.size();
  result.num_kinds = graph.kinds.size();
  result.start.assign(graph.num_tasks(), SimTime(0));
  result.end.assign(graph.num_tasks(), SimTime(0));
  result.device_finish.assign(graph.num_devices, SimTime(0));
  result.waiting.assign(graph.num_devices * result.num_streams, SimTime(0));
  result.busy.assign(result.waiting.size() * result.num_kinds, SimTime(0));
  result.critical_time.assign(result.num_kinds, SimTime(0));

  const std::vector<SimTime> durations = disturbed_durations(graph, options);
  const bool has_shares =
      std::any_of(graph.kinds.begin(), graph.kinds.end(),
                  [](const TaskKind& kind) { return kind.compute_share > 0.0; });
  const std::size_t num_finished = has_shares ? run_in_time_order(graph, durations, result)
                                              : run_in_any_order(graph, durations, result);
  MOESIM_CHECK(num_finished == graph.num_tasks(),
               "tasks wait for each other for ever: a cycle of dependencies, or groups in "
               "different orders on two streams");
  add_up(graph, result);
  trace_critical_path(graph, result);
  if (options.record_timeline) {
    result.timeline = timeline_of(graph, options, result);
  }
  return result;
}

}  // namespace moesim

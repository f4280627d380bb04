// SPDX-License-Identifier: Apache-2.0
// What is to run: tasks with durations on the streams of devices, dependencies, and groups.
//
//     task    one piece of work of known duration on one stream of one device
//     stream  runs its tasks one after another in program order: by priority, then as they were
//     added group   tasks of several devices that start together, when each of them could (a
//     collective)
//
// A graph is plain arrays, one entry for each task; the builder turns pairs into compressed rows
// once, so that the executor can run the same graph many times. Program order becomes a dependency
// like any other.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/base/sim_time.h"
#include "sim/engine/timeline.h"

namespace moesim {

enum class TaskId : std::uint32_t {};
enum class GroupId : std::uint32_t {};
enum class KindId : std::uint16_t {};
enum class StreamId : std::uint8_t {};

/// What a stream's tasks use; jitter, slow devices and compute shares go by it.
enum class StreamClass : std::uint8_t { compute, communication, copy };

/// One value for each StreamClass.
template <class T>
struct PerStreamClass {
  T compute{};
  T communication{};
  T copy{};

  const T& operator[](StreamClass c) const {
    return c == StreamClass::compute         ? compute
           : c == StreamClass::communication ? communication
                                             : copy;
  }
};

struct StreamInfo {
  std::string name;
  StreamClass stream_class = StreamClass::compute;
};

/// What tasks count as when times are added up.
struct TaskKind {
  std::string name;
  /// Fraction in [0, 1) of the device's compute that a running task of this kind takes from the
  /// tasks on its compute streams (the multiprocessors of a communication kernel); kept to 1/65536.
  /// Shares of tasks that run at the same time add up. Must be 0 for kinds that run on compute
  /// streams.
  double compute_share = 0.0;
};

/// When the tasks of a group end.
enum class GroupEnd : std::uint8_t {
  each_own,  ///< each after its own duration
  together,  ///< all after the longest duration
};

struct Task {
  std::uint32_t device = 0;
  StreamId stream{0};
  KindId kind{0};
  SimTime duration;  ///< when nothing disturbs it
  std::int32_t priority =
      0;             ///< place in its stream's program order: the lower earlier, equals as added
  LabelId label{0};  ///< 0: named by its kind
};

/// Built by TaskGraphBuilder. Durations may be changed between runs; the rest is fixed.
struct TaskGraph {
  static constexpr std::uint32_t kNoGroup = UINT32_MAX;

  std::uint32_t num_devices = 0;
  std::vector<StreamInfo> streams;  ///< every device has these
  std::vector<TaskKind> kinds;
  LabelTable labels;

  std::vector<std::uint32_t> device;  // [task] and so on down to group
  std::vector<std::uint8_t> stream;
  std::vector<std::uint16_t> kind;
  std::vector<LabelId> label;
  std::vector<SimTime> duration;
  std::vector<std::uint32_t> group;  ///< or kNoGroup

  // Compressed rows: what a task waits for (its stream's previous task included) and what waits for
  // it.
  std::vector<std::uint32_t> dependency_begin;  // [task + 1]
  std::vector<std::uint32_t> dependencies;
  std::vector<std::uint32_t> successor_begin;  // [task + 1]
  std::vector<std::uint32_t> successors;
  std::vector<std::uint32_t> member_begin;  // [group + 1]
  std::vector<std::uint32_t> members;
  std::vector<GroupEnd> group_end;  // [group]

  std::size_t num_tasks() const { return device.size(); }
  std::size_t num_groups() const { return group_end.size(); }
  std::span<const std::uint32_t> dependencies_of(std::size_t task) const {
    return {dependencies.data() + dependency_begin[task],
            dependencies.data() + dependency_begin[task + 1]};
  }
  std::span<const std::uint32_t> successors_of(std::size_t task) const {
    return {successors.data() + successor_begin[task],
            successors.data() + successor_begin[task + 1]};
  }
  std::span<const std::uint32_t> members_of(std::size_t group_index) const {
    return {members.data() + member_begin[group_index],
            members.data() + member_begin[group_index + 1]};
  }
};

/// Collects a TaskGraph; arguments out of range are our bugs (MOESIM_CHECK).
class TaskGraphBuilder {
 public:
  /// Every device gets the same `streams` (1 to 255); the StreamId is the index in it.
  TaskGraphBuilder(std::uint32_t num_devices, std::vector<StreamInfo> streams);

  void reserve(std::size_t num_tasks, std::size_t num_dependencies);
  KindId add_kind(std::string name, double compute_share = 0.0);
  /// The id of a text for the timeline; equal texts give equal ids.
  LabelId label(std::string_view text) { return graph_.labels.intern(text); }
  TaskId add_task(const Task& task);
  /// `after` starts when `before` has ended, or later.
  void add_dependency(TaskId before, TaskId after);
  /// Makes tasks one group: none starts before each has its dependencies and its stream. A task
  /// belongs to one group at most. A barrier among n devices costs n, not n^2 dependencies: let
  /// each device's next task depend on its own member.
  GroupId add_group(std::span<const TaskId> members, GroupEnd end = GroupEnd::each_own);

  std::size_t num_tasks() const { return graph_.num_tasks(); }
  /// O(tasks + dependencies); the builder is used up. A cyclic graph is found by the executor.
  TaskGraph build() &&;

 private:
  void add_program_order();
  void compress_dependencies();

  TaskGraph graph_;
  std::vector<std::int32_t> priorities_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_;  // (before, after)
};

}  // namespace moesim

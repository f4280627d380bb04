// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/task_graph.h"

#include <algorithm>

#include "sim/base/error.h"

namespace moesim {

TaskGraphBuilder::TaskGraphBuilder(std::uint32_t num_devices, std::vector<StreamInfo> streams) {
  MOESIM_CHECK(!streams.empty() && streams.size() <= 255, "a device has 1 to 255 streams");
  graph_.num_devices = num_devices;
  graph_.streams = std::move(streams);
  graph_.labels.intern("");
  graph_.member_begin.push_back(0);
}

void TaskGraphBuilder::reserve(std::size_t num_tasks, std::size_t num_dependencies) {
  graph_.device.reserve(num_tasks);
  graph_.stream.reserve(num_tasks);
  graph_.kind.reserve(num_tasks);
  graph_.label.reserve(num_tasks);
  graph_.duration.reserve(num_tasks);
  graph_.group.reserve(num_tasks);
  priorities_.reserve(num_tasks);
  edges_.reserve(num_dependencies + num_tasks);  // program order adds up to one each
}

KindId TaskGraphBuilder::add_kind(std::string name, double compute_share) {
  MOESIM_CHECK(compute_share >= 0.0 && compute_share < 1.0, "a compute share is in [0, 1)");
  MOESIM_CHECK(graph_.kinds.size() < UINT16_MAX, "at most 65535 kinds of task");
  graph_.kinds.push_back({std::move(name), compute_share});
  return static_cast<KindId>(graph_.kinds.size() - 1);
}

TaskId TaskGraphBuilder::add_task(const Task& task) {
  MOESIM_CHECK(task.device < graph_.num_devices, "a task needs a device of the graph");
  const std::size_t stream = static_cast<std::size_t>(task.stream);
  const std::size_t kind = static_cast<std::size_t>(task.kind);
  MOESIM_CHECK(stream < graph_.streams.size(), "a task needs a stream of the graph");
  MOESIM_CHECK(kind < graph_.kinds.size(), "a task needs a kind of the graph");
  MOESIM_CHECK(static_cast<std::size_t>(task.label) < graph_.labels.size(),
               "a task needs a label of the graph");
  MOESIM_CHECK(task.duration >= SimTime(0), "a duration is not negative");
  MOESIM_CHECK(graph_.kinds[kind].compute_share == 0.0 ||
                   graph_.streams[stream].stream_class != StreamClass::compute,
               "a kind that takes compute from others does not run on a compute stream");
  graph_.device.push_back(task.device);
  graph_.stream.push_back(static_cast<std::uint8_t>(task.stream));
  graph_.kind.push_back(static_cast<std::uint16_t>(task.kind));
  graph_.label.push_back(task.label);
  graph_.duration.push_back(task.duration);
  graph_.group.push_back(TaskGraph::kNoGroup);
  priorities_.push_back(task.priority);
  return static_cast<TaskId>(graph_.num_tasks() - 1);
}

void TaskGraphBuilder::add_dependency(TaskId before, TaskId after) {
  const std::uint32_t first = static_cast<std::uint32_t>(before);
  const std::uint32_t second = static_cast<std::uint32_t>(after);
  MOESIM_CHECK(first < num_tasks() && second < num_tasks(),
               "a dependency joins tasks of the graph");
  edges_.emplace_back(first, second);
}

GroupId TaskGraphBuilder::add_group(std::span<const TaskId> members, GroupEnd end) {
  MOESIM_CHECK(!members.empty(), "a group has members");
  const std::uint32_t group = static_cast<std::uint32_t>(graph_.num_groups());
  for (const TaskId member : members) {
    const std::uint32_t task = static_cast<std::uint32_t>(member);
    MOESIM_CHECK(task < num_tasks(), "a group joins tasks of the graph");
    MOESIM_CHECK(graph_.group[task] == TaskGraph::kNoGroup, "a task belongs to one group at most");
    graph_.group[task] = group;
    graph_.members.push_back(task);
  }
  graph_.member_begin.push_back(static_cast<std::uint32_t>(graph_.members.size()));
  graph_.group_end.push_back(end);
  return static_cast<GroupId>(group);
}

TaskGraph TaskGraphBuilder::build() && {
  add_program_order();
  MOESIM_CHECK(edges_.size() <= UINT32_MAX, "at most 2^32 - 1 dependencies");
  compress_dependencies();
  return std::move(graph_);
}

void TaskGraphBuilder::add_program_order() {
  const std::size_t num_streams = graph_.streams.size();
  const auto queue_of = [&](std::size_t task) {
    return graph_.device[task] * num_streams + graph_.stream[task];
  };
  const std::uint32_t tasks = static_cast<std::uint32_t>(num_tasks());
  if (std::all_of(priorities_.begin(), priorities_.end(),
                  [&](std::int32_t p) { return p == priorities_[0]; })) {
    std::vector<std::uint32_t> last(graph_.num_devices * num_streams, TaskGraph::kNoGroup);
    for (std::uint32_t task = 0; task < tasks; ++task) {
      std::uint32_t& previous = last[queue_of(task)];
      if (previous != TaskGraph::kNoGroup) {
        edges_.emplace_back(previous, task);
      }
      previous = task;
    }
    return;
  }
  std::vector<std::uint32_t> begin(graph_.num_devices * num_streams + 1, 0);
  for (std::uint32_t task = 0; task < tasks; ++task) {
    ++begin[queue_of(task) + 1];
  }
  for (std::size_t queue = 1; queue < begin.size(); ++queue) {
    begin[queue] += begin[queue - 1];
  }
  std::vector<std::uint32_t> order(tasks);
  std::vector<std::uint32_t> cursor(begin.begin(), begin.end() - 1);
  for (std::uint32_t task = 0; task < tasks; ++task) {
    order[cursor[queue_of(task)]++] = task;
  }
  const auto is_earlier = [&](std::uint32_t a, std::uint32_t b) {
    return priorities_[a] < priorities_[b];
  };
  for (std::size_t queue = 0; queue + 1 < begin.size(); ++queue) {
    const std::span<std::uint32_t> program(order.data() + begin[queue],
                                           order.data() + begin[queue + 1]);
    if (!std::is_sorted(program.begin(), program.end(), is_earlier)) {
      std::stable_sort(program.begin(), program.end(), is_earlier);
    }
    for (std::size_t i = 1; i < program.size(); ++i) {
      edges_.emplace_back(program[i - 1], program[i]);
    }
  }
}

void TaskGraphBuilder::compress_dependencies() {
  std::vector<std::uint32_t>& in = graph_.dependency_begin;
  std::vector<std::uint32_t>& out = graph_.successor_begin;
  in.assign(num_tasks() + 1, 0);
  out.assign(num_tasks() + 1, 0);
  for (const auto& [before, after] : edges_) {
    ++out[before + 1];
    ++in[after + 1];
  }
  for (std::size_t task = 0; task < num_tasks(); ++task) {
    in[task + 1] += in[task];
    out[task + 1] += out[task];
  }
  graph_.dependencies.resize(edges_.size());
  graph_.successors.resize(edges_.size());
  std::vector<std::uint32_t> in_cursor(in.begin(), in.end() - 1);
  std::vector<std::uint32_t> out_cursor(out.begin(), out.end() - 1);
  for (const auto& [before, after] : edges_) {
    graph_.dependencies[in_cursor[after]++] = before;
    graph_.successors[out_cursor[before]++] = after;
  }
}

}  // namespace moesim

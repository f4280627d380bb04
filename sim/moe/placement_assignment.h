// SPDX-License-Identifier: Apache-2.0
// Which expert each slot holds while a balance is searched, with loads kept up to date under every
// change.
//
// Costs depend on how many replicas an expert has, so one changed slot may change the load of many
// GPUs: `time_after_replace` looks ahead at that without changing anything. See placement_search.h
// for the model.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/moe/placement_search.h"

namespace moesim {

class SlotAssignment {
 public:
  /// `problem` must outlive this object.
  explicit SlotAssignment(const BalanceProblem& problem);

  /// Fills the slots with these replicas [experts]: dearest first onto the GPU that would finish
  /// first.
  void pack(const std::vector<int>& replicas);
  /// Takes slots that hold every expert.
  void hold(const std::vector<int>& slots);

  const BalanceProblem& problem() const { return *problem_; }
  const std::vector<int>& slots() const { return slots_; }
  int num_slots() const { return problem_->gpus * problem_->slots_per_gpu; }
  int slot(int gpu, int i) const {
    return slots_[static_cast<std::size_t>(gpu * problem_->slots_per_gpu + i)];
  }
  int replicas(int expert) const { return replicas_[static_cast<std::size_t>(expert)]; }
  /// Cost of one replica of `expert` as things stand.
  double cost_of(int expert) const { return cost_at(expert, replicas(expert)); }
  double load(int gpu) const { return load_[static_cast<std::size_t>(gpu)]; }
  double time(int gpu) const { return time_if(gpu, load(gpu)); }
  int busiest_gpu() const;  ///< the first of equals

  bool may_hold(int gpu, int expert) const {
    return problem_->allow_same_gpu || held(expert, gpu) == 0;
  }
  /// True when slot j of GPU h holds a spare replica and `expert` may have one more there.
  bool may_replace(int h, int j, int expert) const;
  /// The largest time over the GPUs that this replacement changes; infinity as soon as it reaches
  /// `limit`.
  double time_after_replace(int h, int j, int expert, double limit) const;

  /// Slot i of GPU g and slot j of GPU h change places.
  void swap(int g, int i, int h, int j);
  /// Slot j of GPU h turns from a replica of its expert into one of `expert`.
  void replace(int h, int j, int expert);

 private:
  double cost_at(int expert, int replicas) const {
    return problem_
        ->cost[static_cast<std::size_t>(expert) * stride_ + static_cast<std::size_t>(replicas)];
  }
  double time_if(int gpu, double load) const {
    return load / problem_->gpu_speed[static_cast<std::size_t>(gpu)];
  }
  std::uint8_t held(int expert, int gpu) const { return held_[held_index(expert, gpu)]; }
  std::size_t held_index(int expert, int gpu) const {
    return static_cast<std::size_t>(expert * problem_->gpus + gpu);
  }
  void clear(const std::vector<int>& replicas);
  void put(int expert, int gpu, std::vector<int>& filled);
  std::vector<int> items_dearest_first() const;
  bool separate_replicas();
  bool swap_away(int g, int i);
  void pack_most_replicas_first();
  void change_replicas(int expert, int by);

  const BalanceProblem* problem_;
  std::size_t stride_;
  std::vector<int> slots_;          // [gpus * slots_per_gpu]
  std::vector<int> replicas_;       // [experts]
  std::vector<double> load_;        // [gpus]
  std::vector<std::uint8_t> held_;  // [experts][gpus] replicas of the expert on the GPU
};

}  // namespace moesim

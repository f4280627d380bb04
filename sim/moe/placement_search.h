// SPDX-License-Identifier: Apache-2.0
// Local search for slots whose busiest GPU is as little busy as possible.
//
// The cost of holding expert e is cost(e, r), r being how many replicas it has; a GPU's time is the
// sum of its slots' costs over its speed. From a greedy start (replicas where they lower the
// largest cost, then longest first onto the GPU that would finish first) the busiest GPU is
// relieved, again and again, by the best of three moves: swap two slots; give one of its experts
// one more replica elsewhere; replace one replica by another expert. Each move leaves every GPU it
// touches below the busiest before it, so the descent ends. Stuck above the lower bound, it shakes
// a few slots and descends anew, keeping the best (iterated local search: Lourenco, Martin &
// Stuetzle 2003). Work is counted, not timed: same result on every machine.
#pragma once

#include <cstdint>
#include <vector>

namespace moesim {

struct BalanceProblem {
  int experts = 0;
  int gpus = 0;
  int slots_per_gpu = 0;
  int max_replicas = 0;  ///< most replicas an expert may have; <= gpus unless `allow_same_gpu`
  /// [experts][max_replicas + 1]: cost of one of r replicas; r = 0 unused; not rising with r.
  std::vector<double> cost;
  std::vector<double> gpu_speed;  ///< [gpus], > 0
  bool allow_same_gpu = false;
  std::vector<int> start_slots;  ///< [gpus * slots_per_gpu] to start from; empty: the greedy start
  std::uint64_t stream_index = 0;  ///< which named random stream shakes it
};

struct BalanceResult {
  std::vector<int> slot_to_expert;  ///< [gpus * slots_per_gpu], slots in GPU order
  double busiest = 0.0;             ///< time of the busiest GPU
};

/// At most about `max_evaluations` moves are looked at (1-2 ns each); 0: the greedy start only.
/// Needs experts <= gpus * slots_per_gpu <= experts * max_replicas.
BalanceResult balance_slots(const BalanceProblem& problem, std::int64_t max_evaluations);

}  // namespace moesim

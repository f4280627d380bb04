// SPDX-License-Identifier: Apache-2.0
// Which replica of its expert a selection goes to, and what that costs in load and traffic.
//
// Policies are rows of `dispatch_policies()`: even (every replica the same share), random (each
// selection draws one), nearest (own GPU, else own node, else all), lp (shares that make the
// busiest GPU as little busy as any splitting can: the linear program min T, load(g) <= T speed(g),
// solved exactly by maximum flow; sources then take their nearest share first).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sim/moe/placement.h"

namespace moesim {

/// One layer's selections and where they may go. Source s is GPU s.
struct DispatchProblem {
  std::vector<int> slot_to_expert;  ///< [slots], slots in GPU order
  int gpus = 1;
  int nodes = 1;
  int experts = 1;
  std::vector<std::vector<double>>
      counts;                     ///< [gpus][experts] selections; whole numbers for `random`
  std::vector<double> gpu_speed;  ///< [gpus]; empty: all equal
};

/// Selections per (source, slot) and their sums.
struct DispatchResult {
  std::vector<std::vector<double>> sent;  ///< [gpus][slots]
  std::vector<double> gpu_load;           ///< [gpus]
  double busiest = 0.0;                   ///< largest load/speed
  double same_gpu_fraction = 0.0;         ///< of all selections
  double same_node_fraction = 0.0;        ///< other GPU, same node
};

class DispatchPolicy {
 public:
  virtual ~DispatchPolicy() = default;
  /// Splits every count over the slots of its expert: [gpus][slots]. A pure function; `seed` is for
  /// draws.
  virtual std::vector<std::vector<double>> split(const DispatchProblem& problem,
                                                 std::uint64_t seed) const = 0;
};

struct DispatchPolicyRow {
  std::string_view name;
  std::string_view doc;
  std::unique_ptr<DispatchPolicy> (*make)();
};

/// even, random, nearest, lp.
std::span<const DispatchPolicyRow> dispatch_policies();

/// Throws InputError for an unknown name.
DispatchResult dispatch_selections(const DispatchProblem& problem, std::string_view policy,
                                   std::uint64_t seed = 0);

/// How many distinct GPUs and nodes the selections of a token reach on average, replicas being
/// chosen nearest first: `token_sets` [tokens, top_k], token t arriving at GPU t mod gpus.
struct PlacementFanOut {
  double gpus = 0.0;
  double nodes = 0.0;
};
PlacementFanOut mean_fan_out(std::span<const int> slot_to_expert, int gpus, int nodes,
                             std::span<const std::int16_t> token_sets, int top_k);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Caches on their way from prefill to decode replicas, as flows over the cluster's network.
//
// The deployment's nodes come first, instance by instance, then those of the prefill pool; a
// replica's GPUs are numbered in order. A cache is cut into equal parts, one a GPU of the wider
// replica, each a flow between two GPUs. Flows that meet at a card, a leaf or an uplink share it
// max-min fairly, so a transfer lasts longer while others cross its links (fidelity flow; otherwise
// transfers queue at both replicas' cards one after another, sim/serving/serving_loop.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sim/base/units.h"

namespace moesim {

class FlowNetwork;
class RoutePlan;
struct Scenario;
struct ServingPlan;

class CacheTransfers {
 public:
  /// `plan` has a prefill pool. Throws InputError where the cluster has no graph or too few nodes.
  CacheTransfers(const Scenario& scenario, const ServingPlan& plan);
  ~CacheTransfers();

  /// Starts moving `bytes` from replica `source` of the prefill pool to `destination` of the other,
  /// both numbered through their pool. `now` must not run backwards.
  void start(double now, std::uint32_t request, std::uint32_t source, std::uint32_t destination,
             Bytes bytes);
  /// When a transfer may end next; nothing while none is under way.
  std::optional<double> next_change() const;
  /// Requests whose caches have arrived by `now`, in order.
  std::vector<std::uint32_t> arrived(double now);

 private:
  struct Pool {
    std::int64_t first_gpu = 0;
    std::int64_t gpus_per_instance = 1;
    std::int64_t replicas_per_instance = 1;
    std::int64_t gpus_per_replica = 1;
  };
  struct Active {
    std::uint32_t transfer = 0;
    std::uint32_t request = 0;
    std::uint32_t ranks_left = 0;
  };
  std::uint32_t gpu_of(const Pool& pool, std::uint32_t replica, std::int64_t index) const;

  Pool serving_, prefill_;
  std::unique_ptr<RoutePlan> plan_;
  std::unique_ptr<FlowNetwork> network_;
  std::vector<Active> active_;
  std::uint32_t started_ = 0;  ///< since the network was made
};

}  // namespace moesim

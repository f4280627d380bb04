// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_policies.h"

#include <algorithm>
#include <numeric>

#include "sim/base/random.h"
#include "sim/moe/placement_search.h"

namespace moesim {
namespace {

int most_replicas(const PlacementRequest& request) {
  const int nodes = request.is_hierarchical() ? request.nodes : 1;
  const int spare = (request.slots - request.experts()) / nodes;
  return request.allow_same_gpu_replicas ? spare + 1 : std::min(spare + 1, request.gpus / nodes);
}

template <class Cost>
ReplicaCosts costs_of(const PlacementRequest& request, Cost cost) {
  ReplicaCosts costs;
  costs.max_replicas = most_replicas(request);
  const auto stride = static_cast<std::size_t>(costs.max_replicas) + 1;
  costs.cost.resize(stride * static_cast<std::size_t>(request.experts()));
  for (int e = 0; e < request.experts(); ++e) {
    for (int r = 1; r <= costs.max_replicas; ++r) {
      costs.cost[static_cast<std::size_t>(e) * stride + static_cast<std::size_t>(r)] = cost(e, r);
    }
  }
  return costs;
}

/// Experts per node: whole groups, nodes as equally loaded (per speed) as found. [nodes][experts /
/// nodes]
std::vector<std::vector<int>> experts_of_nodes(const PlacementRequest& request,
                                               const ReplicaCosts& costs,
                                               const std::vector<double>& gpu_speed,
                                               std::uint64_t stream_index,
                                               std::int64_t max_evaluations) {
  const int group_size = request.experts() / request.groups;
  const int node_gpus = request.gpus / request.nodes;
  const auto stride = static_cast<std::size_t>(costs.max_replicas) + 1;
  BalanceProblem problem;
  problem.experts = request.groups;
  problem.gpus = request.nodes;
  problem.slots_per_gpu = request.groups / request.nodes;
  problem.max_replicas = 1;
  problem.cost.assign(static_cast<std::size_t>(2 * request.groups), 0.0);
  for (int e = 0; e < request.experts(); ++e) {
    problem.cost[static_cast<std::size_t>(2 * (e / group_size) + 1)] +=
        costs.cost[static_cast<std::size_t>(e) * stride + 1];
  }
  problem.gpu_speed.assign(static_cast<std::size_t>(request.nodes), 0.0);
  for (int g = 0; g < request.gpus; ++g) {
    problem.gpu_speed[static_cast<std::size_t>(g / node_gpus)] +=
        gpu_speed[static_cast<std::size_t>(g)];
  }
  problem.stream_index = stream_index;
  const std::vector<int> groups = balance_slots(problem, max_evaluations).slot_to_expert;
  std::vector<std::vector<int>> nodes(static_cast<std::size_t>(request.nodes));
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (int e = groups[i] * group_size; e < (groups[i] + 1) * group_size; ++e) {
      nodes[i / static_cast<std::size_t>(problem.slots_per_gpu)].push_back(e);
    }
  }
  return nodes;
}

}  // namespace

ReplicaCosts token_costs(const PlacementRequest& request, int layer) {
  const std::vector<double>& weights = request.weights[static_cast<std::size_t>(layer)];
  return costs_of(request, [&](int e, int r) { return weights[static_cast<std::size_t>(e)] / r; });
}

ReplicaCosts activation_costs(const PlacementRequest& request, int layer) {
  const std::vector<double>& weights = request.weights[static_cast<std::size_t>(layer)];
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  return costs_of(request, [&](int e, int r) {
    const double share = total > 0.0 ? weights[static_cast<std::size_t>(e)] / total : 0.0;
    const double chance = std::min(1.0, request.top_k * share) / r;
    return chance >= 1.0 ? 1.0
                         : 1.0 - portable_exp(request.tokens_per_step * portable_log(1.0 - chance));
  });
}

std::vector<int> balanced_layer(const PlacementRequest& request, int layer,
                                const ReplicaCosts& costs, const std::vector<double>& gpu_speed,
                                std::int64_t max_evaluations) {
  const int nodes = request.is_hierarchical() ? request.nodes : 1;
  const int node_gpus = request.gpus / nodes;
  const auto stride = static_cast<std::size_t>(costs.max_replicas) + 1;
  std::vector<std::vector<int>> node_experts;
  if (nodes > 1) {
    node_experts = experts_of_nodes(request, costs, gpu_speed, static_cast<std::uint64_t>(layer),
                                    max_evaluations / 10);
  } else {
    node_experts.emplace_back(static_cast<std::size_t>(request.experts()));
    std::iota(node_experts.front().begin(), node_experts.front().end(), 0);
  }
  std::vector<int> slots;
  slots.reserve(static_cast<std::size_t>(request.slots));
  for (int node = 0; node < nodes; ++node) {
    const std::vector<int>& experts = node_experts[static_cast<std::size_t>(node)];
    BalanceProblem problem;
    problem.experts = static_cast<int>(experts.size());
    problem.gpus = node_gpus;
    problem.slots_per_gpu = request.slots_per_gpu();
    problem.max_replicas = costs.max_replicas;
    for (const int e : experts) {
      const auto row =
          costs.cost.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(e) * stride);
      problem.cost.insert(problem.cost.end(), row, row + static_cast<std::ptrdiff_t>(stride));
    }
    problem.gpu_speed.assign(gpu_speed.begin() + node * node_gpus,
                             gpu_speed.begin() + (node + 1) * node_gpus);
    problem.allow_same_gpu = request.allow_same_gpu_replicas;
    problem.stream_index = static_cast<std::uint64_t>(layer * nodes + node);
    for (const int expert : balance_slots(problem, max_evaluations / nodes).slot_to_expert) {
      slots.push_back(experts[static_cast<std::size_t>(expert)]);
    }
  }
  return slots;
}

std::vector<int> spread_over_nodes(const PlacementRequest& request, int layer,
                                   const std::vector<double>& gpu_speed, std::vector<int> slots,
                                   double worth, std::int64_t max_evaluations) {
  PlacementRequest flat;
  flat.weights = {request.weights[static_cast<std::size_t>(layer)]};
  flat.slots = request.slots;
  flat.gpus = request.gpus;
  flat.gpu_speed = gpu_speed;
  flat.allow_same_gpu_replicas = request.allow_same_gpu_replicas;
  const double balancedness = evaluate_placement(flat, {slots}).balancedness.front();
  if (balancedness > 1.0 - worth) {
    return slots;
  }
  const ReplicaCosts costs = token_costs(flat, 0);
  BalanceProblem problem;
  problem.experts = flat.experts();
  problem.gpus = flat.gpus;
  problem.slots_per_gpu = flat.slots_per_gpu();
  problem.max_replicas = costs.max_replicas;
  problem.cost = costs.cost;
  problem.gpu_speed = gpu_speed;
  problem.allow_same_gpu = flat.allow_same_gpu_replicas;
  problem.start_slots = slots;
  problem.stream_index = static_cast<std::uint64_t>(layer);
  std::vector<int> spread = balance_slots(problem, max_evaluations).slot_to_expert;
  return balancedness < (1.0 - worth) * evaluate_placement(flat, {spread}).balancedness.front()
             ? spread
             : slots;
}

}  // namespace moesim

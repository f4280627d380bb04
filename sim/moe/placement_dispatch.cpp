// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_dispatch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <string>
#include <utility>

#include "sim/base/random.h"

namespace moesim {
namespace {

using Sent = std::vector<std::vector<double>>;

std::vector<std::vector<int>> slots_of_experts(std::span<const int> slot_to_expert, int experts) {
  std::vector<std::vector<int>> slots(static_cast<std::size_t>(experts));
  for (std::size_t s = 0; s < slot_to_expert.size(); ++s) {
    slots[static_cast<std::size_t>(slot_to_expert[s])].push_back(static_cast<int>(s));
  }
  return slots;
}

/// Slot and GPU arithmetic of a problem.
class Grid {
 public:
  explicit Grid(const DispatchProblem& problem)
      : slots_per_gpu_(static_cast<int>(problem.slot_to_expert.size()) / problem.gpus),
        gpus_per_node_(problem.gpus / problem.nodes) {}
  int gpu_of(int slot) const { return slot / slots_per_gpu_; }
  int node_of(int gpu) const { return gpu / gpus_per_node_; }
  /// 0 own GPU, 1 own node, 2 elsewhere.
  int distance(int source, int slot) const {
    const int gpu = gpu_of(slot);
    return gpu == source ? 0 : node_of(gpu) == node_of(source) ? 1 : 2;
  }

 private:
  int slots_per_gpu_, gpus_per_node_;
};

Sent nothing_sent(const DispatchProblem& problem) {
  return Sent(static_cast<std::size_t>(problem.gpus),
              std::vector<double>(problem.slot_to_expert.size(), 0.0));
}

double count_of(const DispatchProblem& problem, int source, int expert) {
  return problem.counts[static_cast<std::size_t>(source)][static_cast<std::size_t>(expert)];
}

class EvenDispatch : public DispatchPolicy {
 public:
  Sent split(const DispatchProblem& problem, std::uint64_t) const override {
    Sent sent = nothing_sent(problem);
    const auto slots = slots_of_experts(problem.slot_to_expert, problem.experts);
    for (int source = 0; source < problem.gpus; ++source) {
      for (int e = 0; e < problem.experts; ++e) {
        const std::vector<int>& targets = slots[static_cast<std::size_t>(e)];
        for (const int slot : targets) {
          sent[static_cast<std::size_t>(source)][static_cast<std::size_t>(slot)] =
              count_of(problem, source, e) / static_cast<double>(targets.size());
        }
      }
    }
    return sent;
  }
};

class RandomDispatch : public DispatchPolicy {
 public:
  Sent split(const DispatchProblem& problem, std::uint64_t seed) const override {
    Sent sent = nothing_sent(problem);
    const auto slots = slots_of_experts(problem.slot_to_expert, problem.experts);
    for (int source = 0; source < problem.gpus; ++source) {
      RandomStream random(seed, "dispatch/source", static_cast<std::uint64_t>(source));
      for (int e = 0; e < problem.experts; ++e) {
        const std::vector<int>& targets = slots[static_cast<std::size_t>(e)];
        auto left = static_cast<std::int64_t>(std::llround(count_of(problem, source, e)));
        // A multinomial as a chain of binomials: of those left, each goes to the next of r replicas
        // with 1/r.
        for (std::size_t r = 0; r < targets.size(); ++r) {
          const auto others = static_cast<double>(targets.size() - r);
          const std::int64_t here =
              r + 1 == targets.size() ? left : random.binomial(left, 1.0 / others);
          sent[static_cast<std::size_t>(source)][static_cast<std::size_t>(targets[r])] =
              static_cast<double>(here);
          left -= here;
        }
      }
    }
    return sent;
  }
};

class NearestDispatch : public DispatchPolicy {
 public:
  Sent split(const DispatchProblem& problem, std::uint64_t) const override {
    Sent sent = nothing_sent(problem);
    const Grid grid(problem);
    const auto slots = slots_of_experts(problem.slot_to_expert, problem.experts);
    for (int source = 0; source < problem.gpus; ++source) {
      for (int e = 0; e < problem.experts; ++e) {
        const std::vector<int>& targets = slots[static_cast<std::size_t>(e)];
        int nearest = 2;
        for (const int slot : targets) {
          nearest = std::min(nearest, grid.distance(source, slot));
        }
        const auto is_nearest = [&](int slot) { return grid.distance(source, slot) == nearest; };
        const auto number = std::count_if(targets.begin(), targets.end(), is_nearest);
        for (const int slot : targets) {
          if (is_nearest(slot)) {
            sent[static_cast<std::size_t>(source)][static_cast<std::size_t>(slot)] =
                count_of(problem, source, e) / static_cast<double>(number);
          }
        }
      }
    }
    return sent;
  }
};

/// Maximum flow by Dinic's algorithm on real capacities.
class MaximumFlow {
 public:
  explicit MaximumFlow(int vertices) : edges_of_(static_cast<std::size_t>(vertices)) {}

  int add_edge(int from, int to, double capacity) {
    edges_of_[static_cast<std::size_t>(from)].push_back(static_cast<int>(edges_.size()));
    edges_.push_back({to, capacity});
    edges_of_[static_cast<std::size_t>(to)].push_back(static_cast<int>(edges_.size()));
    edges_.push_back({from, 0.0});
    return static_cast<int>(edges_.size()) - 2;
  }
  void set_capacity(int edge, double capacity) {
    edges_[static_cast<std::size_t>(edge)].left = capacity;
    edges_[static_cast<std::size_t>(edge ^ 1)].left = 0.0;
  }
  double flow(int edge) const { return edges_[static_cast<std::size_t>(edge ^ 1)].left; }

  double solve(int source, int sink, double rounding) {
    rounding_ = rounding;
    double total = 0.0;
    while (find_levels(source, sink)) {
      next_.assign(edges_of_.size(), 0);
      while (true) {
        const double pushed = push(source, sink, std::numeric_limits<double>::infinity());
        if (pushed <= rounding_) {
          break;
        }
        total += pushed;
      }
    }
    return total;
  }
  /// After `solve`: can more still reach `vertex` from the source (the source side of a minimum
  /// cut)?
  bool is_reachable(int vertex) const { return level_[static_cast<std::size_t>(vertex)] >= 0; }

 private:
  struct Edge {
    int to;
    double left;
  };

  bool find_levels(int source, int sink) {
    level_.assign(edges_of_.size(), -1);
    level_[static_cast<std::size_t>(source)] = 0;
    std::queue<int> open;
    open.push(source);
    while (!open.empty()) {
      const int v = open.front();
      open.pop();
      for (const int e : edges_of_[static_cast<std::size_t>(v)]) {
        const Edge& edge = edges_[static_cast<std::size_t>(e)];
        if (edge.left > rounding_ && level_[static_cast<std::size_t>(edge.to)] < 0) {
          level_[static_cast<std::size_t>(edge.to)] = level_[static_cast<std::size_t>(v)] + 1;
          open.push(edge.to);
        }
      }
    }
    return level_[static_cast<std::size_t>(sink)] >= 0;
  }

  double push(int v, int sink, double limit) {  // depth at most 2 * (experts + GPUs)
    if (v == sink) {
      return limit;
    }
    const std::vector<int>& edges = edges_of_[static_cast<std::size_t>(v)];
    for (std::size_t& i = next_[static_cast<std::size_t>(v)]; i < edges.size(); ++i) {
      Edge& edge = edges_[static_cast<std::size_t>(edges[i])];
      if (edge.left <= rounding_ ||
          level_[static_cast<std::size_t>(edge.to)] != level_[static_cast<std::size_t>(v)] + 1) {
        continue;
      }
      const double pushed = push(edge.to, sink, std::min(limit, edge.left));
      if (pushed > rounding_) {
        edge.left -= pushed;
        edges_[static_cast<std::size_t>(edges[i] ^ 1)].left += pushed;
        return pushed;
      }
    }
    return 0.0;
  }

  std::vector<std::vector<int>> edges_of_;
  std::vector<Edge> edges_;
  std::vector<int> level_;
  std::vector<std::size_t> next_;
  double rounding_ = 0.0;
};

class LinearProgramDispatch : public DispatchPolicy {
 public:
  Sent split(const DispatchProblem& problem, std::uint64_t) const override {
    const Grid grid(problem);
    std::vector<double> quota = slot_quotas(problem, grid);
    // Sources take what is nearest first, so the optimal loads cost as little traffic as this order
    // allows.
    Sent sent = nothing_sent(problem);
    std::vector<std::vector<double>> left = problem.counts;
    for (int distance = 0; distance <= 2; ++distance) {
      for (std::size_t slot = 0; slot < quota.size(); ++slot) {
        const auto expert = static_cast<std::size_t>(problem.slot_to_expert[slot]);
        for (int source = 0; source < problem.gpus; ++source) {
          const auto s = static_cast<std::size_t>(source);
          if (grid.distance(source, static_cast<int>(slot)) == distance) {
            const double moved = std::min(left[s][expert], quota[slot]);
            sent[s][slot] += moved;
            left[s][expert] -= moved;
            quota[slot] -= moved;
          }
        }
      }
    }
    // Rounding crumbs of the flow go to any replica.
    for (std::size_t slot = 0; slot < quota.size(); ++slot) {
      const auto expert = static_cast<std::size_t>(problem.slot_to_expert[slot]);
      for (std::size_t s = 0; s < left.size(); ++s) {
        sent[s][slot] += std::exchange(left[s][expert], 0.0);
      }
    }
    return sent;
  }

 private:
  /// Selections for each slot that make the busiest GPU least busy. T starts at the mean; while it
  /// is too small, a minimum cut names a set of experts whose GPUs cannot do with less than its own
  /// mean, the next T.
  static std::vector<double> slot_quotas(const DispatchProblem& problem, const Grid& grid) {
    const int source = problem.experts + problem.gpus;
    const int sink = source + 1;
    MaximumFlow flow(sink + 1);
    std::vector<double> demand(static_cast<std::size_t>(problem.experts), 0.0);
    for (const std::vector<double>& row : problem.counts) {
      for (std::size_t e = 0; e < demand.size(); ++e) {
        demand[e] += row[e];
      }
    }
    const double total = std::accumulate(demand.begin(), demand.end(), 0.0);
    const double rounding = 1e-12 * total;
    std::vector<int> expert_edge, slot_edge, gpu_edge;
    for (int e = 0; e < problem.experts; ++e) {
      expert_edge.push_back(flow.add_edge(source, e, 0.0));
    }
    for (std::size_t s = 0; s < problem.slot_to_expert.size(); ++s) {
      slot_edge.push_back(flow.add_edge(problem.slot_to_expert[s],
                                        problem.experts + grid.gpu_of(static_cast<int>(s)), 0.0));
    }
    double all_speed = 0.0;
    for (int g = 0; g < problem.gpus; ++g) {
      gpu_edge.push_back(flow.add_edge(problem.experts + g, sink, 0.0));
      all_speed += speed(problem, g);
    }
    double time = total / all_speed;
    while (true) {
      for (std::size_t e = 0; e < demand.size(); ++e) {
        flow.set_capacity(expert_edge[e], demand[e]);
      }
      for (const int edge : slot_edge) {
        flow.set_capacity(edge, total);
      }
      for (int g = 0; g < problem.gpus; ++g) {
        flow.set_capacity(gpu_edge[static_cast<std::size_t>(g)], time * speed(problem, g));
      }
      if (flow.solve(source, sink, rounding) >= total * (1.0 - 1e-9)) {
        break;
      }
      double cut_demand = 0.0;
      double cut_speed = 0.0;
      for (int e = 0; e < problem.experts; ++e) {
        cut_demand += flow.is_reachable(e) ? demand[static_cast<std::size_t>(e)] : 0.0;
      }
      for (int g = 0; g < problem.gpus; ++g) {
        cut_speed += flow.is_reachable(problem.experts + g) ? speed(problem, g) : 0.0;
      }
      const double next = cut_speed > 0.0 ? cut_demand / cut_speed : time;
      if (next <= time * (1.0 + 1e-12)) {
        break;  // only rounding is missing
      }
      time = next;
    }
    std::vector<double> quota;
    for (const int edge : slot_edge) {
      quota.push_back(flow.flow(edge));
    }
    return quota;
  }

  static double speed(const DispatchProblem& problem, int gpu) {
    return problem.gpu_speed.empty() ? 1.0 : problem.gpu_speed[static_cast<std::size_t>(gpu)];
  }
};

template <class Policy>
std::unique_ptr<DispatchPolicy> make() {
  return std::make_unique<Policy>();
}

constexpr DispatchPolicyRow kPolicies[] = {
    {"even", "every replica of an expert gets the same share", make<EvenDispatch>},
    {"random", "each selection draws a replica", make<RandomDispatch>},
    {"nearest", "replicas on the own GPU, else in the own node, else all", make<NearestDispatch>},
    {"lp", "shares that make the busiest GPU least busy, nearest first",
     make<LinearProgramDispatch>},
};

}  // namespace

std::span<const DispatchPolicyRow> dispatch_policies() { return kPolicies; }

DispatchResult dispatch_selections(const DispatchProblem& problem, std::string_view policy,
                                   std::uint64_t seed) {
  std::string allowed;
  for (const DispatchPolicyRow& row : kPolicies) {
    allowed += (allowed.empty() ? "" : ", ") + std::string(row.name);
    if (row.name != policy) {
      continue;
    }
    const Grid grid(problem);
    DispatchResult result;
    result.sent = row.make()->split(problem, seed);
    result.gpu_load.assign(static_cast<std::size_t>(problem.gpus), 0.0);
    double total = 0.0;
    double by_distance[3] = {0.0, 0.0, 0.0};
    for (int source = 0; source < problem.gpus; ++source) {
      const std::vector<double>& sent = result.sent[static_cast<std::size_t>(source)];
      for (std::size_t slot = 0; slot < sent.size(); ++slot) {
        total += sent[slot];
        result.gpu_load[static_cast<std::size_t>(grid.gpu_of(static_cast<int>(slot)))] +=
            sent[slot];
        by_distance[grid.distance(source, static_cast<int>(slot))] += sent[slot];
      }
    }
    for (std::size_t g = 0; g < result.gpu_load.size(); ++g) {
      const double speed = problem.gpu_speed.empty() ? 1.0 : problem.gpu_speed[g];
      result.busiest = std::max(result.busiest, result.gpu_load[g] / speed);
    }
    if (total > 0.0) {
      result.same_gpu_fraction = by_distance[0] / total;
      result.same_node_fraction = by_distance[1] / total;
    }
    return result;
  }
  throw InputError("", "/placement/dispatch", "unknown policy \"" + std::string(policy) + "\"",
                   allowed);
}

PlacementFanOut mean_fan_out(std::span<const int> slot_to_expert, int gpus, int nodes,
                             std::span<const std::int16_t> token_sets, int top_k) {
  DispatchProblem shape;
  shape.slot_to_expert.assign(slot_to_expert.begin(), slot_to_expert.end());
  shape.gpus = gpus;
  shape.nodes = nodes;
  shape.experts = *std::max_element(slot_to_expert.begin(), slot_to_expert.end()) + 1;
  const Grid grid(shape);
  const auto slots = slots_of_experts(slot_to_expert, shape.experts);
  const std::size_t tokens = token_sets.size() / static_cast<std::size_t>(top_k);
  std::vector<std::size_t> gpu_seen(static_cast<std::size_t>(gpus), 0);
  std::vector<std::size_t> node_seen(static_cast<std::size_t>(nodes), 0);
  PlacementFanOut fan_out;
  for (std::size_t t = 0; t < tokens; ++t) {
    const int source = static_cast<int>(t % static_cast<std::size_t>(gpus));
    for (const std::int16_t expert :
         token_sets.subspan(t * static_cast<std::size_t>(top_k), static_cast<std::size_t>(top_k))) {
      const std::vector<int>& targets = slots[static_cast<std::size_t>(expert)];
      const int slot = *std::min_element(targets.begin(), targets.end(), [&](int a, int b) {
        return grid.distance(source, a) < grid.distance(source, b);
      });
      const int gpu = grid.gpu_of(slot);
      if (std::exchange(gpu_seen[static_cast<std::size_t>(gpu)], t + 1) != t + 1) {
        fan_out.gpus += 1.0;
      }
      if (std::exchange(node_seen[static_cast<std::size_t>(grid.node_of(gpu))], t + 1) != t + 1) {
        fan_out.nodes += 1.0;
      }
    }
  }
  if (tokens > 0) {
    fan_out.gpus /= static_cast<double>(tokens);
    fan_out.nodes /= static_cast<double>(tokens);
  }
  return fan_out;
}

}  // namespace moesim

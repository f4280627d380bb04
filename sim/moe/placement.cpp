// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>

#include "sim/base/stop.h"
#include "sim/moe/placement_eplb.h"
#include "sim/moe/placement_policies.h"

namespace moesim {
namespace {

// Moves that `best` looks at per layer: about 0.5 ms at 1-2 ns each.
constexpr std::int64_t kSearchEvaluations = 180'000;
// Crossing nodes with expert groups must relieve the busiest GPU by this much to be worth its
// traffic.
constexpr double kNodeLocalityWorth = 0.05;
// How much busier than the best balance the busiest GPU may be to save traffic.
constexpr double kCoactivationOverload = 1.10;

std::vector<double> equal_speeds(const PlacementRequest& request) {
  return std::vector<double>(static_cast<std::size_t>(request.gpus), 1.0);
}

std::vector<double> speeds_of(const PlacementRequest& request) {
  return request.gpu_speed.empty() ? equal_speeds(request) : request.gpu_speed;
}

class Contiguous : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    std::vector<int> layer(static_cast<std::size_t>(request.slots));
    for (int s = 0; s < request.slots; ++s) {
      layer[static_cast<std::size_t>(s)] = s % request.experts();
    }
    return SlotTable(request.weights.size(), layer);
  }
};

class RoundRobin : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    std::vector<int> layer(static_cast<std::size_t>(request.slots));
    int next = 0;
    for (int n = 0; n < request.slots; ++n) {
      const auto first = layer.begin() + (n % request.gpus) * request.slots_per_gpu();
      const auto here = first + n / request.gpus;
      // After the first lap the next expert may be on this GPU already: then the one after it.
      int expert = next;
      while (!request.allow_same_gpu_replicas && std::find(first, here, expert) != here) {
        expert = (expert + 1) % request.experts();
      }
      *here = expert;
      next = (expert + 1) % request.experts();
    }
    return SlotTable(request.weights.size(), layer);
  }
};

class LongestFirst : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    SlotTable table;
    for (int layer = 0; layer < request.layers(); ++layer) {
      check_stopped();
      table.push_back(
          balanced_layer(request, layer, token_costs(request, layer), equal_speeds(request), 0));
    }
    return table;
  }
};

class Eplb : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override { return eplb_slots(request); }
};

class Activated : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    SlotTable table;
    for (int layer = 0; layer < request.layers(); ++layer) {
      check_stopped();
      table.push_back(balanced_layer(request, layer, activation_costs(request, layer),
                                     speeds_of(request), kSearchEvaluations));
    }
    return table;
  }
};

class SpeedAware : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    SlotTable table;
    for (int layer = 0; layer < request.layers(); ++layer) {
      check_stopped();
      table.push_back(balanced_layer(request, layer, token_costs(request, layer),
                                     speeds_of(request), kSearchEvaluations));
    }
    return table;
  }
};

class Best : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    SlotTable table = SpeedAware().slots(request);
    SlotTable eplb = eplb_slots(request);
    const Placement searched = evaluate_placement(request, table);
    const Placement published = evaluate_placement(request, eplb);
    for (std::size_t l = 0; l < table.size(); ++l) {
      const bool is_allowed =
          request.allow_same_gpu_replicas || same_gpu_replicas(eplb[l], request.gpus) == 0;
      if (is_allowed && published.balancedness[l] > searched.balancedness[l]) {
        table[l] = eplb[l];
      }
      if (request.is_hierarchical()) {
        table[l] = spread_over_nodes(request, static_cast<int>(l), speeds_of(request), table[l],
                                     kNodeLocalityWorth, kSearchEvaluations);
      }
    }
    return table;
  }
};

class Coactivation : public PlacementPolicy {
 public:
  SlotTable slots(const PlacementRequest& request) const override {
    return coactivation_slots(request, kCoactivationOverload);
  }
};

template <class Policy>
std::unique_ptr<PlacementPolicy> make() {
  return std::make_unique<Policy>();
}

constexpr PlacementPolicyRow kPolicies[] = {
    {"contiguous", "experts in index order, spare slots filled from the first expert on",
     make<Contiguous>},
    {"round_robin", "expert e on GPU e mod gpus", make<RoundRobin>},
    {"lpt", "longest processing time: heaviest replica first onto the least-loaded GPU",
     make<LongestFirst>},
    {"eplb", "the published expert-parallel load balancer, slot for slot", make<Eplb>},
    {"best", "local search on the busiest GPU; no busier than eplb", make<Best>},
    {"activated", "balances activated experts, which memory-bound decode waits for",
     make<Activated>},
    {"speed_aware", "local search on load/speed of unlike GPUs", make<SpeedAware>},
    {"coactivation", "experts that serve the same tokens share a GPU or node (graph partitioning)",
     make<Coactivation>},
};

const PlacementPolicyRow& policy_row(std::string_view name) {
  std::vector<std::string> names;
  for (const PlacementPolicyRow& row : kPolicies) {
    if (row.name == name) {
      return row;
    }
    names.emplace_back(row.name);
  }
  std::string allowed;
  for (const std::string& known : names) {
    allowed += (allowed.empty() ? "" : ", ") + known;
  }
  const std::string near = nearest_word(name, names);
  throw InputError("", "/placement/policy",
                   "unknown policy \"" + std::string(name) + "\"" +
                       (near.empty() ? "" : "; did you mean \"" + near + "\"?"),
                   allowed);
}

std::string at(std::string_view key, std::size_t index) {
  return "/" + std::string(key) + "/" + std::to_string(index);
}

}  // namespace

void PlacementRequest::check(const std::string& file, Diagnostics& diagnostics) const {
  const std::size_t earlier = diagnostics.list().size();
  if (weights.empty() || weights.front().empty()) {
    diagnostics.add(file, "/weights", "no layer or no expert",
                    "[layers][experts], at least one of each");
    return;
  }
  for (std::size_t l = 0; l < weights.size(); ++l) {
    if (weights[l].size() != weights.front().size()) {
      diagnostics.add(file, at("weights", l),
                      std::to_string(weights[l].size()) + " experts where layer 0 has " +
                          std::to_string(weights.front().size()));
    }
    for (std::size_t e = 0; e < weights[l].size(); ++e) {
      if (!(weights[l][e] >= 0.0) || !(weights[l][e] <= 1e30)) {
        diagnostics.add(file, at("weights", l) + "/" + std::to_string(e),
                        "load " + std::to_string(weights[l][e]), "0 to 1e30");
      }
    }
  }
  const auto positive = [&](const char* key, int value) {
    if (value < 1) {
      diagnostics.add(file, key, std::to_string(value), "1 or more");
    }
  };
  positive("/gpus", gpus);
  positive("/nodes", nodes);
  positive("/groups", groups);
  positive("/slots", slots);
  if (diagnostics.list().size() > earlier) {
    return;
  }
  const auto divides = [&](const char* key, int value, int divisor, const std::string& what) {
    if (value % divisor != 0) {
      diagnostics.add(file, key,
                      std::to_string(value) + " is not a multiple of " + what + " (" +
                          std::to_string(divisor) + ")");
    }
  };
  divides("/slots", slots, gpus, "the GPUs");
  divides("/gpus", gpus, nodes, "the nodes");
  divides("/weights/0", experts(), groups, "the groups");
  if (slots < experts()) {
    diagnostics.add(
        file, "/slots",
        std::to_string(slots) + " slots cannot hold " + std::to_string(experts()) + " experts",
        std::to_string(experts()) + " or more");
  } else if (!allow_same_gpu_replicas) {
    const int part_experts = is_hierarchical() ? experts() / nodes : experts();
    if (slots / gpus > part_experts) {
      diagnostics.add(
          file, "/slots",
          std::to_string(slots / gpus) + " slots a GPU for " + std::to_string(part_experts) +
              " experts: replicas of one expert would share a GPU",
          "at most " + std::to_string(part_experts * gpus) + ", or allow_same_gpu_replicas");
    }
  }
  if (!gpu_speed.empty() && static_cast<int>(gpu_speed.size()) != gpus) {
    diagnostics.add(file, "/gpu_speed", std::to_string(gpu_speed.size()) + " speeds",
                    std::to_string(gpus));
  }
  for (std::size_t g = 0; g < gpu_speed.size(); ++g) {
    if (!(gpu_speed[g] > 0.0) || !std::isfinite(gpu_speed[g])) {
      diagnostics.add(file, at("gpu_speed", g), std::to_string(gpu_speed[g]), "above 0");
    }
  }
  if (!(tokens_per_step > 0.0) || !std::isfinite(tokens_per_step)) {
    diagnostics.add(file, "/tokens_per_step", std::to_string(tokens_per_step), "above 0");
  }
  positive("/top_k", top_k);
  if (!coactivation.empty() && coactivation.size() != weights.size()) {
    diagnostics.add(file, "/coactivation", std::to_string(coactivation.size()) + " layers",
                    std::to_string(weights.size()));
  }
  for (std::size_t l = 0; l < coactivation.size(); ++l) {
    for (std::size_t p = 0; p < coactivation[l].size(); ++p) {
      const ExpertPair& pair = coactivation[l][p];
      const bool is_known = pair.first >= 0 && pair.first < experts() && pair.second >= 0 &&
                            pair.second < experts() && pair.first != pair.second;
      if (!is_known || !(pair.count >= 0.0) || !std::isfinite(pair.count)) {
        diagnostics.add(
            file, at("coactivation", l) + "/" + std::to_string(p),
            "pair (" + std::to_string(pair.first) + ", " + std::to_string(pair.second) + ")",
            "two different experts and a count of 0 or more");
      }
    }
  }
}

std::span<const PlacementPolicyRow> placement_policies() { return kPolicies; }

Placement place_experts(const PlacementRequest& request, std::string_view policy) {
  const PlacementPolicyRow& row = policy_row(policy);
  Diagnostics diagnostics;
  request.check("", diagnostics);
  diagnostics.throw_if_any();
  return evaluate_placement(request, row.make()->slots(request));
}

Placement evaluate_placement(const PlacementRequest& request, SlotTable slot_to_expert) {
  MOESIM_CHECK(slot_to_expert.size() == request.weights.size(), "one row of slots per layer");
  Placement placement;
  placement.slot_to_expert = std::move(slot_to_expert);
  const std::vector<double> speeds = speeds_of(request);
  const double speed = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  const auto slots_per_gpu = static_cast<std::size_t>(request.slots_per_gpu());
  for (std::size_t l = 0; l < request.weights.size(); ++l) {
    const std::vector<double>& weights = request.weights[l];
    const std::vector<int>& slots = placement.slot_to_expert[l];
    std::vector<int> replicas(weights.size(), 0);
    for (const int expert : slots) {
      ++replicas[static_cast<std::size_t>(expert)];
    }
    std::vector<double> share(weights.size());
    double total = 0.0;
    for (std::size_t e = 0; e < weights.size(); ++e) {
      MOESIM_CHECK(replicas[e] > 0, "every expert has a slot");
      share[e] = weights[e] / replicas[e];
      total += weights[e];
    }
    std::vector<double> loads(static_cast<std::size_t>(request.gpus), 0.0);
    double busiest = 0.0;
    std::size_t slot = 0;
    for (std::size_t g = 0; g < loads.size(); ++g) {
      for (const std::size_t end = slot + slots_per_gpu; slot < end; ++slot) {
        loads[g] += share[static_cast<std::size_t>(slots[slot])];
      }
      busiest = std::max(busiest, loads[g] / speeds[g]);
    }
    placement.balancedness.push_back(busiest > 0.0 ? total / speed / busiest : 1.0);
    placement.replicas.push_back(std::move(replicas));
    placement.gpu_load.push_back(std::move(loads));
  }
  return placement;
}

double placement_lower_bound(std::span<const double> weights, int slots, int gpus) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::priority_queue<std::pair<double, std::size_t>> shares;
  std::vector<int> replicas(weights.size(), 1);
  for (std::size_t e = 0; e < weights.size(); ++e) {
    shares.emplace(weights[e], e);
  }
  for (int spare = slots - static_cast<int>(weights.size()); spare > 0; --spare) {
    const std::size_t most = shares.top().second;
    shares.pop();
    shares.emplace(weights[most] / ++replicas[most], most);
  }
  return std::max(total / gpus, shares.top().first);
}

int same_gpu_replicas(std::span<const int> slot_to_expert, int gpus) {
  const std::size_t slots_per_gpu = slot_to_expert.size() / static_cast<std::size_t>(gpus);
  int pairs = 0;
  for (std::size_t first = 0; first < slot_to_expert.size(); ++first) {
    const std::size_t end = (first / slots_per_gpu + 1) * slots_per_gpu;
    for (std::size_t second = first + 1; second < end; ++second) {
      pairs += slot_to_expert[first] == slot_to_expert[second] ? 1 : 0;
    }
  }
  return pairs;
}

}  // namespace moesim

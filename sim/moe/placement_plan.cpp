// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/moe/placement_dispatch.h"
#include "sim/moe/placement_format.h"
#include "sim/moe/router_program.h"
#include "sim/moe/token_routing_domains.h"
#include "sim/moe/token_routing_input.h"

namespace moesim {
namespace {

constexpr std::int64_t kCoactivationTokens = 2048;  ///< tokens whose pairs are counted

class Planner {
 public:
  Planner(const PlacementConfig& config, const RoutingSpec& spec,
          std::span<const std::shared_ptr<const LayerRouting>> routings,
          const PlacementContext& context)
      : config_(config),
        spec_(spec),
        routings_(routings),
        context_(context),
        request_(placement_request(config, spec, context)) {}

  PlacementPlan plan() {
    if (config_.rebalance.trigger == RebalanceRule::never || spec_.mixture == nullptr) {
      return plan_of(planned_slots());
    }
    RebalanceTimeline rebalancing = rebalanced();
    PlacementPlan plan = plan_of(rebalancing.slot_to_expert);
    plan.rebalancing = std::move(rebalancing);
    return plan;
  }

  PlacementPlan plan_of(const SlotTable& slots) {
    PlacementPlan plan;
    const std::vector<std::vector<double>> served = served_loads();
    // Equal rows (a policy that does not look at loads, layers that are alike) need one map.
    const bool is_one = config_.dispatch == DispatchRule::even &&
                        std::all_of(slots.begin(), slots.end(),
                                    [&](const std::vector<int>& row) { return row == slots[0]; });
    PlacementRequest judged = request_;
    judged.weights = served;
    plan.balancedness = evaluate_placement(judged, slots).balancedness;
    for (std::size_t l = 0; l < (is_one ? 1 : slots.size()); ++l) {
      plan.maps.push_back(map_of(slots[l], served[l]));
    }
    return plan;
  }

  SlotTable planned_slots() {
    PlacementRequest request = request_;
    request.weights = known_loads();
    switch (config_.policy) {
      case PlacementKind::file:
        return slots_of_file(request);
      case PlacementKind::program:
        return program_slots(request, config_.command);
      case PlacementKind::coactivation:
        add_pairs(request);
        break;
      default:
        break;
    }
    const bool is_blind =
        config_.policy == PlacementKind::contiguous || config_.policy == PlacementKind::round_robin;
    if (is_blind) {
      request.weights.resize(1);
    }
    SlotTable slots = place_experts(request, choice_name(config_.policy)).slot_to_expert;
    slots.resize(routings_.size(), slots.front());
    return slots;
  }

 private:
  std::vector<std::vector<double>> served_loads() const {
    std::vector<std::vector<double>> loads;
    for (const std::shared_ptr<const LayerRouting>& routing : routings_) {
      loads.emplace_back(routing->inclusion().begin(), routing->inclusion().end());
    }
    return loads;
  }

  std::vector<std::vector<double>> loads_at(Seconds time) const {
    std::vector<std::vector<double>> loads;
    for (std::size_t l = 0; l < routings_.size(); ++l) {
      loads.push_back(spec_.mixture->inclusion_at(static_cast<std::int32_t>(l), time));
    }
    return loads;
  }

  /// The loads that the plan knows.
  std::vector<std::vector<double>> known_loads() const {
    if (config_.planned_at_s && spec_.mixture != nullptr) {
      return loads_at(Seconds(*config_.planned_at_s));
    }
    if (config_.planned_on.empty()) {
      return served_loads();
    }
    const std::vector<std::vector<double>> recorded =
        recorded_loads(config_.planned_on, context_.file);
    std::vector<std::vector<double>> loads;
    for (std::size_t l = 0; l < routings_.size(); ++l) {
      loads.push_back(recorded[l % recorded.size()]);
      if (loads.back().size() != static_cast<std::size_t>(spec_.gate.experts)) {
        throw InputError(context_.file, "/placement/planned_on",
                         "the recording has " + std::to_string(loads.back().size()) +
                             " experts, the model " + std::to_string(spec_.gate.experts),
                         "allowed: a recording of a model with as many experts");
      }
    }
    return loads;
  }

  SlotTable slots_of_file(const PlacementRequest& request) const {
    const std::string path = beside(context_.file, config_.file);
    const PlacementFile file = read_placement(load_json(path), path, context_.leading_dense_layers);
    Diagnostics diagnostics;
    if (file.gpus != 0 && file.gpus != request.gpus) {
      diagnostics.add(path, "", std::to_string(file.gpus) + " GPUs",
                      std::to_string(request.gpus) + ", the expert-parallel ranks");
    }
    check_slots(request, file.slot_to_expert, path, diagnostics);
    diagnostics.throw_if_any();
    return file.slot_to_expert;
  }

  /// How often two experts serve one token, from drawn tokens.
  void add_pairs(PlacementRequest& request) const {
    const auto experts = static_cast<std::size_t>(spec_.gate.experts);
    const auto k = static_cast<std::size_t>(spec_.gate.top_k);
    for (const std::shared_ptr<const LayerRouting>& routing : routings_) {
      const std::vector<std::int16_t> sets =
          routing->draw_tokens(kCoactivationTokens, ~std::uint64_t{1});
      std::vector<double> counts(experts * experts, 0.0);
      for (std::size_t t = 0; t < sets.size(); t += k) {
        for (std::size_t i = 0; i < k; ++i) {
          for (std::size_t j = i + 1; j < k; ++j) {
            const auto a = static_cast<std::size_t>(std::min(sets[t + i], sets[t + j]));
            const auto b = static_cast<std::size_t>(std::max(sets[t + i], sets[t + j]));
            counts[a * experts + b] += 1.0;
          }
        }
      }
      std::vector<ExpertPair> pairs;
      for (std::size_t a = 0; a < experts; ++a) {
        for (std::size_t b = a + 1; b < experts; ++b) {
          if (counts[a * experts + b] > 0.0) {
            pairs.push_back({static_cast<int>(a), static_cast<int>(b), counts[a * experts + b]});
          }
        }
      }
      request.coactivation.push_back(std::move(pairs));
    }
  }

  RebalanceTimeline rebalanced() {
    const RebalanceConfig& rule = config_.rebalance;
    RebalanceSpec spec = rebalance_spec(config_, context_);
    if (config_.planned_at_s || !config_.planned_on.empty()) {
      spec.first_slots = planned_slots();
    }
    const auto last = static_cast<int>(spec_.time.value() / rule.window_s);
    std::vector<LoadWindow> windows;
    for (int w = 0; w <= last; ++w) {
      // The window of the step is seen at the step itself, those before in their middle.
      const Seconds time =
          w == last ? spec_.time : Seconds((static_cast<double>(w) + 0.5) * rule.window_s);
      windows.push_back({loads_at(time)});
    }
    return simulate_rebalancing(request_, windows, spec);
  }

  ExpertMap map_of(const std::vector<int>& slots, const std::vector<double>& loads) const {
    const std::vector<std::int32_t> row(slots.begin(), slots.end());
    ExpertMap map =
        ExpertMap::from_slots(row, spec_.gate.experts, context_.ranks, context_.ranks_per_node);
    const bool is_source_aware =
        config_.dispatch == DispatchRule::nearest || config_.dispatch == DispatchRule::lp;
    if (!is_source_aware || slots.size() == loads.size()) {
      return map;
    }
    DispatchProblem problem;
    problem.slot_to_expert = slots;
    problem.gpus = request_.gpus;
    problem.nodes = request_.nodes;
    problem.experts = spec_.gate.experts;
    problem.gpu_speed = request_.gpu_speed;
    std::vector<double> counts = loads;
    for (double& count : counts) {
      count /= request_.gpus;
    }
    problem.counts.assign(static_cast<std::size_t>(request_.gpus), counts);
    const DispatchResult sent = dispatch_selections(problem, choice_name(config_.dispatch));
    std::vector<double> replicas(loads.size(), 0.0);
    for (const int expert : slots) {
      replicas[static_cast<std::size_t>(expert)] += 1.0;
    }
    for (const std::vector<double>& source : sent.sent) {
      for (std::size_t s = 0; s < slots.size(); ++s) {
        const auto e = static_cast<std::size_t>(slots[s]);
        map.split.push_back(
            static_cast<float>(counts[e] > 0.0 ? source[s] / counts[e] : 1.0 / replicas[e]));
      }
    }
    return map;
  }

  const PlacementConfig& config_;
  const RoutingSpec& spec_;
  std::span<const std::shared_ptr<const LayerRouting>> routings_;
  const PlacementContext& context_;
  PlacementRequest request_;
};

}  // namespace

PlacementRequest placement_request(const PlacementConfig& config, const RoutingSpec& spec,
                                   const PlacementContext& context) {
  const auto experts = static_cast<int>(spec.gate.experts);
  PlacementRequest request;
  request.slots = static_cast<int>(config.slots.value_or(experts));
  request.gpus = context.ranks;
  request.nodes =
      context.ranks % context.ranks_per_node == 0 ? context.ranks / context.ranks_per_node : 1;
  request.groups = experts % context.groups == 0 ? context.groups : 1;
  request.gpu_speed = context.rank_speed;
  request.tokens_per_step = std::max(1.0, context.tokens_per_step);
  request.top_k = spec.gate.top_k;
  request.allow_same_gpu_replicas = config.same_gpu_replicas;
  return request;
}

RebalanceSpec rebalance_spec(const PlacementConfig& config, const PlacementContext& context) {
  const RebalanceConfig& rule = config.rebalance;
  RebalanceSpec spec;
  spec.placement = choice_name(config.policy);
  spec.trigger = choice_name(rule.trigger);
  spec.interval_windows = static_cast<int>(rule.interval_windows);
  spec.balancedness_threshold = rule.balancedness;
  spec.history_windows = static_cast<int>(rule.history_windows);
  spec.expert_bytes = context.expert_bytes;
  spec.link_rate = context.link_rate;
  spec.hidden_fraction = rule.hidden_fraction;
  return spec;
}

SlotTable planned_slots(const PlacementConfig& config, const RoutingSpec& spec,
                        std::span<const std::shared_ptr<const LayerRouting>> routings,
                        const PlacementContext& context) {
  return Planner(config, spec, routings, context).planned_slots();
}

PlacementPlan plan_of_slots(const PlacementConfig& config, const RoutingSpec& spec,
                            std::span<const std::shared_ptr<const LayerRouting>> routings,
                            const PlacementContext& context, const SlotTable& slots) {
  return Planner(config, spec, routings, context).plan_of(slots);
}

PlacementPlan plan_placement(const PlacementConfig& config, const RoutingSpec& spec,
                             std::span<const std::shared_ptr<const LayerRouting>> routings,
                             const PlacementContext& context) {
  return Planner(config, spec, routings, context).plan();
}

SlotTable program_slots(const PlacementRequest& request, const std::vector<std::string>& command) {
  Json json = write_object(request);
  Json ordered(Json::Object{{"schema", "moesim/placement/1"}});
  for (auto& [key, value] : json.members()) {
    ordered.set(key, std::move(value));
  }
  LineProgram program(command);
  const PlacementFile answer =
      read_placement(parse_json(program.ask(ordered.dump(-1)), command.front()), command.front());
  Diagnostics diagnostics;
  check_slots(request, answer.slot_to_expert, command.front(), diagnostics);
  diagnostics.throw_if_any();
  return answer.slot_to_expert;
}

void check_slots(const PlacementRequest& request, const SlotTable& slots, const std::string& file,
                 Diagnostics& diagnostics) {
  if (static_cast<int>(slots.size()) != request.layers()) {
    diagnostics.add(file, "", std::to_string(slots.size()) + " layers",
                    std::to_string(request.layers()) + ", as the loads have");
    return;
  }
  for (std::size_t l = 0; l < slots.size(); ++l) {
    const std::string layer = "layer " + std::to_string(l);
    if (static_cast<int>(slots[l].size()) != request.slots) {
      diagnostics.add(file, layer, std::to_string(slots[l].size()) + " slots",
                      std::to_string(request.slots));
      continue;
    }
    std::vector<bool> has_slot(static_cast<std::size_t>(request.experts()), false);
    for (const int expert : slots[l]) {
      if (expert < 0 || expert >= request.experts()) {
        diagnostics.add(file, layer, "expert " + std::to_string(expert),
                        "0 to " + std::to_string(request.experts() - 1));
      } else {
        has_slot[static_cast<std::size_t>(expert)] = true;
      }
    }
    const auto without = std::find(has_slot.begin(), has_slot.end(), false);
    if (without != has_slot.end()) {
      diagnostics.add(file, layer,
                      "expert " + std::to_string(without - has_slot.begin()) + " has no slot",
                      "every expert needs one");
    }
  }
}

}  // namespace moesim

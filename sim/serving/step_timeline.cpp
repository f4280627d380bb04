// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/step_timeline.h"

#include <algorithm>
#include <cmath>

#include "sim/moe/token_routing_domains.h"

namespace moesim {
namespace {

constexpr double kForEver = std::numeric_limits<double>::infinity();

bool has_slots(const PlacementPlan* plan, const SlotTable& slots) {
  if (plan == nullptr) {
    return true;  // contiguous for ever
  }
  for (std::size_t l = 0; l < slots.size(); ++l) {
    const std::vector<std::int32_t>& row = plan->maps[plan->maps.size() == 1 ? 0 : l].slot_expert;
    if (!std::equal(row.begin(), row.end(), slots[l].begin(), slots[l].end())) {
      return false;
    }
  }
  return true;
}

}  // namespace

class StepTimeline::Experts {
 public:
  Experts(const Scenario& scenario, const RoutingSpec& routing, const StepCostModel& model)
      : placement_(scenario.spec.placement),
        routing_(routing),
        layers_(static_cast<std::int32_t>(model.step_template().num_moe_layers)),
        context_(model.loads().placement_context(scenario, routing, model.step_template())),
        is_planned_(model.loads().plan() != nullptr),
        timeline_(placement_, routing_, layers_, context_, model.loads().plan()) {
    loads_.push_back({routing_.mixture->shares_at(routing_.time), 0, routing_.time, model.loads()});
    // Plans that knew windows by their middle (the step's) may differ from those of the run.
    is_first_shared_ = has_slots(model.loads().plan(), timeline_.slots(0));
  }

  ExpertTimeline& timeline() { return timeline_; }
  double clock(Seconds time) const { return (time - routing_.time).value(); }

  /// Which loads an epoch has.
  std::size_t loads_of(const ExpertEpoch& epoch) {
    for (std::size_t i = is_first_shared_ ? 0 : 1; i < loads_.size(); ++i) {
      if (loads_[i].plan == epoch.plan && loads_[i].shares == epoch.shares) {
        return i;
      }
    }
    RoutingSpec seen = routing_;
    seen.time = epoch.seen_at;
    std::vector<std::shared_ptr<const LayerRouting>> layers;
    std::shared_ptr<const PlacementPlan> plan;
    if (is_planned_) {
      for (std::int32_t l = 0; l < layers_; ++l) {
        layers.push_back(std::make_shared<const LayerRouting>(seen, l));
      }
      plan = std::make_shared<const PlacementPlan>(
          plan_of_slots(placement_, seen, layers, context_, timeline_.slots(epoch.plan)));
    }
    loads_.push_back({epoch.shares, epoch.plan, epoch.seen_at,
                      loads_[0].view.under(seen, std::move(plan), std::move(layers))});
    return loads_.size() - 1;
  }
  const LoadView& view(std::size_t loads) const { return loads_[loads].view; }
  const RoutingSpec& routing() const { return routing_; }
  RoutingSpec routing(std::size_t loads) const {
    RoutingSpec seen = routing_;
    seen.time = loads_[loads].seen_at;
    return seen;
  }

 private:
  struct Loads {
    std::vector<double> shares;
    std::size_t plan = 0;
    Seconds seen_at;
    LoadView view;
  };
  const PlacementConfig placement_;
  const RoutingSpec routing_;
  std::int32_t layers_ = 0;
  PlacementContext context_;
  bool is_planned_ = false;
  ExpertTimeline timeline_;
  bool is_first_shared_ = true;
  std::vector<Loads> loads_;
};

StepTimeline::StepTimeline(const Scenario& scenario, const EngineRules& rules,
                           const StepTimes* like)
    : scenario_(scenario),
      rules_(rules),
      first_(std::make_shared<StepTimes>(scenario, rules, like)) {
  const StepCostModel& model = first_->decode_model();
  if (scenario.spec.routing.kind == RoutingModel::domains &&
      model.step_template().num_moe_layers > 0) {
    experts_ = std::make_shared<Experts>(scenario, routing_of(scenario), model);
  }
  append();
}

StepTimeline::StepTimeline(const StepTimeline& other, std::vector<ClusterSpell> spells)
    : scenario_(other.scenario_),
      rules_(other.rules_),
      first_(other.first_),
      experts_(other.experts_),
      swapped_(other.swapped_),
      spells_(std::move(spells)) {
  append();
}

StepTimeline::~StepTimeline() = default;

void StepTimeline::swap_experts(const MemoryBudget& memory, const StepTimes* like) {
  swapped_ = memory;
  const bool is_shared = like != nullptr && like->expert_swap() != nullptr &&
                         like->expert_swap()->is_like(scenario_, memory);
  first_->swap_experts(is_shared ? like->expert_swap() : swap_of(0, *first_, scenario_));
}

std::shared_ptr<ExpertSwap> StepTimeline::swap_of(std::size_t loads, const StepTimes& times,
                                                  const Scenario& scenario) const {
  if (experts_ == nullptr) {
    return std::make_shared<ExpertSwap>(scenario, routing_of(scenario), std::nullopt, *swapped_,
                                        times.shared_decode_model());
  }
  return std::make_shared<ExpertSwap>(scenario, experts_->routing(loads), experts_->routing(),
                                      *swapped_, times.shared_decode_model());
}

bool StepTimeline::rebalances() const {
  return experts_ != nullptr && experts_->timeline().rebalances();
}

std::size_t StepTimeline::state_of(std::size_t loads, std::size_t spell) {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].loads == loads && states_[i].spell == spell) {
      return i;
    }
  }
  states_.push_back(
      {loads, spell, nullptr, loads == 0 && spell == kNoSpell ? first_.get() : nullptr});
  return states_.size() - 1;
}

void StepTimeline::append() {
  StepEpoch next;
  next.begin_s = epochs_.empty() ? 0 : epochs_.back().end_s;
  std::size_t loads = 0;
  if (experts_ != nullptr) {
    ExpertTimeline& timeline = experts_->timeline();
    bool is_new = epochs_.empty();
    while (experts_->clock(timeline.epoch(expert_epoch_).end) <= next.begin_s) {
      ++expert_epoch_;
      is_new = true;
    }
    const ExpertEpoch& experts = timeline.epoch(expert_epoch_);
    next.experts = experts.state;
    if (is_new) {
      next.stall_s = experts.state.lost.value();
    } else {  // a spell begins or ends inside it
      next.experts = {};
      next.experts.balancedness = experts.state.balancedness;
    }
    next.end_s = experts_->clock(experts.end);
    loads = experts_->loads_of(experts);
  }
  std::size_t spell = kNoSpell;
  for (std::size_t i = 0; i < spells_.size(); ++i) {
    if (spells_[i].begin_s > next.begin_s) {
      next.end_s = std::min(next.end_s, spells_[i].begin_s);
    } else if (spells_[i].end_s > next.begin_s) {
      spell = i;
      next.end_s = std::min(next.end_s, spells_[i].end_s);
    }
  }
  next.state = state_of(loads, spell);
  epochs_.push_back(next);
}

std::size_t StepTimeline::epoch_at(double now) {
  while (epochs_.back().end_s <= now) {
    append();
  }
  const auto after =
      std::upper_bound(epochs_.begin(), epochs_.end(), now,
                       [](double time, const StepEpoch& epoch) { return time < epoch.begin_s; });
  return static_cast<std::size_t>(after - epochs_.begin()) - 1;
}

StepTimes& StepTimeline::times(std::size_t epoch) {
  State& state = states_[epochs_[epoch].state];
  if (state.times == nullptr) {
    const Scenario& scenario = state.spell == kNoSpell ? scenario_ : *spells_[state.spell].scenario;
    const LoadView& loads =
        experts_ != nullptr ? experts_->view(state.loads) : first_->decode_model().loads();
    state.made = std::make_unique<StepTimes>(scenario, rules_, nullptr, &loads);
    state.times = state.made.get();
    if (swapped_) {
      state.made->swap_experts(swap_of(state.loads, *state.made, scenario));
    }
  }
  return *state.times;
}

double StepTimeline::rank_max_over_mean(std::size_t epoch, double tokens) {
  const StepCostModel& model = times(epoch).decode_model();
  const std::int64_t layers =
      model.loads().layers_are_alike() ? 1 : model.step_template().num_moe_layers;
  double sum = 0;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    sum += model.loads().profile(layer, tokens).rank_max_over_mean();
  }
  return layers > 0 ? sum / static_cast<double>(layers) : 1.0;
}

std::int64_t StepTimeline::evaluations() const {
  std::int64_t count = spells_.empty() ? first_->evaluations() : 0;  // a copy's are counted there
  for (const State& state : states_) {
    count += state.made != nullptr ? state.made->evaluations() : 0;
  }
  return count;
}

}  // namespace moesim

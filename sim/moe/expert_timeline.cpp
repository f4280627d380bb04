// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_timeline.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "sim/moe/token_routing_domains.h"

namespace moesim {
namespace {

// A month in windows of five minutes has 8,640; after more changes than this the last one stays.
constexpr std::size_t kMostEpochs = 10000;

double mean_balancedness(PlacementRequest request, const LoadWindow& window,
                         const SlotTable& slots) {
  request.weights = window.weights;
  const std::vector<double> layers = evaluate_placement(request, slots).balancedness;
  return std::accumulate(layers.begin(), layers.end(), 0.0) / static_cast<double>(layers.size());
}

}  // namespace

ExpertTimeline::ExpertTimeline(const PlacementConfig& config, const RoutingSpec& spec,
                               std::int32_t layers, const PlacementContext& context,
                               const PlacementPlan* base)
    : mixture_(spec.mixture),
      from_(spec.time),
      layers_(layers),
      request_(placement_request(config, spec, context)) {
  if (config.rebalance.trigger == RebalanceRule::never) {
    if (base != nullptr) {
      plans_.emplace_back();
      for (std::int32_t l = 0; l < layers; ++l) {
        const ExpertMap& map = base->maps[base->maps.size() == 1 ? 0 : static_cast<std::size_t>(l)];
        plans_[0].emplace_back(map.slot_expert.begin(), map.slot_expert.end());
      }
    } else {
      PlacementRequest request = request_;
      request.weights = loads_of(mixture_->shares_at(from_)).weights;
      plans_.push_back(place_experts(request, "contiguous").slot_to_expert);
    }
    return;
  }
  RebalanceSpec rule = rebalance_spec(config, context);
  if (config.planned_at_s || !config.planned_on.empty()) {
    std::vector<std::shared_ptr<const LayerRouting>> routings;
    for (std::int32_t l = 0; l < layers; ++l) {
      routings.push_back(std::make_shared<const LayerRouting>(spec, l));
    }
    rule.first_slots = planned_slots(config, spec, routings, context);
  }
  window_s_ = config.rebalance.window_s;
  window_ = static_cast<std::int64_t>(std::floor(from_.value() / window_s_ * (1 + 1e-12)));
  PlacementRequest cluster = request_;
  cluster.weights = loads_of(mixture_->shares_at(from_)).weights;
  rebalancer_ = std::make_unique<Rebalancer>(std::move(cluster), std::move(rule));
  for (std::int64_t w = 0; w < window_; ++w) {
    rebalancer_->begin_window();
    rebalancer_->end_window(
        loads_of(mixture_->shares_at(Seconds((static_cast<double>(w) + 0.5) * window_s_))));
  }
  rebalancer_->begin_window();
  plans_.push_back(rebalancer_->slots());
  share_time_.assign(mixture_->domains().size(), 0.0);
}

LoadWindow ExpertTimeline::loads_of(const std::vector<double>& shares) const {
  LoadWindow window;
  for (std::int32_t l = 0; l < layers_; ++l) {
    window.weights.push_back(mixture_->inclusion_of(l, shares));
  }
  return window;
}

void ExpertTimeline::append() {
  constexpr double kForEver = std::numeric_limits<double>::infinity();
  ExpertEpoch next;
  next.start = epochs_.empty() ? from_ : epochs_.back().end;
  const double start = next.start.value();
  if (rebalancer_ && start >= static_cast<double>(window_ + 1) * window_s_ * (1 - 1e-12)) {
    const double total = std::accumulate(share_time_.begin(), share_time_.end(), 0.0);
    for (double& share : share_time_) {
      share /= total;
    }
    rebalancer_->end_window(loads_of(share_time_));
    std::fill(share_time_.begin(), share_time_.end(), 0.0);
    ++window_;
    next.state = rebalancer_->begin_window();
    if (next.state.moved_slots > 0) {
      plans_.push_back(rebalancer_->slots());
    }
  }
  double end =
      epochs_.size() + 1 < kMostEpochs ? mixture_->next_change(next.start).value() : kForEver;
  if (rebalancer_ && epochs_.size() + 1 < kMostEpochs) {
    end = std::min(end, static_cast<double>(window_ + 1) * window_s_);
  }
  next.end = Seconds(end);
  next.seen_at = Seconds(std::isinf(end) ? start + 1.0 : (start + end) / 2);
  next.shares = mixture_->shares_at(next.seen_at);
  next.plan = plans_.size() - 1;
  const bool is_same =
      !epochs_.empty() && epochs_.back().plan == next.plan && epochs_.back().shares == next.shares;
  next.state.balancedness = is_same
                                ? epochs_.back().state.balancedness
                                : mean_balancedness(request_, loads_of(next.shares), plans_.back());
  for (std::size_t d = 0; d < share_time_.size(); ++d) {
    share_time_[d] += next.shares[d] * (end - start);
  }
  epochs_.push_back(std::move(next));
}

const ExpertEpoch& ExpertTimeline::epoch(std::size_t index) {
  while (epochs_.size() <= index && (epochs_.empty() || !std::isinf(epochs_.back().end.value()))) {
    append();
  }
  return epochs_[std::min(index, epochs_.size() - 1)];
}

}  // namespace moesim

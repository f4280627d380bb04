// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/rebalance.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

namespace moesim {
namespace {

class Never : public RebalanceTrigger {
 public:
  bool fires(const RebalanceView&, const RebalanceSpec&) const override { return false; }
};

class Interval : public RebalanceTrigger {
 public:
  bool fires(const RebalanceView& view, const RebalanceSpec& spec) const override {
    return view.windows_since_plan >= spec.interval_windows;
  }
};

class Threshold : public RebalanceTrigger {
 public:
  bool fires(const RebalanceView& view, const RebalanceSpec& spec) const override {
    return view.past_balancedness.back() < spec.balancedness_threshold;
  }
};

template <class Trigger>
std::unique_ptr<RebalanceTrigger> make() {
  return std::make_unique<Trigger>();
}

constexpr RebalanceTriggerRow kTriggers[] = {
    {"never", "the contiguous placement stays", make<Never>},
    {"interval", "a new plan every n windows", make<Interval>},
    {"threshold", "a new plan when the last window's balancedness fell below a threshold",
     make<Threshold>},
};

std::unique_ptr<RebalanceTrigger> make_trigger(std::string_view name) {
  std::string allowed;
  for (const RebalanceTriggerRow& row : kTriggers) {
    if (row.name == name) {
      return row.make();
    }
    allowed += (allowed.empty() ? "" : ", ") + std::string(row.name);
  }
  throw InputError("", "/rebalance/trigger", "unknown trigger \"" + std::string(name) + "\"",
                   allowed);
}

/// The assignment of rows to columns with the largest total value: the Hungarian method with
/// potentials, O(n^3) [Kuhn 1955; Jonker & Volgenant 1987 order of work]. Returns the row of each
/// column.
std::vector<int> best_assignment(const std::vector<std::vector<int>>& value) {
  const int n = static_cast<int>(value.size());
  constexpr int kFar = std::numeric_limits<int>::max() / 4;
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  // Index 0 is a dummy; costs are negated values.
  std::vector<int> row_price(at(n + 1), 0), column_price(at(n + 1), 0), row_of(at(n + 1), 0),
      way(at(n + 1), 0);
  for (int row = 1; row <= n; ++row) {
    row_of[0] = row;
    int column = 0;
    std::vector<int> slack(at(n + 1), kFar);
    std::vector<bool> is_used(at(n + 1), false);
    do {
      is_used[at(column)] = true;
      const int current = row_of[at(column)];
      int step = kFar;
      int next = 0;
      for (int c = 1; c <= n; ++c) {
        if (is_used[at(c)]) {
          continue;
        }
        const int reduced =
            -value[at(current - 1)][at(c - 1)] - row_price[at(current)] - column_price[at(c)];
        if (reduced < slack[at(c)]) {
          slack[at(c)] = reduced;
          way[at(c)] = column;
        }
        if (slack[at(c)] < step) {
          step = slack[at(c)];
          next = c;
        }
      }
      for (int c = 0; c <= n; ++c) {
        if (is_used[at(c)]) {
          row_price[at(row_of[at(c)])] += step;
          column_price[at(c)] -= step;
        } else {
          slack[at(c)] -= step;
        }
      }
      column = next;
    } while (row_of[at(column)] != 0);
    while (column != 0) {
      row_of[at(column)] = row_of[at(way[at(column)])];
      column = way[at(column)];
    }
  }
  std::vector<int> assignment(at(n));
  for (int c = 1; c <= n; ++c) {
    assignment[at(c - 1)] = row_of[at(c)] - 1;
  }
  return assignment;
}

std::span<const int> gpu_slots(std::span<const int> slots, int gpus, int gpu) {
  const std::size_t per_gpu = slots.size() / static_cast<std::size_t>(gpus);
  return slots.subspan(static_cast<std::size_t>(gpu) * per_gpu, per_gpu);
}

/// Experts of `b` that `a` holds too, counting replicas.
int common_experts(std::span<const int> a, std::span<const int> b) {
  std::vector<int> left(a.begin(), a.end());
  int common = 0;
  for (const int expert : b) {
    const auto found = std::find(left.begin(), left.end(), expert);
    if (found != left.end()) {
      left.erase(found);
      ++common;
    }
  }
  return common;
}

/// `after` with experts that stay in their old slots.
void keep_slots(std::span<const int> before, std::span<const int> after, std::span<int> out) {
  constexpr int kOpen = -1;
  std::fill(out.begin(), out.end(), kOpen);
  std::vector<int> movers;
  for (const int expert : after) {
    bool is_kept = false;
    for (std::size_t i = 0; i < before.size() && !is_kept; ++i) {
      if (before[i] == expert && out[i] == kOpen) {
        out[i] = expert;
        is_kept = true;
      }
    }
    if (!is_kept) {
      movers.push_back(expert);
    }
  }
  auto mover = movers.begin();
  for (int& slot : out) {
    if (slot == kOpen) {
      slot = *mover++;
    }
  }
}

void check(const RebalanceSpec& spec) {
  Diagnostics diagnostics;
  if (spec.interval_windows < 1) {
    diagnostics.add("", "/rebalance/interval_windows", std::to_string(spec.interval_windows),
                    "1 or more");
  }
  if (spec.history_windows < 1) {
    diagnostics.add("", "/rebalance/history_windows", std::to_string(spec.history_windows),
                    "1 or more");
  }
  if (!(spec.link_rate.value() > 0.0)) {
    diagnostics.add("", "/rebalance/link_rate_bytes_per_s", std::to_string(spec.link_rate.value()),
                    "above 0");
  }
  if (!(spec.hidden_fraction >= 0.0 && spec.hidden_fraction <= 1.0)) {
    diagnostics.add("", "/rebalance/hidden_fraction", std::to_string(spec.hidden_fraction),
                    "0 to 1");
  }
  diagnostics.throw_if_any();
}

/// Sum of the windows' loads: placement only looks at ratios.
std::vector<std::vector<double>> summed_loads(const std::deque<LoadWindow>& windows) {
  std::vector<std::vector<double>> sum = windows.front().weights;
  for (std::size_t w = 1; w < windows.size(); ++w) {
    for (std::size_t l = 0; l < sum.size(); ++l) {
      for (std::size_t e = 0; e < sum[l].size(); ++e) {
        sum[l][e] += windows[w].weights[l][e];
      }
    }
  }
  return sum;
}

/// Moves from plan to plan: what changes and how long the busiest GPU's link takes.
void account_move(const PlacementRequest& cluster, const SlotTable& before, const SlotTable& after,
                  const RebalanceSpec& spec, RebalanceStep& step) {
  std::vector<int> incoming(static_cast<std::size_t>(cluster.gpus), 0);
  for (std::size_t l = 0; l < after.size(); ++l) {
    const std::vector<int> layer = incoming_slots(before[l], after[l], cluster.gpus);
    for (std::size_t g = 0; g < incoming.size(); ++g) {
      incoming[g] += layer[g];
    }
  }
  step.moved_slots = std::accumulate(incoming.begin(), incoming.end(), 0);
  step.moved = static_cast<double>(step.moved_slots) * spec.expert_bytes;
  // Links are duplex and replicas can be read from several GPUs, so receiving is what takes
  // longest.
  const int most = *std::max_element(incoming.begin(), incoming.end());
  step.lost = (1.0 - spec.hidden_fraction) *
              (static_cast<double>(most) * spec.expert_bytes / spec.link_rate);
}

}  // namespace

std::span<const RebalanceTriggerRow> rebalance_triggers() { return kTriggers; }

std::vector<int> incoming_slots(std::span<const int> before, std::span<const int> after, int gpus) {
  std::vector<int> incoming;
  for (int g = 0; g < gpus; ++g) {
    const std::span<const int> now = gpu_slots(after, gpus, g);
    incoming.push_back(static_cast<int>(now.size()) -
                       common_experts(gpu_slots(before, gpus, g), now));
  }
  return incoming;
}

std::vector<int> aligned_slots(std::span<const int> before, std::span<const int> after, int gpus,
                               int nodes) {
  const int node_gpus = gpus / nodes;
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  // gpu_order[new node][old node]: which of the new node's GPUs takes each place of the old node.
  std::vector<std::vector<std::vector<int>>> gpu_order(at(nodes));
  std::vector<std::vector<int>> node_value(at(nodes));
  for (int to = 0; to < nodes; ++to) {
    for (int from = 0; from < nodes; ++from) {
      std::vector<std::vector<int>> value(at(node_gpus));
      for (int g = 0; g < node_gpus; ++g) {
        for (int h = 0; h < node_gpus; ++h) {
          value[at(g)].push_back(common_experts(gpu_slots(before, gpus, from * node_gpus + h),
                                                gpu_slots(after, gpus, to * node_gpus + g)));
        }
      }
      const std::vector<int> order = best_assignment(value);
      int kept = 0;
      for (int h = 0; h < node_gpus; ++h) {
        kept += value[at(order[at(h)])][at(h)];
      }
      gpu_order[at(to)].push_back(order);
      node_value[at(to)].push_back(kept);
    }
  }
  const std::vector<int> node_order = best_assignment(node_value);
  std::vector<int> out(after.size());
  const std::size_t per_gpu = after.size() / at(gpus);
  for (int node = 0; node < nodes; ++node) {
    const int source = node_order[at(node)];
    for (int h = 0; h < node_gpus; ++h) {
      const int gpu = source * node_gpus + gpu_order[at(source)][at(node)][at(h)];
      const int place = node * node_gpus + h;
      keep_slots(gpu_slots(before, gpus, place), gpu_slots(after, gpus, gpu),
                 std::span(out).subspan(at(place) * per_gpu, per_gpu));
    }
  }
  return out;
}

Rebalancer::Rebalancer(PlacementRequest cluster, RebalanceSpec spec)
    : cluster_(std::move(cluster)), spec_(std::move(spec)) {
  check(spec_);
  trigger_ = make_trigger(spec_.trigger);
  plan_ = spec_.first_slots.empty() ? place_experts(cluster_, "contiguous").slot_to_expert
                                    : spec_.first_slots;
}

Rebalancer::~Rebalancer() = default;

RebalanceStep Rebalancer::begin_window() {
  RebalanceStep step;
  const auto window = static_cast<int>(past_.size());
  const bool is_first_plan = window == 1 && spec_.trigger != "never" && spec_.first_slots.empty();
  if (window == 0 || !(is_first_plan || trigger_->fires({window, since_plan_, past_}, spec_))) {
    return step;
  }
  PlacementRequest request = cluster_;
  request.weights = summed_loads(history_);
  SlotTable next = place_experts(request, spec_.placement).slot_to_expert;
  if (cluster_.gpu_speed.empty()) {
    for (std::size_t l = 0; l < next.size(); ++l) {
      next[l] = aligned_slots(plan_[l], next[l], cluster_.gpus, cluster_.nodes);
    }
  }
  account_move(cluster_, plan_, next, spec_, step);
  plan_ = std::move(next);
  step.has_new_plan = true;
  since_plan_ = 0;
  return step;
}

double Rebalancer::balancedness(const LoadWindow& window) const {
  PlacementRequest request = cluster_;
  request.weights = window.weights;
  const Placement served = evaluate_placement(request, plan_);
  return std::accumulate(served.balancedness.begin(), served.balancedness.end(), 0.0) /
         static_cast<double>(served.balancedness.size());
}

double Rebalancer::end_window(const LoadWindow& window) {
  past_.push_back(balancedness(window));
  ++since_plan_;
  history_.push_back(window);
  if (history_.size() > static_cast<std::size_t>(spec_.history_windows)) {
    history_.pop_front();
  }
  return past_.back();
}

RebalanceTimeline simulate_rebalancing(const PlacementRequest& cluster,
                                       std::span<const LoadWindow> windows,
                                       const RebalanceSpec& spec) {
  if (windows.empty()) {
    throw InputError("", "/windows", "none", "1 or more");
  }
  PlacementRequest request = cluster;
  request.weights = windows.front().weights;
  Rebalancer rebalancer(std::move(request), spec);
  RebalanceTimeline timeline;
  double sum = 0;
  for (const LoadWindow& window : windows) {
    RebalanceStep step = rebalancer.begin_window();
    step.balancedness = rebalancer.end_window(window);
    sum += step.balancedness;
    timeline.moved += step.moved;
    timeline.lost += step.lost;
    timeline.steps.push_back(step);
  }
  timeline.slot_to_expert = rebalancer.slots();
  timeline.mean_balancedness = sum / static_cast<double>(windows.size());
  return timeline;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_search.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

#include "sim/base/error.h"
#include "sim/base/random.h"
#include "sim/moe/placement_assignment.h"

namespace moesim {
namespace {

// Within this fraction of the lower bound a better placement is not worth looking for.
constexpr double kCloseEnough = 1e-4;
// A move must beat the busiest time by more than rounding, or descent could cycle.
constexpr double kRounding = 1e-12;

/// The descent and the shaking, over one assignment.
class BalanceSearch : private SlotAssignment {
 public:
  explicit BalanceSearch(const BalanceProblem& problem)
      : SlotAssignment(problem), random_(0, "placement/shake", problem.stream_index) {}

  void start(const std::vector<int>& replicas) {
    pack(replicas);
    keep_if_better();
  }
  void start_from(const std::vector<int>& slots) {
    hold(slots);
    keep_if_better();
  }

  void improve(double bound, std::int64_t max_evaluations) {
    evaluations_ = 0;
    descend(bound);
    keep_if_better();
    while (best_time_ > bound * (1.0 + kCloseEnough) && evaluations_ < max_evaluations) {
      static_cast<SlotAssignment&>(*this) = *best_;
      shake();
      descend(bound);
      keep_if_better();
      evaluations_ += problem().experts;  // so that a search without moves ends too
    }
  }

  double best_time() const { return best_time_; }
  const std::vector<int>& best_slots() const { return best_->slots(); }

 private:
  bool relieve_by_swap(int g, double limit) {
    double best = limit;
    int best_i = -1;
    int best_h = -1;
    int best_j = -1;
    const double load_g = load(g);
    const double speed_g = problem().gpu_speed[static_cast<std::size_t>(g)];
    refresh_slot_costs();
    for (int h = 0; h < problem().gpus; ++h) {
      const double load_h = load(h);
      const double speed_h = problem().gpu_speed[static_cast<std::size_t>(h)];
      // Only 0 < difference < most can lower the pair's maximum below `best`.
      if (h == g || load_h / speed_h >= best) {
        continue;
      }
      for (int i = 0; i < problem().slots_per_gpu; ++i) {
        const double cost_a = slot_cost_[static_cast<std::size_t>(g * problem().slots_per_gpu + i)];
        const double least = load_g - best * speed_g;
        const double most = best * speed_h - load_h;
        const double* costs_b = &slot_cost_[static_cast<std::size_t>(h * problem().slots_per_gpu)];
        for (int j = 0; j < problem().slots_per_gpu; ++j) {
          const double difference = cost_a - costs_b[j];
          if (difference <= least || difference >= most) {
            continue;
          }
          const double after =
              std::max((load_g - difference) / speed_g, (load_h + difference) / speed_h);
          if (after < best && may_hold(h, slot(g, i)) && may_hold(g, slot(h, j))) {
            best = after;
            best_i = i;
            best_h = h;
            best_j = j;
          }
        }
      }
    }
    evaluations_ += static_cast<std::int64_t>(num_slots()) * problem().slots_per_gpu;
    if (best_i < 0) {
      return false;
    }
    swap(g, best_i, best_h, best_j);
    return true;
  }

  void refresh_slot_costs() {
    slot_cost_.resize(slots().size());
    for (std::size_t s = 0; s < slots().size(); ++s) {
      slot_cost_[s] = cost_of(slots()[s]);
    }
  }

  double tried_replace(int h, int j, int expert, double limit) {
    if (!may_replace(h, j, expert)) {
      ++evaluations_;
      return std::numeric_limits<double>::infinity();
    }
    evaluations_ += problem().gpus;
    return time_after_replace(h, j, expert, limit);
  }

  bool relieve_by_replica(int g, double limit) {
    double best = limit;
    int best_h = -1;
    int best_j = -1;
    int best_expert = -1;
    // One more replica, elsewhere, of an expert that the busiest GPU holds.
    for (int i = 0; i < problem().slots_per_gpu; ++i) {
      const int expert = slot(g, i);
      for (int h = 0; h < problem().gpus; ++h) {
        if (h == g) {
          continue;
        }
        for (int j = 0; j < problem().slots_per_gpu; ++j) {
          const double after = tried_replace(h, j, expert, best);
          if (after < best) {
            best = after;
            best_h = h;
            best_j = j;
            best_expert = expert;
          }
        }
      }
    }
    // One of its replicas gives way to another expert.
    for (int i = 0; i < problem().slots_per_gpu; ++i) {
      if (replicas(slot(g, i)) < 2) {
        continue;
      }
      for (int expert = 0; expert < problem().experts; ++expert) {
        const double after = tried_replace(g, i, expert, best);
        if (after < best) {
          best = after;
          best_h = g;
          best_j = i;
          best_expert = expert;
        }
      }
    }
    evaluations_ += num_slots();
    if (best_h < 0) {
      return false;
    }
    replace(best_h, best_j, best_expert);
    return true;
  }

  void descend(double bound) {
    while (true) {
      const int g = busiest_gpu();
      const double limit = time(g) * (1.0 - kRounding);
      if (limit <= bound * (1.0 + kCloseEnough) ||
          (!relieve_by_swap(g, limit) && !relieve_by_replica(g, limit))) {
        return;
      }
    }
  }

  /// A few random changes, the first of them at the busiest GPU.
  void shake() {
    const int changes = 2 + static_cast<int>(random_.below(3));
    for (int c = 0; c < changes; ++c) {
      const int g = c == 0 ? busiest_gpu() : random_below(problem().gpus);
      const int i = random_below(problem().slots_per_gpu);
      if (random_.below(2) == 0) {
        const int h = random_below(problem().gpus);
        const int j = random_below(problem().slots_per_gpu);
        if (h != g && may_hold(h, slot(g, i)) && may_hold(g, slot(h, j))) {
          swap(g, i, h, j);
        }
      } else {
        const int expert = random_below(problem().experts);
        if (may_replace(g, i, expert)) {
          replace(g, i, expert);
        }
      }
    }
  }

  int random_below(int bound) {
    return static_cast<int>(random_.below(static_cast<std::uint64_t>(bound)));
  }

  void keep_if_better() {
    const double now = time(busiest_gpu());
    if (!best_ || now < best_time_) {
      best_ = static_cast<const SlotAssignment&>(*this);
      best_time_ = now;
    }
  }

  RandomStream random_;
  std::optional<SlotAssignment> best_;
  double best_time_ = std::numeric_limits<double>::infinity();
  std::vector<double> slot_cost_;
  std::int64_t evaluations_ = 0;
};

/// Deals the spare slots one by one to the expert that `gain` values most; returns replicas per
/// expert.
template <class Gain>
std::vector<int> deal_replicas(const BalanceProblem& problem, Gain gain) {
  std::vector<int> replicas(static_cast<std::size_t>(problem.experts), 1);
  std::vector<double> gains(static_cast<std::size_t>(problem.experts));
  constexpr double kFull = -std::numeric_limits<double>::infinity();
  for (int e = 0; e < problem.experts; ++e) {
    gains[static_cast<std::size_t>(e)] = problem.max_replicas > 1 ? gain(e, 1) : kFull;
  }
  for (int spare = problem.gpus * problem.slots_per_gpu - problem.experts; spare > 0; --spare) {
    const auto most =
        static_cast<std::size_t>(std::max_element(gains.begin(), gains.end()) - gains.begin());
    const int count = ++replicas[most];
    gains[most] = count == problem.max_replicas ? kFull : gain(static_cast<int>(most), count);
  }
  return replicas;
}

}  // namespace

BalanceResult balance_slots(const BalanceProblem& problem, std::int64_t max_evaluations) {
  const int num_slots = problem.gpus * problem.slots_per_gpu;
  MOESIM_CHECK(problem.experts <= num_slots && num_slots <= problem.experts * problem.max_replicas,
               "the slots must hold every expert once and none too often");
  const auto stride = static_cast<std::size_t>(problem.max_replicas) + 1;
  const auto cost = [&](int expert, int replicas) {
    return problem
        .cost[static_cast<std::size_t>(expert) * stride + static_cast<std::size_t>(replicas)];
  };
  const std::vector<int> smallest_maximum = deal_replicas(problem, cost);
  const std::vector<int> smallest_total = deal_replicas(
      problem, [&](int e, int r) { return r * cost(e, r) - (r + 1) * cost(e, r + 1); });

  // Lower bound: the least total over all speed, and the largest replica that no dealing avoids.
  double total = 0.0;
  double largest = 0.0;
  double total_of_maximum = 0.0;
  for (int e = 0; e < problem.experts; ++e) {
    const int few = smallest_total[static_cast<std::size_t>(e)];
    const int many = smallest_maximum[static_cast<std::size_t>(e)];
    total += few * cost(e, few);
    total_of_maximum += many * cost(e, many);
    largest = std::max(largest, cost(e, many));
  }
  const double speed = std::accumulate(problem.gpu_speed.begin(), problem.gpu_speed.end(), 0.0);
  const double fastest = *std::max_element(problem.gpu_speed.begin(), problem.gpu_speed.end());
  const double bound = std::max(total / speed, largest / fastest);

  BalanceSearch search(problem);
  if (!problem.start_slots.empty()) {
    search.start_from(problem.start_slots);
    search.improve(bound, max_evaluations);
    return {search.best_slots(), search.best_time()};
  }
  search.start(smallest_maximum);
  if (max_evaluations <= 0) {
    return {search.best_slots(), search.best_time()};
  }
  // Where replicas add work (activated experts), dealing them for the least total is another good
  // start.
  const bool is_total_fixed = total_of_maximum <= total * (1.0 + 1e-9);
  search.improve(bound, is_total_fixed ? max_evaluations : max_evaluations / 2);
  if (!is_total_fixed) {
    search.start(smallest_total);
    search.improve(bound, max_evaluations / 2);
  }
  return {search.best_slots(), search.best_time()};
}

}  // namespace moesim

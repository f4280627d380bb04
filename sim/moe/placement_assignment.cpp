// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_assignment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace moesim {

SlotAssignment::SlotAssignment(const BalanceProblem& problem)
    : problem_(&problem), stride_(static_cast<std::size_t>(problem.max_replicas) + 1) {}

int SlotAssignment::busiest_gpu() const {
  int busiest = 0;
  for (int g = 1; g < problem_->gpus; ++g) {
    if (time(g) > time(busiest)) {
      busiest = g;
    }
  }
  return busiest;
}

void SlotAssignment::clear(const std::vector<int>& replicas) {
  replicas_ = replicas;
  slots_.assign(static_cast<std::size_t>(num_slots()), -1);
  load_.assign(static_cast<std::size_t>(problem_->gpus), 0.0);
  held_.assign(static_cast<std::size_t>(problem_->experts * problem_->gpus), 0);
}

void SlotAssignment::hold(const std::vector<int>& slots) {
  std::vector<int> replicas(static_cast<std::size_t>(problem_->experts), 0);
  for (const int expert : slots) {
    ++replicas[static_cast<std::size_t>(expert)];
  }
  clear(replicas);
  std::vector<int> filled(static_cast<std::size_t>(problem_->gpus), 0);
  for (int s = 0; s < num_slots(); ++s) {
    put(slots[static_cast<std::size_t>(s)], s / problem_->slots_per_gpu, filled);
  }
}

/// Every replica as one item, dearest first (equal ones in expert order).
std::vector<int> SlotAssignment::items_dearest_first() const {
  std::vector<int> order(static_cast<std::size_t>(problem_->experts));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return cost_of(a) > cost_of(b); });
  std::vector<int> items;
  for (const int expert : order) {
    items.insert(items.end(), static_cast<std::size_t>(replicas(expert)), expert);
  }
  return items;
}

void SlotAssignment::put(int expert, int gpu, std::vector<int>& filled) {
  const int i = filled[static_cast<std::size_t>(gpu)]++;
  slots_[static_cast<std::size_t>(gpu * problem_->slots_per_gpu + i)] = expert;
  ++held_[held_index(expert, gpu)];
  load_[static_cast<std::size_t>(gpu)] += cost_of(expert);
}

void SlotAssignment::pack(const std::vector<int>& replicas) {
  clear(replicas);
  std::vector<int> filled(static_cast<std::size_t>(problem_->gpus), 0);
  for (const int expert : items_dearest_first()) {
    int chosen = -1;
    bool chosen_is_clean = false;
    double chosen_time = 0.0;
    for (int g = 0; g < problem_->gpus; ++g) {
      if (filled[static_cast<std::size_t>(g)] == problem_->slots_per_gpu) {
        continue;
      }
      const bool is_clean = may_hold(g, expert);
      const double finish = time_if(g, load(g) + cost_of(expert));
      if (chosen < 0 || (is_clean && !chosen_is_clean) ||
          (is_clean == chosen_is_clean && finish < chosen_time)) {
        chosen = g;
        chosen_is_clean = is_clean;
        chosen_time = finish;
      }
    }
    put(expert, chosen, filled);
  }
  if (!problem_->allow_same_gpu && !separate_replicas()) {
    pack_most_replicas_first();
  }
}

/// Swaps second replicas of an expert on one GPU away; false when some cannot be.
bool SlotAssignment::separate_replicas() {
  for (int g = 0; g < problem_->gpus; ++g) {
    for (int i = 0; i < problem_->slots_per_gpu; ++i) {
      const int expert = slot(g, i);
      if (held(expert, g) > 1 && !swap_away(g, i)) {
        return false;
      }
    }
  }
  return true;
}

bool SlotAssignment::swap_away(int g, int i) {
  const int expert = slot(g, i);
  int best_gpu = -1;
  int best_slot = 0;
  double best_difference = std::numeric_limits<double>::infinity();
  for (int h = 0; h < problem_->gpus; ++h) {
    if (held(expert, h) > 0) {
      continue;
    }
    for (int j = 0; j < problem_->slots_per_gpu; ++j) {
      const int other = slot(h, j);
      const double difference = std::abs(cost_of(other) - cost_of(expert));
      if (held(other, g) == 0 && difference < best_difference) {
        best_gpu = h;
        best_slot = j;
        best_difference = difference;
      }
    }
  }
  if (best_gpu < 0) {
    return false;
  }
  swap(g, i, best_gpu, best_slot);
  return true;
}

/// Always free of same-GPU replicas when none has more than `gpus`: the expert with most replicas
/// goes to the GPUs with most room (the greedy construction behind the Gale-Ryser theorem).
void SlotAssignment::pack_most_replicas_first() {
  clear(std::vector<int>(replicas_));
  std::vector<int> filled(static_cast<std::size_t>(problem_->gpus), 0);
  std::vector<int> experts(static_cast<std::size_t>(problem_->experts));
  std::iota(experts.begin(), experts.end(), 0);
  std::stable_sort(experts.begin(), experts.end(),
                   [&](int a, int b) { return replicas(a) > replicas(b); });
  std::vector<int> gpus(static_cast<std::size_t>(problem_->gpus));
  for (const int expert : experts) {
    std::iota(gpus.begin(), gpus.end(), 0);
    std::stable_sort(gpus.begin(), gpus.end(), [&](int a, int b) {
      const int room_a = filled[static_cast<std::size_t>(a)];
      const int room_b = filled[static_cast<std::size_t>(b)];
      return room_a != room_b ? room_a < room_b : time(a) < time(b);
    });
    for (int r = 0; r < replicas(expert); ++r) {
      put(expert, gpus[static_cast<std::size_t>(r)], filled);
    }
  }
}

void SlotAssignment::swap(int g, int i, int h, int j) {
  const int a = slot(g, i);
  const int b = slot(h, j);
  const double difference = cost_of(a) - cost_of(b);
  load_[static_cast<std::size_t>(g)] -= difference;
  load_[static_cast<std::size_t>(h)] += difference;
  --held_[held_index(a, g)];
  --held_[held_index(b, h)];
  ++held_[held_index(a, h)];
  ++held_[held_index(b, g)];
  slots_[static_cast<std::size_t>(g * problem_->slots_per_gpu + i)] = b;
  slots_[static_cast<std::size_t>(h * problem_->slots_per_gpu + j)] = a;
}

/// Slot (h, j) turns from a replica of its expert into one of `expert`.
void SlotAssignment::replace(int h, int j, int expert) {
  const int old = slot(h, j);
  --held_[held_index(old, h)];
  change_replicas(old, -1);
  load_[static_cast<std::size_t>(h)] -= cost_at(old, replicas(old) + 1);
  change_replicas(expert, +1);
  load_[static_cast<std::size_t>(h)] += cost_of(expert);
  ++held_[held_index(expert, h)];
  slots_[static_cast<std::size_t>(h * problem_->slots_per_gpu + j)] = expert;
}

/// Applies the new cost to the replicas that stay; a removed replica's own (old) cost and an
/// added one's are the caller's.
void SlotAssignment::change_replicas(int expert, int by) {
  const double before = cost_of(expert);
  const int count = (replicas_[static_cast<std::size_t>(expert)] += by);
  const double change = (count > 0 ? cost_at(expert, count) : 0.0) - before;
  for (int g = 0; g < problem_->gpus; ++g) {
    if (held(expert, g) > 0) {
      load_[static_cast<std::size_t>(g)] += change * held(expert, g);
    }
  }
}

bool SlotAssignment::may_replace(int h, int j, int expert) const {
  const int old = slot(h, j);
  return old != expert && replicas(old) > 1 && replicas(expert) < problem_->max_replicas &&
         may_hold(h, expert);
}

double SlotAssignment::time_after_replace(int h, int j, int expert, double limit) const {
  const int old = slot(h, j);
  const double rise = cost_at(old, replicas(old) - 1) - cost_of(old);
  const double fall = cost_of(expert) - cost_at(expert, replicas(expert) + 1);
  double largest = 0.0;
  for (int g = 0; g < problem_->gpus; ++g) {
    double after = load(g) + rise * held(old, g) - fall * held(expert, g);
    if (g == h) {
      after += cost_at(expert, replicas(expert) + 1) - cost_of(old) - rise;
    } else if (held(old, g) == 0 && held(expert, g) == 0) {
      continue;
    }
    largest = std::max(largest, time_if(g, after));
    if (largest >= limit) {
      return std::numeric_limits<double>::infinity();
    }
  }
  return largest;
}

}  // namespace moesim

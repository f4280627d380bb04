// SPDX-License-Identifier: Apache-2.0
// Placement over time: when to plan anew, what moving the weights costs, how stale a plan gets.
//
// Time is cut into windows of observed loads. Before a window a trigger looks at the past and may
// ask for a new plan, made from the mean loads of the last `history_windows`. New slots are first
// renamed so that as few as possible change (GPUs inside a node, and nodes among themselves, are
// interchangeable when alike); then
//     bytes = changed slots * expert bytes,     lost time = max over GPUs of (bytes in or out) /
//     link * visible share.
// A window is served under the plan then in force: its balancedness shows staleness (a plan made
// for one domain is no better than none on another).
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/units.h"
#include "sim/moe/placement.h"

namespace moesim {

/// Loads seen in one stretch of time.
struct LoadWindow {
  std::vector<std::vector<double>> weights;  ///< [layers][experts]
};

struct RebalanceSpec {
  std::string trigger = "interval";     ///< a row of rebalance_triggers()
  std::string placement = "best";       ///< a row of placement_policies()
  int interval_windows = 1;             ///< `interval`: plan before every n-th window; >= 1
  double balancedness_threshold = 0.9;  ///< `threshold`: plan when the last window's mean was below
  int history_windows = 1;              ///< windows that a plan averages; >= 1
  Bytes expert_bytes;                   ///< of one expert of one layer
  BytesPerSecond link_rate;             ///< per GPU and direction, for moving weights; > 0
  double hidden_fraction = 0.0;         ///< of the moving that runs behind compute, [0, 1]
  SlotTable first_slots;                ///< in force in window 0; empty: contiguous
};

/// What a trigger may look at.
struct RebalanceView {
  int window = 0;                             ///< about to begin; 0 is the first
  int windows_since_plan = 0;                 ///< served under the plan in force
  std::span<const double> past_balancedness;  ///< [window] mean over layers of each window served
};

class RebalanceTrigger {
 public:
  virtual ~RebalanceTrigger() = default;
  /// True to plan before this window. The first plan (before window 1) is not asked for.
  virtual bool fires(const RebalanceView& view, const RebalanceSpec& spec) const = 0;
};

struct RebalanceTriggerRow {
  std::string_view name;
  std::string_view doc;
  std::unique_ptr<RebalanceTrigger> (*make)();
};

/// never, interval, threshold.
std::span<const RebalanceTriggerRow> rebalance_triggers();

struct RebalanceStep {
  double balancedness = 1.0;  ///< mean over layers, under the plan in force
  bool has_new_plan = false;
  int moved_slots = 0;  ///< over all layers
  Bytes moved;          ///< moved_slots * expert_bytes
  Seconds lost;         ///< time that serving waits for weights
};

struct RebalanceTimeline {
  std::vector<RebalanceStep> steps;  ///< [windows]
  SlotTable slot_to_expert;          ///< in force in the last window
  double mean_balancedness = 1.0;
  Bytes moved;
  Seconds lost;
};

/// The same window by window, for callers who serve while they observe.
class Rebalancer {
 public:
  /// `cluster.weights` only tells the number of layers and experts. Throws InputError.
  Rebalancer(PlacementRequest cluster, RebalanceSpec spec);
  ~Rebalancer();

  /// The next window is about to begin: perhaps a new plan. Its balancedness is not known yet.
  RebalanceStep begin_window();
  /// It was served under the plan in force; its balancedness, mean over layers.
  double end_window(const LoadWindow& window);
  /// Mean over layers under the plan in force.
  double balancedness(const LoadWindow& window) const;
  const SlotTable& slots() const { return plan_; }

 private:
  PlacementRequest cluster_;
  RebalanceSpec spec_;
  std::unique_ptr<RebalanceTrigger> trigger_;
  SlotTable plan_;
  std::vector<double> past_;        ///< [window] balancedness
  std::deque<LoadWindow> history_;  ///< the last `history_windows`, oldest first
  int since_plan_ = 0;
};

/// Serves `windows` with the GPUs of `cluster` (its weights are not used). Window 0 runs
/// contiguous, since nothing is known yet; a first plan follows before window 1 unless the trigger
/// is `never` or first slots are given. Throws InputError.
RebalanceTimeline simulate_rebalancing(const PlacementRequest& cluster,
                                       std::span<const LoadWindow> windows,
                                       const RebalanceSpec& spec);

/// Slots whose GPU did not hold their expert before, per receiving GPU: [gpus].
std::vector<int> incoming_slots(std::span<const int> before, std::span<const int> after, int gpus);

/// `after` with its nodes, the GPUs inside them, and the slots inside those put in the order in
/// which most slots keep their expert. For GPUs of equal speed.
std::vector<int> aligned_slots(std::span<const int> before, std::span<const int> after, int gpus,
                               int nodes);

}  // namespace moesim

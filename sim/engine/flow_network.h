// SPDX-License-Identifier: Apache-2.0
// Fluid flows over links: splits every link among its live flows so that no flow can gain without a
// slower one losing (max-min fairness), and says when each flow ends.
//
// Model: rate(f) = min over the links of f of level(l), where a link's level is where it saturates
// while all rates rise together. Source: progressive filling, Bertsekas & Gallager, Data Networks
// (1992), section 6.5.2. Latencies are added to the end of a flow and occupy no link.
//
// A transfer is a whole traffic matrix and no object exists per flow: flows that share a core path
// form a *bundle*, whose members all run at one rate, so only the smallest remaining size of a
// bundle matters (as in processor sharing, by "service received so far"). Only flows slower than
// their bundle, because one of their ports is the bottleneck, are kept one by one. Links that share
// no bundle are solved apart (*components*), and ports that cannot saturate are not solved at all.
//
// Exact by default. With a window w = window_fraction * (the time that the busiest link needs),
// completions within +-w/2 are handled at one time; end times keep their own values and are then
// off by about w (tests compare; at 1e-3 within 0.1% of the makespan). Never affects small networks
// (fewer than `window_min_flows` live flows).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "sim/base/sim_time.h"
#include "sim/cluster/route_plan.h"
#include "sim/cluster/transfer_set.h"

namespace moesim {

enum class TransferId : std::uint32_t {};

/// All that `rank` sends and receives in `transfer` has arrived at `time`.
struct RankCompletion {
  SimTime time;
  TransferId transfer{};
  std::uint32_t rank = 0;
  friend auto operator<=>(const RankCompletion&, const RankCompletion&) = default;
};

struct FlowAccuracy {
  double window_fraction = 0.0;          ///< 0: exact; at most 0.01
  std::uint32_t window_min_flows = 512;  ///< below this many live flows always exact
};

/// Work counters, for tests and benchmarks: they do not jitter.
struct FlowCounters {
  std::uint64_t fills = 0;     ///< progressive fillings of one component
  std::uint64_t flows = 0;     ///< flows started
  std::uint64_t singles = 0;   ///< flows that had to be kept one by one
  std::uint64_t steps = 0;     ///< times at which flows completed
  std::uint64_t merges = 0;    ///< components joined because a port became a bottleneck
  std::uint64_t rechecks = 0;  ///< port groups whose load was summed anew
};

class FlowState;

class FlowNetwork {
 public:
  /// `plan` must outlive the network.
  explicit FlowNetwork(const RoutePlan& plan, const FlowAccuracy& accuracy = {});
  ~FlowNetwork();
  FlowNetwork(FlowNetwork&&) noexcept;
  FlowNetwork& operator=(FlowNetwork&&) noexcept;

  /// Starts `transfer` at `now`, which must not lie before the last `start` or `advance_to`.
  /// Cost: linear in the flows (sorting them unless all sizes are equal).
  TransferId start(SimTime now, TransferSet transfer);
  /// The next time at which rates change or something is delivered; nothing when all is done.
  std::optional<SimTime> next_change() const;
  /// Delivers, in (time, transfer, rank) order, each rank whose part of a transfer completed up to
  /// `now`.
  std::vector<RankCompletion> advance_to(SimTime now);
  /// Runs until nothing is left and returns the time of the last arrival.
  SimTime finish();

  /// When each flow of a transfer arrived, in seconds; infinite while it is under way.
  std::span<const double> flow_ends(TransferId transfer) const;
  /// Drops what is kept of a completed transfer.
  void forget(TransferId transfer);

  /// Bytes given to each link since the beginning [links].
  std::span<const double> link_bytes() const;
  /// Rate through each link now [links]; cost: linear in bundles and singles.
  std::vector<BytesPerSecond> link_rates() const;
  const FlowCounters& counters() const;

 private:
  std::unique_ptr<FlowState> state_;
};

}  // namespace moesim

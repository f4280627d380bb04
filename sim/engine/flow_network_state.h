// SPDX-License-Identifier: Apache-2.0
// Inside of FlowNetwork: bundles, singles, components. Include only from flow_network*.cpp.
//
// A *component* is what one filling solves. Three kinds, by content:
//   core    bundles and core links; its ports are assumed not to saturate, which is watched
//   port    port groups and singles without a core path; bundles of others pass below its level and
//           are a fixed load, so a change of theirs calls for a new filling here, never back
//   joint   both, made when a port would hold back a flow of a bundle; it holds every bundle that
//           touches its port groups, so again nothing depends on it in a circle
// The assumption about unsolved ports is watched cheaply: a port group has a `slack` (least spare
// capacity when last summed), from which each rise of a bundle's rate times its largest count per
// port is taken; only when it is used up are the loads summed again.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "sim/engine/flow_network.h"

namespace moesim {

inline constexpr double kInfinite = std::numeric_limits<double>::infinity();
/// Levels closer than this ratio count as equal: a few hundred roundings of 1.1e-16 each.
inline constexpr double kSlop = 1e-12;

/// A flow inside a bundle. `key` = service of the bundle at which the flow has all its bytes.
struct BundledFlow {
  double key;
  std::uint32_t flow;  ///< kNoIndex: left the bundle
  std::uint16_t out_local;
  std::uint16_t in_local;
};

/// The flows of one transfer in one bundle, by increasing key. While the transfer is not listed,
/// only their number (end - head) and common key are known, and they end together.
struct Run {
  std::uint32_t transfer;
  std::uint32_t head;
  std::uint32_t end;
  double key;
};

/// What finding the bundle of a flow reads: kept small and apart.
struct BundleKey {
  std::uint32_t out_group = kNoIndex;
  std::uint32_t in_group = kNoIndex;
  std::uint32_t next_of_path = kNoIndex;  ///< another bundle with the same path, other groups
  std::uint32_t out_base = 0;  ///< out_counts - first slot of the group (modulo 2^32), for counts_
  std::uint32_t in_base = 0;
};

struct Bundle {
  std::uint32_t path = kNoIndex;
  std::uint32_t out_group = kNoIndex;
  std::uint32_t in_group = kNoIndex;
  std::uint32_t component = kNoIndex;
  std::uint32_t out_counts = 0;  ///< offset in counts_: bundled flows per port of the out group
  std::uint32_t in_counts = 0;
  std::int32_t max_count = 0;     ///< at least the largest count per port
  std::uint32_t num_singles = 0;  ///< singles that left this bundle and still live
  std::uint32_t num_bundled = 0;
  double watched_rate = 0.0;  ///< rate already taken from the slack of its groups
  std::vector<Run> runs;
  bool is_live() const { return num_bundled + num_singles > 0; }
};

struct Single {
  double remaining;
  double rate;
  std::uint32_t out;     ///< slot or kNoIndex
  std::uint32_t in;      ///< slot or kNoIndex
  std::uint32_t bundle;  ///< kNoIndex: no core path
  std::uint32_t transfer;
  std::uint32_t flow;
};

/// Ports at one switch and side; their slots are contiguous.
struct PortGroup {
  std::uint32_t first_slot = 0;
  std::uint32_t num_ports = 0;
  std::uint32_t component = kNoIndex;  ///< kNoIndex: not solved, watched by slack
  double slack = -1.0;
  bool is_load_fresh = false;          ///< foreign_load_ of its slots and the next line hold
  double fastest_foreign = 0.0;        ///< highest rate of a bundle of another component
  std::vector<std::uint32_t> bundles;  ///< live bundles that leave or enter here (dead ones linger)
};

struct Component {
  bool is_alive = true;
  bool lists_stale = true;
  double clock = 0.0;
  std::vector<std::uint32_t> groups;
  std::vector<std::uint32_t> core_slots;
  std::vector<std::uint32_t> bundles;
  std::vector<Single> singles;
  // Singles by out slot, in slot and bundle: linked lists, rebuilt when the singles changed.
  std::vector<std::uint32_t> next_out, next_in, next_of_bundle;
};

struct Transfer {
  TransferSet set;
  double start = 0.0;
  /// A transfer of one size that has the network to itself needs no list of its flows until a port
  /// binds or another transfer starts: its bundles end as a whole.
  bool is_listed = false;
  std::vector<BundledFlow> flows;   ///< sorted by bundle, then key
  std::vector<double> ends;         ///< [flows]; empty until listed or asked for
  std::vector<double> bundle_ends;  ///< [bundle], while not listed
  std::vector<std::pair<std::uint32_t, double>> other_ends;  ///< (flow, end), while not listed
  std::vector<std::uint32_t> rank_left;  ///< flows that a rank still sends or receives
  std::vector<double> rank_end;
  std::uint32_t num_left = 0;
};

class FlowState {
 public:
  FlowState(const RoutePlan& plan, const FlowAccuracy& accuracy);

  // flow_network_transfer.cpp
  std::uint32_t add_transfer(double now, TransferSet set);
  /// Makes the lists of flows of a transfer that had none.
  void list_flows(std::uint32_t transfer);
  void list_all();
  /// End time of each flow; computes them for a transfer without lists.
  std::span<const double> ends_of(std::uint32_t transfer);

  // flow_network_components.cpp
  void rebuild_components(double now);
  /// Joins `other` into `into`; both settled to the same time.
  void merge(std::uint32_t into, std::uint32_t other);
  void merge_group(std::uint32_t into, std::uint32_t group);
  /// Brings in every component whose bundles touch the port groups of `component`.
  void close_over_bundles(std::uint32_t component);

  // flow_network_fill.cpp
  /// Solves `seeds` at `now` and whatever depends on them.
  void resolve(const std::vector<std::uint32_t>& seeds, double now);

  // flow_network.cpp
  void settle(Component& component, double now);
  /// Completes the flows of `component` that end by `horizon` at their present rates.
  void complete_until(std::uint32_t component, double horizon);
  /// When `component` must be looked at again.
  void schedule(std::uint32_t component);
  /// Ends up to this long after `now` count as ends at `now`.
  double look_ahead(std::uint32_t component, double now) const;
  bool uses_window(std::uint32_t component) const;
  /// The component with the earliest step, or kNoIndex.
  std::uint32_t earliest() const;
  void step(std::uint32_t component);
  void complete_flow(std::uint32_t transfer, std::uint32_t flow, double arrival);
  void complete_run(std::uint32_t bundle, const Run& run, double end);
  void count_arrivals(std::uint32_t transfer, std::uint32_t rank, std::uint32_t count,
                      double arrival);
  double route_latency(std::uint32_t out, std::uint32_t in, std::uint32_t path) const;

  const RoutePlan& plan_;
  FlowAccuracy accuracy_;
  FlowCounters counters_;
  double window_ = 0.0;

  // Links by slot: ports first, group by group, then core links.
  std::vector<std::uint32_t> slot_of_link_, link_of_slot_, group_of_slot_;
  std::vector<std::uint32_t> rank_of_slot_;  ///< whose port it is, once used
  std::vector<double> capacity_, latency_;
  std::vector<double> foreign_load_;     ///< [port] rate of bundles of other components
  bool are_port_latencies_even_ = true;  ///< one latency within each group
  std::vector<PortGroup> groups_;
  std::vector<std::vector<std::uint32_t>> core_bundles_;  ///< [slot - num_ports_]
  std::uint32_t num_ports_ = 0;
  std::vector<double> link_bytes_;  ///< [link]

  // Core paths by slot.
  std::vector<std::uint32_t> path_offset_, path_slots_, bundle_of_path_;
  std::vector<double> path_latency_;

  // Bundles; the arrays of the inner loops apart.
  std::vector<Bundle> bundles_;
  std::vector<BundleKey> bundle_keys_;
  std::vector<double> rate_, served_, head_key_;
  std::vector<std::int32_t> counts_;

  std::vector<Component> components_;
  std::vector<double> next_step_;  ///< [component]

  std::vector<Transfer> transfers_;
  std::vector<RankCompletion> arrivals_;  ///< heap, earliest on top
  SimTime now_;

  struct Level {
    double level;
    std::uint32_t slot;
  };

 private:
  std::span<const std::uint32_t> path_of(const Bundle& bundle) const {
    if (bundle.path == kNoIndex) {
      return {};
    }
    return {path_slots_.data() + path_offset_[bundle.path],
            path_offset_[bundle.path + 1] - path_offset_[bundle.path]};
  }
  std::uint32_t core_path(std::uint32_t path) const {
    return path != kNoIndex && path_offset_[path] == path_offset_[path + 1] ? kNoIndex : path;
  }
  std::uint32_t group_of_link(LinkIndex link) const {
    return link == kNoIndex ? kNoIndex : group_of_slot_[slot_of_link_[link]];
  }
  std::uint32_t find_bundle(std::uint32_t path, std::uint32_t out_group, std::uint32_t in_group) {
    std::uint32_t id = bundle_of_path_[path];
    while (id != kNoIndex &&
           (bundle_keys_[id].out_group != out_group || bundle_keys_[id].in_group != in_group)) {
      id = bundle_keys_[id].next_of_path;
    }
    return id != kNoIndex ? id : add_bundle(path, out_group, in_group);
  }
  std::uint32_t add_bundle(std::uint32_t path, std::uint32_t out_group, std::uint32_t in_group);
  void add_single(Component& component, const Single& single);

  // One filling (flow_network_fill.cpp). `fill` returns false when the component had to grow.
  bool fill(std::uint32_t component);
  void open_component(std::uint32_t component);
  void rebuild_lists(Component& component);
  void fix_bundle(std::uint32_t component, std::uint32_t bundle, double level);
  void fix_single(Component& component, std::uint32_t index, double level);
  bool saturate_port(std::uint32_t component, std::uint32_t slot, double level);
  /// Turns the bundled flows of one port into singles, open in the running filling.
  void detach(std::uint32_t component, std::uint32_t bundle, std::uint32_t slot);
  /// Spends slack for risen rates; returns false when ports overflowed and joined the component.
  bool watch_ports(std::uint32_t component, std::vector<std::uint32_t>& dependents);
  bool group_overflows(std::uint32_t group);

  std::vector<double> fixed_, open_;
  std::vector<char> is_saturated_, is_bundle_open_;
  std::vector<std::uint32_t> first_of_slot_, first_in_slot_, first_of_bundle_;
  std::vector<Level> heap_;
  std::vector<std::uint32_t> wanted_groups_;  ///< port groups that the running filling asks for
  std::vector<double> scratch_;
};

}  // namespace moesim

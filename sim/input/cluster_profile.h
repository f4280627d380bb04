// SPDX-License-Identifier: Apache-2.0
// A cluster profile: nodes, links, switches and the constants of the communication kernels.
//
// It states capacities and latencies; sim/cluster makes the graph. A cluster is a list of node
// groups (one for most, several for mixed machines) under one network. Rates are per direction;
// `bytes_per_s` is the line rate, `achieved_bytes_per_s` what a good benchmark moves. `nodes`
// absent means that the scenario chooses. Kernel constants (collectives, expert dispatch and
// combine) belong to a machine *and* a library, hence here and not in the code. Files:
// hardware_profiles/cluster_*.json, schema "moesim/cluster_profile/1".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/units.h"
#include "sim/input/communication_constants.h"
#include "sim/input/sourced.h"

namespace moesim {

enum class ScaleUpKind { none, nvswitch, nvlink_mesh, xgmi_mesh, nvl_domain, pcie, torus };
std::span<const Choice<ScaleUpKind>> choices_of(ScaleUpKind);

/// The fast network among near GPUs.
struct ScaleUp {
  ScaleUpKind kind = ScaleUpKind::nvswitch;
  std::int64_t domain_gpus =
      0;  ///< GPUs that reach each other; a multiple of a node's for NVL racks
  Sourced<BytesPerSecond> rate;  ///< per GPU and direction, all links together
  std::optional<Sourced<BytesPerSecond>> achieved;
  std::optional<Sourced<BytesPerSecond>> pair_rate;  ///< one GPU pair, where a mesh makes it less
  Sourced<Seconds> latency;                          ///< GPU to GPU
};

/// Network cards of one node.
struct Nics {
  std::int64_t per_node = 0;  ///< 0: the node has no network
  Sourced<BytesPerSecond> rate;
  std::optional<Sourced<BytesPerSecond>> achieved;
  Sourced<Seconds> latency;  ///< GPU memory to GPU memory through one switch, small message
  std::optional<Sourced<double>> messages_per_s;
};

enum class HostLink { pcie, c2c };
std::span<const Choice<HostLink>> choices_of(HostLink);

/// The host side of one node.
struct Host {
  std::optional<Sourced<Bytes>> memory;  ///< of the node
  std::optional<Sourced<BytesPerSecond>> memory_bandwidth;
  HostLink link = HostLink::pcie;
  std::int64_t pcie_generation = 0;   ///< 0: no PCIe between host and GPU
  std::int64_t pcie_lanes = 0;        ///< per GPU
  Sourced<BytesPerSecond> link_rate;  ///< achieved host <-> GPU copy, one direction, one GPU alone
  std::int64_t gpus_per_uplink = 1;   ///< GPUs that share one uplink of a PCIe switch
  std::optional<Sourced<BytesPerSecond>> all_copy_rate;  ///< per GPU when every GPU copies at once
  std::optional<Sourced<Bytes>> nvme;
  std::optional<Sourced<BytesPerSecond>> nvme_read;
};

/// Equal nodes.
struct NodeGroup {
  std::string device;  ///< id of a device profile
  std::int64_t gpus_per_node = 0;
  std::optional<std::int64_t> nodes;  ///< absent: any number, the scenario says
  ScaleUp scale_up;
  Nics nics;
  Host host;
};

enum class FabricKind { none, single_switch, rail_leaf_spine, fat_tree, torus };
std::span<const Choice<FabricKind>> choices_of(FabricKind);
enum class FabricPaths { trunked, hashed, adaptive };
std::span<const Choice<FabricPaths>> choices_of(FabricPaths);

/// The network between nodes.
struct Fabric {
  FabricKind kind = FabricKind::single_switch;
  std::int64_t nodes_per_leaf = 0;  ///< 0: one switch holds all
  double oversubscription = 1;      ///< leaf down-link capacity over up-link capacity, both in use
  std::optional<Sourced<BytesPerSecond>> uplink_rate;  ///< of one leaf-spine link
  FabricPaths paths = FabricPaths::adaptive;
  Sourced<Seconds> hop_latency;  ///< added by each switch beyond the first
};

struct ClusterProfile {
  std::string schema;
  std::string id;
  std::string name;
  std::string note;
  std::vector<NodeGroup> node_groups;  ///< at least one
  Fabric fabric;
  std::vector<CollectiveFit> collectives;
  std::vector<CollectiveLaw> collective_laws;   ///< preferred to `collectives` where there is one
  std::optional<ExpertKernels> expert_kernels;  ///< absent: only plain collectives are known

  /// The law of `op` within `scope`, or null when there is none.
  const CollectiveLaw* law(CollectiveOp op, CollectiveScope scope, CollectiveLibrary library) const;
  /// The fit for `op` within `scope` whose rank count is nearest to `ranks` (the larger of two as
  /// near), or null when there is none.
  const CollectiveFit* collective(CollectiveOp op, CollectiveScope scope, CollectiveLibrary library,
                                  std::int64_t ranks) const;
};

const Fields<ScaleUp>& fields_of(const ScaleUp*);
const Fields<Nics>& fields_of(const Nics*);
const Fields<Host>& fields_of(const Host*);
const Fields<NodeGroup>& fields_of(const NodeGroup*);
const Fields<Fabric>& fields_of(const Fabric*);
const Fields<ClusterProfile>& fields_of(const ClusterProfile*);

/// Reads a cluster profile; `json` came from `file`. Throws InputError with every problem. Device
/// ids are checked by the card library, which knows the devices.
ClusterProfile read_cluster_profile(const Json& json, const std::string& file);
/// Reads the file at `path`; also checks that the id is the file's name.
ClusterProfile load_cluster_profile(const std::string& path);
Json write_cluster_profile(const ClusterProfile& profile);

}  // namespace moesim

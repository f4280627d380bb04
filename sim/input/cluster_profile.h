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

enum class CollectiveOp { all_to_all, all_gather, reduce_scatter, all_reduce, point_to_point };
std::span<const Choice<CollectiveOp>> choices_of(CollectiveOp);
enum class CollectiveScope { scale_up, scale_out };
std::span<const Choice<CollectiveScope>> choices_of(CollectiveScope);
enum class CollectiveLibrary { nccl, custom };
std::span<const Choice<CollectiveLibrary>> choices_of(CollectiveLibrary);

/// t = alpha + wire / B over `ranks`; wire per rank and direction is S(n-1)/n, twice that for
/// all-reduce, S for point-to-point. S as nccl-tests counts it.
struct CollectiveFit : Provenance {
  CollectiveOp op = CollectiveOp::all_reduce;
  CollectiveScope scope = CollectiveScope::scale_up;
  CollectiveLibrary library =
      CollectiveLibrary::nccl;  ///< custom: framework kernels in CUDA graphs
  std::int64_t ranks = 0;
  Seconds alpha;
  BytesPerSecond rate;
};

/// One direction of the low-latency expert exchange: one copy per selected expert,
/// t = alpha + alpha_net + max(remote / nic, local / scale_up); alpha_net only across nodes.
struct LowLatencyExchange : Provenance {
  Seconds alpha;
  Seconds alpha_net;
  BytesPerSecond nic_rate;
  BytesPerSecond scale_up_rate;
  Bytes header;            ///< per copy, beside values and scales
  Seconds one_node_alpha;  ///< all ranks in one node: t = alpha + bytes / rate
  BytesPerSecond one_node_rate;
};

/// One direction of the high-throughput expert exchange: one copy per destination node over the
/// network, then to the distinct ranks:
/// t = notify + alpha + max(remote / nic, received / min(scale_up, per_sm * sms)).
struct NormalExchange : Provenance {
  Seconds alpha;
  Seconds notify;  ///< size exchange and host synchronisation before the data
  BytesPerSecond nic_rate;
  BytesPerSecond scale_up_rate;
  BytesPerSecond per_sm_rate;
  Bytes header;  ///< per copy
  Seconds one_node_alpha;
  BytesPerSecond one_node_rate;
  BytesPerSecond one_node_per_sm_rate;
};

struct LowLatencyKernels {
  LowLatencyExchange dispatch, combine;
};
struct NormalKernels {
  std::int64_t sms = 0;  ///< multiprocessors taken from compute while they run
  NormalExchange dispatch, combine;
};
/// Expert dispatch and combine kernels (DeepEP style).
struct ExpertKernels {
  LowLatencyKernels low_latency;
  NormalKernels normal;
};

struct ClusterProfile {
  std::string schema;
  std::string id;
  std::string name;
  std::string note;
  std::vector<NodeGroup> node_groups;  ///< at least one
  Fabric fabric;
  std::vector<CollectiveFit> collectives;
  std::optional<ExpertKernels> expert_kernels;  ///< absent: only plain collectives are known

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
const Fields<CollectiveFit>& fields_of(const CollectiveFit*);
const Fields<LowLatencyExchange>& fields_of(const LowLatencyExchange*);
const Fields<NormalExchange>& fields_of(const NormalExchange*);
const Fields<LowLatencyKernels>& fields_of(const LowLatencyKernels*);
const Fields<NormalKernels>& fields_of(const NormalKernels*);
const Fields<ExpertKernels>& fields_of(const ExpertKernels*);
const Fields<ClusterProfile>& fields_of(const ClusterProfile*);

/// Reads a cluster profile; `json` came from `file`. Throws InputError with every problem. Device
/// ids are checked by the card library, which knows the devices.
ClusterProfile read_cluster_profile(const Json& json, const std::string& file);
/// Reads the file at `path`; also checks that the id is the file's name.
ClusterProfile load_cluster_profile(const std::string& path);
Json write_cluster_profile(const ClusterProfile& profile);

}  // namespace moesim

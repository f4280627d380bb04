// SPDX-License-Identifier: Apache-2.0
#include "sim/input/cluster_profile.h"

#include <cstdlib>
#include <string_view>

#include "sim/input/profile_checks.h"

namespace moesim {
namespace {

constexpr const char* kSchema = "moesim/cluster_profile/1";

FieldDoc rate(std::string doc, bool required = true) {
  return {
      .doc = std::move(doc), .unit = "bytes_per_s", .required = required, .min = 1e6, .max = 1e15};
}

FieldDoc seconds(std::string doc) {
  return {.doc = std::move(doc), .unit = "s", .required = true, .min = 0, .max = 1};
}

FieldDoc bytes(std::string doc, bool required = true) {
  return {.doc = std::move(doc), .unit = "bytes", .required = required, .min = 0, .max = 1e16};
}

FieldDoc count(std::string doc, double min, double max, bool required = true) {
  return {.doc = std::move(doc), .required = required, .min = min, .max = max};
}

void check_group(const NodeGroup& group, const Fabric& fabric, const ReadContext& context) {
  const ScaleUp& scale_up = group.scale_up;
  const ReadContext domain = context.at("scale_up").at("domain_gpus");
  if (scale_up.kind == ScaleUpKind::nvl_domain) {
    if (scale_up.domain_gpus % group.gpus_per_node != 0) {
      domain.problem(
          std::to_string(scale_up.domain_gpus) + " is no multiple of the GPUs of a node",
          "allowed: a multiple of " + std::to_string(group.gpus_per_node) + " (gpus_per_node)");
    }
  } else if (scale_up.domain_gpus > group.gpus_per_node) {
    domain.problem(std::to_string(scale_up.domain_gpus) + " is more than the GPUs of a node",
                   "allowed: up to " + std::to_string(group.gpus_per_node) +
                       " (gpus_per_node), or kind nvl_domain");
  }
  if (group.nics.per_node == 0 && fabric.kind != FabricKind::none) {
    context.at("nics")
        .at("per_node")
        .problem("0 leaves the node without network", "allowed: >= 1, or fabric kind none");
  }
  if (group.host.link == HostLink::pcie &&
      (group.host.pcie_generation == 0 || group.host.pcie_lanes == 0)) {
    context.at("host").problem("has a PCIe link without generation and lanes",
                               "give pcie_generation and pcie_lanes, or link c2c");
  }
  if (group.host.gpus_per_uplink > group.gpus_per_node) {
    context.at("host")
        .at("gpus_per_uplink")
        .problem(std::to_string(group.host.gpus_per_uplink) + " is more than the GPUs of a node",
                 "allowed: up to " + std::to_string(group.gpus_per_node) + " (gpus_per_node)");
  }
}

/// `achieved` may not exceed the line rate by more than measuring noise.
void check_achieved(const Sourced<BytesPerSecond>& line,
                    const std::optional<Sourced<BytesPerSecond>>& achieved,
                    const ReadContext& context) {
  if (achieved && achieved->value > 1.05 * line.value) {
    context.at("achieved_bytes_per_s")
        .at("value")
        .problem(number_text(achieved->value.value()) + " exceeds the line rate",
                 "allowed: up to 1.05 x " + number_text(line.value.value()) + " (bytes_per_s)");
  }
}

void check_law(const CollectiveLaw& law, const ReadContext& context) {
  const ReadContext at = context.at("protocols");
  if (law.protocols.empty() || law.protocols.front().from.value() != 0) {
    at.problem("do not begin at 0 bytes", "allowed: a first protocol with from_bytes 0");
  }
  for (std::size_t i = 1; i < law.protocols.size(); ++i) {
    if (law.protocols[i].from <= law.protocols[i - 1].from) {
      at.at(std::to_string(i))
          .at("from_bytes")
          .problem("is not above the one before", "allowed: increasing values");
    }
  }
}

void check_cluster(const ClusterProfile& profile, const ReadContext& context) {
  if (profile.node_groups.empty()) {
    context.at("node_groups").problem("is empty", "allowed: at least one node group");
  }
  for (std::size_t i = 0; i < profile.node_groups.size(); ++i) {
    const NodeGroup& group = profile.node_groups[i];
    const ReadContext at = context.at("node_groups").at(std::to_string(i));
    check_group(group, profile.fabric, at);
    check_achieved(group.scale_up.rate, group.scale_up.achieved, at.at("scale_up"));
    check_achieved(group.nics.rate, group.nics.achieved, at.at("nics"));
  }
  for (std::size_t i = 0; i < profile.collective_laws.size(); ++i) {
    check_law(profile.collective_laws[i], context.at("collective_laws").at(std::to_string(i)));
  }
  const Fabric& fabric = profile.fabric;
  const bool leaves =
      fabric.kind == FabricKind::rail_leaf_spine || fabric.kind == FabricKind::fat_tree;
  if (leaves && fabric.nodes_per_leaf == 0) {
    context.at("fabric")
        .at("nodes_per_leaf")
        .problem("0 leaves the leaf switches without nodes",
                 "allowed: >= 1, or kind single_switch");
  }
}

}  // namespace

std::span<const Choice<ScaleUpKind>> choices_of(ScaleUpKind) {
  static constexpr Choice<ScaleUpKind> kChoices[] = {
      {ScaleUpKind::none, "none", "GPUs meet only through the network"},
      {ScaleUpKind::nvswitch, "nvswitch", "every GPU to a switch at full rate, one node"},
      {ScaleUpKind::nvlink_mesh, "nvlink_mesh", "direct NVLinks between GPU pairs"},
      {ScaleUpKind::xgmi_mesh, "xgmi_mesh", "one link to each other GPU of the node"},
      {ScaleUpKind::nvl_domain, "nvl_domain", "a switch across nodes, as in an NVL72 rack"},
      {ScaleUpKind::pcie, "pcie", "through PCIe switches and the host"},
      {ScaleUpKind::torus, "torus", "direct links in a torus, as in a TPU pod"},
  };
  return kChoices;
}

std::span<const Choice<HostLink>> choices_of(HostLink) {
  static constexpr Choice<HostLink> kChoices[] = {
      {HostLink::pcie, "pcie", "PCI Express"},
      {HostLink::c2c, "c2c", "coherent chip-to-chip link"},
  };
  return kChoices;
}

std::span<const Choice<FabricKind>> choices_of(FabricKind) {
  static constexpr Choice<FabricKind> kChoices[] = {
      {FabricKind::none, "none", "a single node"},
      {FabricKind::single_switch, "single_switch", "every NIC on one non-blocking switch"},
      {FabricKind::rail_leaf_spine, "rail_leaf_spine", "a leaf joins one rail of some nodes"},
      {FabricKind::fat_tree, "fat_tree", "a leaf joins all NICs of some nodes"},
      {FabricKind::torus, "torus", "direct links between neighbours"},
  };
  return kChoices;
}

std::span<const Choice<FabricPaths>> choices_of(FabricPaths) {
  static constexpr Choice<FabricPaths> kChoices[] = {
      {FabricPaths::trunked, "trunked", "a leaf's uplinks act as one link"},
      {FabricPaths::hashed, "hashed", "each (source, destination) stays on one uplink"},
      {FabricPaths::adaptive, "adaptive", "packets spread over the uplinks"},
  };
  return kChoices;
}

const CollectiveLaw* ClusterProfile::law(CollectiveOp op, CollectiveScope scope,
                                         CollectiveLibrary library) const {
  for (const CollectiveLaw& law : collective_laws) {
    if (law.op == op && law.scope == scope && law.library == library) {
      return &law;
    }
  }
  return nullptr;
}

const CollectiveFit* ClusterProfile::collective(CollectiveOp op, CollectiveScope scope,
                                                CollectiveLibrary library,
                                                std::int64_t ranks) const {
  const CollectiveFit* best = nullptr;
  for (const CollectiveFit& fit : collectives) {
    if (fit.op != op || fit.scope != scope || fit.library != library) {
      continue;
    }
    const auto distance = [ranks](const CollectiveFit& f) { return std::abs(f.ranks - ranks); };
    if (best == nullptr || distance(fit) < distance(*best) ||
        (distance(fit) == distance(*best) && fit.ranks > best->ranks)) {
      best = &fit;
    }
  }
  return best;
}

const Fields<ScaleUp>& fields_of(const ScaleUp*) {
  static const Fields<ScaleUp> table =
      Fields<ScaleUp>("scale_up", "the fast network among near GPUs")
          .add("kind", &ScaleUp::kind, {.doc = "how the GPUs are joined", .required = true})
          .add("domain_gpus", &ScaleUp::domain_gpus, count("GPUs that reach each other", 1, 100000))
          .add("bytes_per_s", &ScaleUp::rate, rate("line rate of all links of a GPU"))
          .add("achieved_bytes_per_s", &ScaleUp::achieved, rate("what good copies reach", false))
          .add("pair_bytes_per_s", &ScaleUp::pair_rate, rate("line rate of one GPU pair", false))
          .add("latency_s", &ScaleUp::latency, seconds("GPU to GPU"));
  return table;
}

const Fields<Nics>& fields_of(const Nics*) {
  static const Fields<Nics> table =
      Fields<Nics>("nics", "network cards of one node")
          .add("per_node", &Nics::per_node, count("cards of a node; 0: no network", 0, 64))
          .add("bytes_per_s", &Nics::rate, rate("line rate of one card"))
          .add("achieved_bytes_per_s", &Nics::achieved, rate("what good copies reach", false))
          .add("latency_s", &Nics::latency, seconds("GPU memory to GPU memory, small message"))
          .add("messages_per_s", &Nics::messages_per_s,
               {.doc = "small messages of one card", .unit = "1/s", .min = 1, .max = 1e12});
  return table;
}

const Fields<Host>& fields_of(const Host*) {
  static const Fields<Host> table =
      Fields<Host>("host", "host side of one node")
          .add("memory_bytes", &Host::memory, bytes("host memory of the node", false))
          .add("memory_bandwidth_bytes_per_s", &Host::memory_bandwidth,
               rate("host memory bandwidth of the node", false))
          .add("link", &Host::link, {.doc = "what joins host and GPU", .required = true})
          .add("pcie_generation", &Host::pcie_generation, count("3 to 7", 0, 7, false))
          .add("pcie_lanes", &Host::pcie_lanes, count("lanes of one GPU", 0, 32, false))
          .add("link_bytes_per_s", &Host::link_rate,
               rate("achieved host-GPU copy, one direction, one GPU alone"))
          .add("gpus_per_uplink", &Host::gpus_per_uplink,
               count("GPUs that share an uplink of a PCIe switch", 1, 64, false))
          .add("all_copy_bytes_per_s", &Host::all_copy_rate,
               rate("per GPU when every GPU copies at once", false))
          .add("nvme_bytes", &Host::nvme, bytes("local flash of the node", false))
          .add("nvme_read_bytes_per_s", &Host::nvme_read,
               rate("reading local flash, the node together", false));
  return table;
}

const Fields<NodeGroup>& fields_of(const NodeGroup*) {
  static const Fields<NodeGroup> table =
      Fields<NodeGroup>("node_group", "equal nodes")
          .add("device", &NodeGroup::device, {.doc = "id of a device profile", .required = true})
          .add("gpus_per_node", &NodeGroup::gpus_per_node, count("devices of a node", 1, 1024))
          .add("nodes", &NodeGroup::nodes,
               count("nodes of this group; absent: the scenario says", 1, 1e6, false))
          .add("scale_up", &NodeGroup::scale_up, {.doc = "fast network", .required = true})
          .add("nics", &NodeGroup::nics, {.doc = "network cards", .required = true})
          .add("host", &NodeGroup::host, {.doc = "host side", .required = true});
  return table;
}

const Fields<Fabric>& fields_of(const Fabric*) {
  static const Fields<Fabric> table =
      Fields<Fabric>("fabric", "the network between nodes")
          .add("kind", &Fabric::kind, {.doc = "how the nodes are joined", .required = true})
          .add("nodes_per_leaf", &Fabric::nodes_per_leaf,
               count("nodes that share their leaf switches; 0: one switch", 0, 100000, false))
          .add("oversubscription", &Fabric::oversubscription,
               count("down-link over up-link capacity of a leaf", 1, 64, false))
          .add("uplink_bytes_per_s", &Fabric::uplink_rate, rate("one leaf-spine link", false))
          .add("paths", &Fabric::paths, {.doc = "how flows choose among uplinks"})
          .add("hop_latency_s", &Fabric::hop_latency, seconds("each switch beyond the first"));
  return table;
}

const Fields<ClusterProfile>& fields_of(const ClusterProfile*) {
  static const Fields<ClusterProfile> table = [] {
    using P = ClusterProfile;
    Fields<P> f("cluster_profile", "nodes, links, switches and communication constants");
    f.add("schema", &P::schema, {.doc = "\"moesim/cluster_profile/1\"", .required = true});
    f.add("id", &P::id, {.doc = "the file's name without .json", .required = true});
    f.add("name", &P::name, {.doc = "name for people", .required = true});
    f.add("note", &P::note, {.doc = "what a reader should know"});
    f.add("node_groups", &P::node_groups, {.doc = "kinds of nodes", .required = true});
    f.add("fabric", &P::fabric, {.doc = "network between nodes", .required = true});
    f.add("collectives", &P::collectives, {.doc = "alpha-beta fits of collectives"});
    f.add("collective_laws", &P::collective_laws, {.doc = "curves of collectives, any ranks"});
    f.add("expert_kernels", &P::expert_kernels, {.doc = "expert dispatch and combine"});
    return f;
  }();
  return table;
}

ClusterProfile read_cluster_profile(const Json& json, const std::string& file) {
  Diagnostics diagnostics;
  const ReadContext context{file, "", diagnostics};
  ClusterProfile profile;
  check_schema(json, kSchema, context);
  diagnostics.throw_if_any();
  fields_of(&profile).read(&profile, json, context);
  check_sources(json, context);
  if (diagnostics.empty()) {  // relations make sense only between values that could be read
    check_cluster(profile, context);
  }
  diagnostics.throw_if_any();
  return profile;
}

ClusterProfile load_cluster_profile(const std::string& path) {
  ClusterProfile profile = read_cluster_profile(load_json(path), path);
  check_id_is_file_name(profile.id, path);
  return profile;
}

Json write_cluster_profile(const ClusterProfile& profile) { return write_object(profile); }

}  // namespace moesim

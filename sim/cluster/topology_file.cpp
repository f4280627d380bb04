// SPDX-License-Identifier: Apache-2.0
// Custom graphs in JSON.
#include <map>
#include <set>

#include "sim/base/error.h"
#include "sim/cluster/topology.h"

namespace moesim {

namespace {

struct NodeEntry {
  std::string name;
  NodeKind kind = NodeKind::gpu;
  std::optional<std::int64_t> machine;
  std::int64_t local = 0;
};

struct LinkEntry {
  std::string from, to;
  BytesPerSecond rate;
  std::optional<BytesPerSecond> back_rate;
  Seconds latency;
};

struct TopologyFile {
  std::string schema;
  std::string note;
  std::vector<NodeEntry> nodes;
  std::vector<LinkEntry> links;
};

const Fields<NodeEntry>& fields_of(const NodeEntry*) {
  static const Fields<NodeEntry> table =
      Fields<NodeEntry>("node", "an endpoint or a switch")
          .add("name", &NodeEntry::name, {.doc = "unique name", .required = true})
          .add("kind", &NodeEntry::kind, {.doc = "what it is", .required = true})
          .add("machine", &NodeEntry::machine,
               {.doc = "number of its server", .min = 0, .max = 1e6})
          .add("local", &NodeEntry::local, {.doc = "index in its server", .min = 0, .max = 1e6});
  return table;
}

const Fields<LinkEntry>& fields_of(const LinkEntry*) {
  static const Fields<LinkEntry> table =
      Fields<LinkEntry>("link", "a duplex link")
          .add("from", &LinkEntry::from, {.doc = "name of a node", .required = true})
          .add("to", &LinkEntry::to, {.doc = "name of a node", .required = true})
          .add("bytes_per_s", &LinkEntry::rate,
               {.doc = "rate of one direction",
                .unit = "bytes_per_s",
                .required = true,
                .min = 0,
                .min_exclusive = true})
          .add("back_bytes_per_s", &LinkEntry::back_rate,
               {.doc = "rate of the way back; absent: the same",
                .unit = "bytes_per_s",
                .min = 0,
                .min_exclusive = true})
          .add("latency_s", &LinkEntry::latency,
               {.doc = "added to each flow that crosses it", .unit = "s", .min = 0, .max = 1});
  return table;
}

const Fields<TopologyFile>& fields_of(const TopologyFile*) {
  static const Fields<TopologyFile> table =
      Fields<TopologyFile>("topology", "a custom network graph")
          .add("schema", &TopologyFile::schema, {.doc = "moesim/topology/1", .required = true})
          .add("note", &TopologyFile::note, {.doc = "free text"})
          .add("nodes", &TopologyFile::nodes, {.doc = "endpoints and switches", .required = true})
          .add("links", &TopologyFile::links, {.doc = "duplex links", .required = true});
  return table;
}

bool is_pcie(NodeKind kind) {
  return kind == NodeKind::pcie_switch || kind == NodeKind::host_bridge;
}

}  // namespace

Topology read_topology(const Json& json, const std::string& file) {
  Diagnostics problems;
  const TopologyFile entries = read_object<TopologyFile>(json, file, problems);
  problems.throw_if_any();
  if (entries.schema != "moesim/topology/1") {
    problems.add(file, "/schema", "\"" + entries.schema + "\" is another schema",
                 "allowed: moesim/topology/1");
  }
  Topology topology;
  std::map<std::string, std::uint32_t> by_name;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < entries.nodes.size(); ++i) {
    const NodeEntry& node = entries.nodes[i];
    if (!by_name.emplace(node.name, static_cast<std::uint32_t>(i)).second) {
      problems.add(file, "/nodes/" + std::to_string(i) + "/name",
                   "\"" + node.name + "\" names two nodes");
    }
    names.push_back(node.name);
    topology.add_node(node.kind, node.name,
                      node.machine ? static_cast<std::uint32_t>(*node.machine) : kNoIndex,
                      static_cast<std::uint32_t>(node.local));
  }
  if (topology.num_gpus() == 0) {
    problems.add(file, "/nodes", "hold no gpu", "add at least one");
  }
  // A PCIe hierarchy is a tree: a link inside it that joins what is already joined closes a cycle.
  std::vector<std::uint32_t> tree(entries.nodes.size());
  for (std::uint32_t i = 0; i < tree.size(); ++i) {
    tree[i] = i;
  }
  const auto root = [&tree](std::uint32_t node) {
    while (tree[node] != node) {
      node = tree[node] = tree[tree[node]];
    }
    return node;
  };
  std::set<std::pair<std::uint32_t, std::uint32_t>> endpoint_pairs;
  for (std::size_t i = 0; i < entries.links.size(); ++i) {
    const LinkEntry& link = entries.links[i];
    const std::string at = "/links/" + std::to_string(i);
    std::uint32_t ends[2] = {kNoIndex, kNoIndex};
    for (int side = 0; side < 2; ++side) {
      const std::string& name = side == 0 ? link.from : link.to;
      if (const auto found = by_name.find(name); found != by_name.end()) {
        ends[side] = found->second;
        continue;
      }
      const std::string near = nearest_word(name, names);
      problems.add(file, at + (side == 0 ? "/from" : "/to"), "\"" + name + "\" names no node",
                   near.empty() ? "use a name of /nodes" : "did you mean \"" + near + "\"?");
    }
    if (ends[0] == kNoIndex || ends[1] == kNoIndex) {
      continue;
    }
    if (ends[0] == ends[1]) {
      problems.add(file, at, "joins \"" + link.from + "\" to itself");
      continue;
    }
    const NodeKind kinds[2] = {entries.nodes[ends[0]].kind, entries.nodes[ends[1]].kind};
    if ((is_endpoint(kinds[0]) || is_endpoint(kinds[1])) &&
        !endpoint_pairs.insert(std::minmax(ends[0], ends[1])).second) {
      problems.add(file, at, "joins \"" + link.from + "\" and \"" + link.to + "\" a second time",
                   "give one link with the sum of the rates");
      continue;
    }
    if (is_pcie(kinds[0]) && is_pcie(kinds[1])) {
      if (root(ends[0]) == root(ends[1])) {
        problems.add(file, at, "closes a PCIe cycle at \"" + link.to + "\"",
                     "PCIe switches and host bridges form a tree");
        continue;
      }
      tree[root(ends[0])] = root(ends[1]);
    }
    topology.connect(NodeId{ends[0]}, NodeId{ends[1]}, link.rate,
                     link.back_rate.value_or(link.rate), link.latency);
  }
  problems.throw_if_any();
  return topology;
}

Topology load_topology(const std::string& path) { return read_topology(load_json(path), path); }

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/cache_transfers.h"

#include <algorithm>
#include <set>

#include "sim/base/error.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"
#include "sim/serving/serving_loop.h"

namespace moesim {
namespace {

/// A network keeps a record of each transfer; an idle one is replaced after so many.
constexpr std::uint32_t kMostRecords = 256;

SimTime at(double seconds) { return SimTime::from_seconds(Seconds(seconds)); }

}  // namespace

CacheTransfers::CacheTransfers(const Scenario& scenario, const ServingPlan& plan) {
  MOESIM_CHECK(plan.prefill.has_value(), "caches move between two pools");
  const ServingConfig& config = scenario.spec.serving;
  const ClusterProfile& profile = *scenario.cluster;
  const NodeGroup& node = profile.node_groups.front();
  const auto nodes_of = [&](const ServingPool& from, std::int64_t instances) {
    return instances * ((from.scenario->ways.gpus + node.gpus_per_node - 1) / node.gpus_per_node);
  };
  const std::int64_t serving_nodes = nodes_of(plan.serving, config.instances);
  const std::int64_t nodes = serving_nodes + nodes_of(*plan.prefill, config.prefill_pool.instances);
  if (node.nodes && nodes > *node.nodes) {
    throw InputError(
        scenario.file, "/serving/prefill_pool",
        "both pools together need " + std::to_string(nodes) + " nodes",
        "allowed: at most " + std::to_string(*node.nodes) + ", those of \"" + profile.id + "\"");
  }
  const auto pool = [&](const ServingPool& from, std::int64_t first_gpu) {
    const ParallelWays& ways = from.scenario->ways;
    return Pool{first_gpu, nodes_of(from, 1) * node.gpus_per_node,
                from.replicas_per_instance * from.independent,
                ways.gpus / std::max<std::int64_t>(1, ways.data)};
  };
  serving_ = pool(plan.serving, 0);
  prefill_ = pool(*plan.prefill, serving_nodes * node.gpus_per_node);
  const FabricPaths paths = profile.fabric.paths;
  plan_ = cluster_topology(profile, {.num_nodes = nodes, .paths = paths})
              .routes(route_policy(paths), scenario.file);
  network_ = std::make_unique<FlowNetwork>(*plan_);
}

CacheTransfers::~CacheTransfers() = default;

std::uint32_t CacheTransfers::gpu_of(const Pool& pool, std::uint32_t replica,
                                     std::int64_t index) const {
  const std::int64_t instance = replica / pool.replicas_per_instance;
  const std::int64_t within = replica % pool.replicas_per_instance;
  return static_cast<std::uint32_t>(pool.first_gpu + instance * pool.gpus_per_instance +
                                    within * pool.gpus_per_replica + index);
}

void CacheTransfers::start(double now, std::uint32_t request, std::uint32_t source,
                           std::uint32_t destination, Bytes bytes) {
  if (active_.empty() && started_ >= kMostRecords) {
    network_ = std::make_unique<FlowNetwork>(*plan_);
    started_ = 0;
  }
  const std::int64_t parts = std::max(prefill_.gpus_per_replica, serving_.gpus_per_replica);
  std::vector<Copy> copies;
  std::set<std::uint32_t> ranks;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::uint32_t from = gpu_of(prefill_, source, part * prefill_.gpus_per_replica / parts);
    const std::uint32_t to =
        gpu_of(serving_, destination, part * serving_.gpus_per_replica / parts);
    copies.push_back({from, to, bytes / static_cast<double>(parts)});
    ranks.insert({from, to});
  }
  const TransferId id = network_->start(at(now), TransferSet::copies(copies));
  ++started_;
  active_.push_back(
      {static_cast<std::uint32_t>(id), request, static_cast<std::uint32_t>(ranks.size())});
}

std::optional<double> CacheTransfers::next_change() const {
  const std::optional<SimTime> next = network_->next_change();
  return next ? std::optional<double>(next->seconds().value()) : std::nullopt;
}

std::vector<std::uint32_t> CacheTransfers::arrived(double now) {
  std::vector<std::uint32_t> done;
  for (const RankCompletion& part : network_->advance_to(at(now))) {
    const auto found = std::find_if(active_.begin(), active_.end(), [&](const Active& active) {
      return active.transfer == static_cast<std::uint32_t>(part.transfer);
    });
    if (found != active_.end() && --found->ranks_left == 0) {
      done.push_back(found->request);
      network_->forget(part.transfer);
      active_.erase(found);
    }
  }
  return done;
}

}  // namespace moesim

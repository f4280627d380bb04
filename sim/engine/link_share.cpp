// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/link_share.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "sim/cluster/background.h"
#include "sim/cluster/fault.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"

namespace moesim {
namespace {

constexpr double kWindow = 1e-3;
/// Of a pair: so many that start-ups do not count.
constexpr double kProbeBytes = 1e12;

/// Seconds of the slowest copy of each probe; nothing where it has none.
struct ProbeTimes {
  std::optional<double> local;
  std::optional<double> remote;
};

ProbeTimes probe(const Scenario& scenario, bool is_loaded) {
  const ClusterProfile& profile = *scenario.cluster;
  const std::vector<BackgroundSpec> background =
      is_loaded ? scenario.spec.background : std::vector<BackgroundSpec>{};
  const std::int64_t gpus_per_node = profile.node_groups.front().gpus_per_node;
  const std::int64_t gpus = scenario.ways.gpus;
  const std::int64_t nodes =
      std::max(scenario.spec.nodes, (gpus + gpus_per_node - 1) / gpus_per_node);
  Topology topology =
      cluster_topology(profile, {.num_nodes = nodes_with_background(background, profile, nodes),
                                 .paths = profile.fabric.paths,
                                 .with_host = needs_host(background),
                                 .nic_behind_pcie = true});
  if (is_loaded) {
    apply_faults(topology, faults_of(scenario), scenario.file);
  }
  std::vector<Stream> streams =
      background_streams(background, topology, nodes, gpus_per_node, scenario.file);
  const SharedPlan plan(topology.routes(route_policy(profile.fabric.paths), scenario.file),
                        std::move(streams));
  const std::int64_t domain =
      std::max<std::int64_t>(1, profile.node_groups.front().scale_up.domain_gpus);
  const std::int64_t group =
      std::clamp<std::int64_t>(std::max(scenario.ways.expert, scenario.ways.tensor), 1, gpus);
  std::vector<Copy> local, remote;
  for (std::int64_t source = 0; source < gpus; ++source) {
    const std::int64_t first = source / group * group;
    for (std::int64_t to = first; to < std::min(first + group, gpus); ++to) {
      if (to != source) {
        (to / domain == source / domain ? local : remote)
            .push_back({static_cast<std::uint32_t>(source), static_cast<std::uint32_t>(to),
                        Bytes(kProbeBytes)});
      }
    }
  }
  const auto seconds = [&](const std::vector<Copy>& copies) -> std::optional<double> {
    if (copies.empty()) {
      return std::nullopt;
    }
    FlowNetwork network(plan, {.window_fraction = kWindow});
    if (!plan.streams().empty()) {
      network.start(SimTime(), plan.transfer());
    }
    network.start(SimTime(), TransferSet::copies(copies));
    return network.finish().seconds().value();
  };
  return {seconds(local), seconds(remote)};
}

void scale(std::optional<ExchangeWork>& work, double factor) {
  if (work) {
    for (double* cost : {&work->token_s, &work->sm_token_s, &work->sm_token_element_s,
                         &work->sm_copy_s, &work->sm_copy_element_s}) {
      *cost *= factor;
    }
  }
}

}  // namespace

std::vector<Fault> faults_of(const Scenario& scenario) {
  std::vector<Fault> faults;
  for (const FaultSpec& fault : scenario.spec.faults) {
    faults.push_back({fault.where, fault.rate_fraction, fault.compute_fraction.has_value()});
  }
  return faults;
}

bool shares_links(const Scenario& scenario) {
  return !scenario.spec.background.empty() ||
         std::any_of(scenario.spec.faults.begin(), scenario.spec.faults.end(),
                     [](const FaultSpec& fault) { return !fault.compute_fraction; });
}

LinkShare link_share(const Scenario& scenario) {
  LinkShare share;
  if (!shares_links(scenario)) {
    return share;
  }
  const ProbeTimes alone = probe(scenario, false);
  const ProbeTimes loaded = probe(scenario, true);
  const auto ratio = [](const std::optional<double>& a, const std::optional<double>& b) {
    return a && b ? std::min(1.0, *a / *b) : 1.0;
  };
  share.scale_up = ratio(alone.local, loaded.local);
  share.network = ratio(alone.remote, loaded.remote);
  return share;
}

ClusterProfile with_share(ClusterProfile profile, const LinkShare& share) {
  for (NodeGroup& node : profile.node_groups) {
    node.scale_up.rate.value *= share.scale_up;
    node.nics.rate.value *= share.network;
    for (auto* rate : {&node.scale_up.achieved, &node.scale_up.pair_rate}) {
      if (*rate) {
        (*rate)->value *= share.scale_up;
      }
    }
    if (node.nics.achieved) {
      node.nics.achieved->value *= share.network;
    }
  }
  for (CollectiveFit& fit : profile.collectives) {
    fit.rate *= fit.scope == CollectiveScope::scale_up ? share.scale_up : share.network;
  }
  for (CollectiveLaw& law : profile.collective_laws) {
    for (CollectiveProtocol& protocol : law.protocols) {
      protocol.wire_s_per_byte /=
          law.scope == CollectiveScope::scale_up ? share.scale_up : share.network;
    }
  }
  if (profile.expert_kernels) {
    ExpertKernels& kernels = *profile.expert_kernels;
    for (LowLatencyExchange* fit : {&kernels.low_latency.dispatch, &kernels.low_latency.combine}) {
      fit->nic_rate *= share.network;
      fit->scale_up_rate *= share.scale_up;
      fit->one_node_rate *= share.scale_up;
    }
    for (NormalExchange* fit : {&kernels.normal.dispatch, &kernels.normal.combine}) {
      fit->nic_rate *= share.network;
      fit->scale_up_rate *= share.scale_up;
      fit->one_node_rate *= share.scale_up;
      // SMs that copy wait for the link, as the ports of flow fidelity do.
      scale(fit->work, 1.0 / share.scale_up);
      scale(fit->one_node_work, 1.0 / share.scale_up);
      for (auto* rate : {&fit->per_sm_rate, &fit->one_node_per_sm_rate}) {
        if (*rate) {
          **rate *= share.scale_up;
        }
      }
    }
    for (std::optional<NvlinkKernels>* some :
         {&kernels.nvlink_one_sided, &kernels.nvlink_two_sided}) {
      if (*some) {
        (*some)->dispatch.rate *= share.scale_up;
        (*some)->combine.rate *= share.scale_up;
        if ((*some)->combine_low_precision) {
          (*some)->combine_low_precision->rate *= share.scale_up;
        }
      }
    }
  }
  return profile;
}

Scenario with_links_shared(const Scenario& scenario) {
  const LinkShare share = link_share(scenario);
  Scenario copy = scenario;
  if (share.scale_up < 1 || share.network < 1) {
    copy.cluster = std::make_shared<const ClusterProfile>(with_share(*scenario.cluster, share));
  }
  return copy;
}

}  // namespace moesim

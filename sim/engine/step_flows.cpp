// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/step_flows.h"

#include <algorithm>
#include <utility>

#include "sim/cluster/background.h"
#include "sim/cluster/collective_flows.h"
#include "sim/cluster/fault.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"
#include "sim/engine/link_share.h"
#include "sim/engine/step_graph.h"

namespace moesim {
namespace {

/// End times of flows may be off by this share of an exchange; start-ups alone are larger.
constexpr double kWindow = 1e-3;
constexpr double kUnlimited = 1e30;

/// Rates of `profile`'s kernels taken away: what is left is start-up and work.
ClusterProfile without_rates(ClusterProfile profile) {
  const BytesPerSecond endless(kUnlimited);
  for (NodeGroup& group : profile.node_groups) {
    group.scale_up.rate.value = group.nics.rate.value = endless;
    group.scale_up.achieved.reset();
    group.nics.achieved.reset();
  }
  if (profile.expert_kernels) {
    ExpertKernels& kernels = *profile.expert_kernels;
    for (LowLatencyExchange* fit : {&kernels.low_latency.dispatch, &kernels.low_latency.combine}) {
      fit->nic_rate = fit->scale_up_rate = fit->one_node_rate = endless;
    }
    for (std::optional<NvlinkKernels>* some :
         {&kernels.nvlink_one_sided, &kernels.nvlink_two_sided}) {
      if (*some) {
        (*some)->dispatch.rate = (*some)->combine.rate = endless;
        if ((*some)->combine_low_precision) {
          (*some)->combine_low_precision->rate = endless;
        }
      }
    }
    for (NormalExchange* fit : {&kernels.normal.dispatch, &kernels.normal.combine}) {
      // What SMs do for copies becomes a rate of the ports.
      fit->nic_rate = fit->scale_up_rate = fit->one_node_rate = endless;
      fit->per_sm_rate.reset();
      fit->one_node_per_sm_rate.reset();
      fit->work.reset();
      if (fit->one_node_work) {
        fit->one_node_work = ExchangeWork{.element_s = fit->one_node_work->element_s};
      }
    }
  }
  return profile;
}

/// Rate at which a normal kernel copies within a domain, SM work included.
BytesPerSecond normal_copy_rate(NormalExchange fit, const ExchangeSize& size) {
  fit.nic_rate = BytesPerSecond(kUnlimited);
  ExchangeSize empty = size;
  empty.demand = ExchangeDemand{};
  empty.demand.ranks = size.demand.ranks;
  empty.demand.experts = size.demand.experts;
  const Bytes bytes = copy_bytes(size.hidden, size.format, fit.header) * size.demand.rank_copies;
  return bytes / (exchange_time(fit, size) - exchange_time(fit, empty));
}

/// Bytes a second of a stream of each entry of /background now, mean.
std::vector<double> stream_rates(const FlowNetwork& flows, const SharedPlan& plan,
                                 std::size_t num_entries) {
  const std::vector<BytesPerSecond> rates = flows.link_rates();
  std::vector<double> sums(num_entries, 0.0);
  std::vector<double> counts(num_entries, 0.0);
  for (std::size_t i = 0; i < plan.streams().size(); ++i) {
    const std::uint32_t entry = plan.streams()[i].entry;
    sums[entry] += rates[plan.limit_link(i)].value();
    counts[entry] += 1.0;
  }
  for (std::size_t entry = 0; entry < num_entries; ++entry) {
    sums[entry] /= std::max(1.0, counts[entry]);
  }
  return sums;
}

}  // namespace

struct StepFlows::Network {
  Topology topology;
  std::unique_ptr<RoutePlan> plan;
  const SharedPlan* shared = nullptr;  // `plan`, when there is other traffic
  Bytes header;

  /// A network in which the other traffic, if any, is under way.
  FlowNetwork flows(const FlowAccuracy& accuracy) const {
    FlowNetwork network(*plan, accuracy);
    if (shared != nullptr) {
      network.start(SimTime(), shared->transfer());
    }
    return network;
  }
};

std::span<const Choice<LinkClass>> choices_of(LinkClass) {
  static constexpr Choice<LinkClass> kChoices[] = {
      {LinkClass::scale_up, "scale_up", "links of the scale-up network, one direction"},
      {LinkClass::nic, "nic", "a network card, one direction"},
      {LinkClass::fabric, "fabric", "links between switches, one direction"},
      {LinkClass::host, "host", "PCIe and memory of the host, one direction"},
  };
  return kChoices;
}

StepFlows::StepFlows(const Scenario& scenario, const StepCostModel& model)
    : model_(model),
      num_background_(scenario.spec.background.size()),
      start_up_(model.collectives().with_profile(without_rates(model.collectives().profile()))) {
  const StepTemplate& step = model.step_template();
  const std::int64_t domain =
      std::min<std::int64_t>(model.collectives().domain_gpus(), step.ways.gpus);
  const bool is_one_node = step.ways.expert <= model.collectives().domain_gpus();
  const ExchangeKernel kernel = model.collectives().available(model.exchange_kernel());
  for (const ExchangeDirection direction :
       {ExchangeDirection::dispatch, ExchangeDirection::combine}) {
    const bool is_dispatch = direction == ExchangeDirection::dispatch;
    ClusterProfile profile = *scenario.cluster;
    NodeGroup& node = profile.node_groups.front();
    BytesPerSecond scale_up =
        node.scale_up.achieved ? node.scale_up.achieved->value : node.scale_up.rate.value;
    std::optional<BytesPerSecond> nic;
    auto network = std::make_unique<Network>();
    if (kernel == ExchangeKernel::low_latency) {
      const LowLatencyKernels& kernels = profile.expert_kernels->low_latency;
      const LowLatencyExchange& fit = is_dispatch ? kernels.dispatch : kernels.combine;
      scale_up = is_one_node ? fit.one_node_rate : fit.scale_up_rate;
      nic = fit.nic_rate;
      network->header = fit.header;
    } else if (kernel == ExchangeKernel::normal) {
      const NormalKernels& kernels = profile.expert_kernels->normal;
      const NormalExchange& fit = is_dispatch ? kernels.dispatch : kernels.combine;
      const FanOut fan_out = step.num_moe_layers > 0 ? model.loads().layer(0).fan_out() : FanOut{};
      ExchangeSize probe = model.collectives().size_of(
          ExchangeDemand{.rank_copies = 1e6 * std::max(1.0, fan_out.ranks),
                         .ranks = step.ways.expert,
                         .tokens = 1e6,
                         .experts = static_cast<double>(step.experts)},
          step.hidden, is_dispatch ? NumberFormat::fp8_block : NumberFormat::bf16);
      scale_up = normal_copy_rate(fit, probe);
      nic = fit.nic_rate;
      network->header = fit.header;
    } else if (kernel == ExchangeKernel::nvlink_one_sided ||
               kernel == ExchangeKernel::nvlink_two_sided) {
      const NvlinkKernels& kernels = kernel == ExchangeKernel::nvlink_one_sided
                                         ? *profile.expert_kernels->nvlink_one_sided
                                         : *profile.expert_kernels->nvlink_two_sided;
      const NvlinkExchange& fit = is_dispatch ? kernels.dispatch : kernels.combine;
      scale_up = fit.rate;
      network->header = fit.header;
    }
    if (kernel == ExchangeKernel::low_latency || kernel == ExchangeKernel::normal ||
        kernel == ExchangeKernel::pairwise) {
      // A rank's copies to itself pass its SMs too: links carry the other shares at that rate.
      scale_up *= domain > 1 ? static_cast<double>(domain - 1) / static_cast<double>(domain) : 1.0;
    }
    node.scale_up.achieved = Sourced<BytesPerSecond>{{}, scale_up};
    if (kernel != ExchangeKernel::pairwise) {
      // Kernel start-ups hold these latencies.
      node.scale_up.latency.value = node.nics.latency.value = Seconds(0);
    }
    if (nic && node.nics.per_node > 0) {
      node.nics.achieved = Sourced<BytesPerSecond>{
          {},
          *nic *
              (static_cast<double>(node.gpus_per_node) / static_cast<double>(node.nics.per_node))};
    }
    const bool is_message_a_copy = kernel == ExchangeKernel::low_latency;
    network->topology = cluster_topology(
        profile,
        {.num_nodes = nodes_with_background(scenario.spec.background, profile, scenario.spec.nodes),
         .paths = profile.fabric.paths,
         .with_host = needs_host(scenario.spec.background),
         .nic_behind_pcie = true,
         .message = is_message_a_copy ? copy_bytes(step.hidden, NumberFormat::fp8, network->header)
                                      : Bytes(0)});
    apply_faults(network->topology, faults_of(scenario), scenario.file);
    network->plan = network->topology.routes(route_policy(profile.fabric.paths), scenario.file);
    std::vector<Stream> streams =
        background_streams(scenario.spec.background, network->topology, scenario.spec.nodes,
                           profile.node_groups.front().gpus_per_node, scenario.file);
    if (!streams.empty()) {
      auto shared = std::make_unique<SharedPlan>(std::move(network->plan), std::move(streams));
      network->shared = shared.get();
      network->plan = std::move(shared);
    }
    networks_[static_cast<std::size_t>(direction)] = std::move(network);
  }
}

StepFlows::~StepFlows() = default;

FlowedExchange StepFlows::carry(ExchangeDirection direction, const PassLoads& pass,
                                NumberFormat format) const {
  const StepTemplate& step = model_.step_template();
  const Network& network = *networks_[static_cast<std::size_t>(direction)];
  const auto gpus = static_cast<std::uint32_t>(step.ways.gpus);
  const auto domain = static_cast<std::uint32_t>(
      std::min<std::int64_t>(model_.collectives().domain_gpus(), step.ways.gpus));
  const ExchangeKernel kernel = model_.collectives().available(model_.exchange_kernel());
  const double copy = copy_bytes(step.hidden, format, network.header).value();
  const std::vector<float>& pairs = pass.pair_copies;
  MOESIM_CHECK(pairs.size() == std::size_t{gpus} * gpus, "pairs are [GPUs, GPUs]");

  ExpertTraffic traffic{gpus, gpus % domain == 0 ? domain : gpus, {}, {}};
  traffic.rank_bytes.resize(pairs.size());
  const bool is_dispatch = direction == ExchangeDirection::dispatch;
  for (std::uint32_t source = 0; source < gpus; ++source) {
    for (std::uint32_t destination = 0; destination < gpus; ++destination) {
      // A combine returns what a dispatch brought.
      const std::size_t from = is_dispatch ? source : destination;
      const std::size_t to = is_dispatch ? destination : source;
      traffic.rank_bytes[std::size_t{source} * gpus + destination] = copy * pairs[from * gpus + to];
    }
  }
  FlowStages stages;
  const bool is_forwarded = kernel == ExchangeKernel::normal && gpus > traffic.gpus_per_node;
  if (is_forwarded) {
    const std::uint32_t nodes = gpus / traffic.gpus_per_node;
    traffic.node_bytes.assign(std::size_t{gpus} * nodes, 0.0);
    for (std::uint32_t source = 0; source < gpus; ++source) {
      for (std::uint32_t rank = 0; rank < gpus; ++rank) {
        traffic.node_bytes[std::size_t{source} * nodes + rank / traffic.gpus_per_node] +=
            pass.copies_per_node * traffic.rank_bytes[std::size_t{source} * gpus + rank];
      }
    }
    for (double& bytes : traffic.rank_bytes) {
      bytes *= pass.copies_per_rank;
    }
    stages = forwarded_stages(traffic);
  } else {
    if (sends_rank_copies(kernel)) {
      for (double& bytes : traffic.rank_bytes) {
        bytes *= pass.copies_per_rank;
      }
    }
    stages = pairwise_stages(traffic);
  }

  FlowNetwork flows = network.flows({.window_fraction = kWindow});
  const TransferId id = flows.start(SimTime(), stages.front());
  FlowedExchange result;
  if (network.shared != nullptr) {
    result.background = stream_rates(flows, *network.shared, num_background_);
  }
  flows.finish();
  const std::span<const double> ends = flows.flow_ends(id);
  std::vector<double> arrival(gpus, 0.0);
  for (std::uint32_t flow = 0; flow < stages.front().num_flows(); ++flow) {
    const std::uint32_t source = stages.front().source(flow);
    const std::uint32_t destination = stages.front().destination(flow);
    if (source != destination && stages.front().bytes(flow) > 0) {
      arrival[source] = std::max(arrival[source], ends[flow]);
      arrival[destination] = std::max(arrival[destination], ends[flow]);
    }
  }
  result.seconds.resize(gpus);
  for (std::uint32_t gpu = 0; gpu < gpus; ++gpu) {
    const ExchangeDemand& demand = pass.exchange[gpu];
    const Seconds fixed =
        start_up_.exchange(kernel, direction, demand, step.hidden, format).seconds;
    const double seconds = fixed.value() + arrival[gpu];
    result.seconds[gpu] = static_cast<float>(seconds);
    result.longest = std::max(result.longest, seconds);
    result.uncontended =
        std::max(result.uncontended, model_.collectives()
                                         .exchange(kernel, direction, demand, step.hidden, format)
                                         .seconds.value());
  }
  const std::span<const double> bytes = flows.link_bytes();
  result.link_bytes.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(num_links()));
  return result;
}

Seconds StepFlows::collective(CollectiveOp op, std::int64_t ranks, Bytes buffer) const {
  const CollectiveModel& model = model_.collectives();
  const std::int64_t domain = model.domain_gpus();
  if (ranks <= domain || ranks % domain != 0) {
    return model.collective(op, ranks, buffer);
  }
  const auto gpus = static_cast<std::uint32_t>(model_.step_template().ways.gpus);
  const double domains = static_cast<double>(ranks / domain);
  const double rounds = op == CollectiveOp::all_reduce ? 2.0 : 1.0;
  const Bytes bytes = buffer * (rounds * (domains - 1.0) / domains / static_cast<double>(domain));
  std::vector<Copy> copies;
  for (std::uint32_t gpu = 0; gpu < gpus; ++gpu) {
    const std::uint32_t group = gpu / static_cast<std::uint32_t>(ranks);
    const std::uint32_t within = gpu % static_cast<std::uint32_t>(ranks);
    const std::uint32_t next =
        (within + static_cast<std::uint32_t>(domain)) % static_cast<std::uint32_t>(ranks);
    copies.push_back({gpu, group * static_cast<std::uint32_t>(ranks) + next, bytes});
  }
  FlowNetwork flows = networks_[0]->flows({});
  flows.start(SimTime(), TransferSet::copies(copies));
  const Seconds network = flows.finish().seconds();
  return model.collective(op, domain, buffer) +
         model.profile().node_groups.front().nics.latency.value * rounds + network;
}

void FlowTotals::add(const FlowedExchange& exchange, double share) {
  exchange_s += exchange.longest;
  uncontended_s += exchange.uncontended;
  background.resize(exchange.background.size(), 0.0);
  for (std::size_t i = 0; i < background.size(); ++i) {
    background[i] += exchange.background[i] * share;
  }
}

std::size_t StepFlows::num_links() const { return 2 * networks_[0]->topology.links().size(); }

std::string StepFlows::link_name(LinkIndex link) const {
  return networks_[0]->plan->link_name(link);
}

LinkClass StepFlows::link_class(LinkIndex link) const {
  const Topology& topology = networks_[0]->topology;
  const TopologyLink& ends = topology.links()[link / 2];
  const auto is = [&](NodeKind kind) {
    return topology.nodes()[ends.a].kind == kind || topology.nodes()[ends.b].kind == kind;
  };
  if (is(NodeKind::spine)) {
    return LinkClass::fabric;
  }
  if (is(NodeKind::leaf)) {
    return LinkClass::nic;
  }
  const bool is_direct =
      is_endpoint(topology.nodes()[ends.a].kind) && is_endpoint(topology.nodes()[ends.b].kind);
  return is(NodeKind::gpu_switch) || is_direct ? LinkClass::scale_up : LinkClass::host;
}

BytesPerSecond StepFlows::capacity(ExchangeDirection direction, LinkIndex link) const {
  return networks_[static_cast<std::size_t>(direction)]->plan->links()[link].capacity;
}

}  // namespace moesim

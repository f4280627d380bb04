// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/offload_step.h"

#include <algorithm>
#include <cmath>

#include "sim/cluster/topology_presets.h"
#include "sim/moe/expert_demand.h"
#include "sim/moe/token_routing_domains.h"
#include "sim/workload/layer_ops.h"

namespace moesim {
namespace {

// The host reads the gate's choice back before it can look experts up: a small copy and a stream
// synchronisation, about 10 us each; estimate.
constexpr double kHostRoundTrip = 20e-6;
// Copies from memory that is not pinned pass a staging buffer that one core fills at about 10 GB/s;
// estimate.
constexpr double kPageableCopyRate = 10e9;
// With traffic the other way a PCIe link gives 12-13 of 26 GB/s to the GPU (nvbandwidth issue #11,
// A100): a busy far side takes half.
constexpr double kOppositeLoss = 0.52;

/// The cluster with one node's host links as this scenario sees them.
ClusterProfile one_node(const Scenario& scenario) {
  const OffloadConfig& offload = scenario.spec.offload;
  ClusterProfile cluster = *scenario.cluster;
  cluster.node_groups.resize(1);
  Host& host = cluster.node_groups.front().host;
  double rate = host.link_rate.value.value();
  if (host.link == HostLink::pcie && offload.opposite_bytes_per_s > 0) {
    rate *= 1.0 - kOppositeLoss * std::min(1.0, offload.opposite_bytes_per_s / rate);
  }
  if (offload.pageable) {
    rate = 1.0 / (1.0 / rate + 1.0 / kPageableCopyRate);
  }
  host.link_rate.value = BytesPerSecond(rate);
  if (offload.nvme_bytes_per_s) {
    Sourced<BytesPerSecond> read;
    read.value = BytesPerSecond(*offload.nvme_bytes_per_s);
    host.nvme_read = read;
  }
  if (host.nvme_read && !host.nvme) {
    host.nvme = Sourced<Bytes>();
  }
  return cluster;
}

/// Kernels of one MoE layer when each is launched by itself, three products an expert.
double kernels_of_layer(const StepTemplate& step, double experts) {
  for (const LayerTemplate& layer : step.layers) {
    if (layer.experts) {
      const double ops =
          static_cast<double>(layer.before.size() + layer.after.size() + layer.shared.size());
      return ops + experts * (layer.experts->prototype.gated ? 3.0 : 2.0);
    }
  }
  return 0;
}

/// At which the host's memory gives experts, all GPUs together.
BytesPerSecond memory_rate(const NodeGroup& node) {
  if (node.host.memory_bandwidth) {
    return node.host.memory_bandwidth->value;
  }
  const double gpus = static_cast<double>(node.gpus_per_node);
  return (node.host.all_copy_rate ? node.host.all_copy_rate->value : node.host.link_rate.value) *
         gpus;
}

/// Other traffic of the scenario on the host links.
std::vector<BackgroundSpec> host_copies(const Scenario& scenario) {
  std::vector<BackgroundSpec> copies;
  std::copy_if(scenario.spec.background.begin(), scenario.spec.background.end(),
               std::back_inserter(copies), [](const BackgroundSpec& traffic) {
                 return traffic.kind == BackgroundKind::host_to_gpu ||
                        traffic.kind == BackgroundKind::gpu_to_host;
               });
  return copies;
}

/// [layers * experts] Share of the tokens that choose each expert which lives on `rank`; 0 for
/// those of other ranks.
std::vector<double> popularity_on(const RoutingSpec& routing, const std::vector<ExpertMap>& maps,
                                  std::int32_t layers, std::int64_t rank) {
  std::vector<double> popularity;
  for (std::int32_t l = 0; l < layers; ++l) {
    const std::vector<double> all = routing.mixture->inclusion_at(l, routing.time);
    const ExpertMap& map = maps[maps.size() == 1 ? 0 : static_cast<std::size_t>(l)];
    std::vector<double> own(all.size(), 0.0);
    for (std::size_t slot = 0; slot < map.slot_expert.size(); ++slot) {
      if (map.slot_rank[slot] == rank) {
        const auto expert = static_cast<std::size_t>(map.slot_expert[slot]);
        own[expert] = all[expert];
      }
    }
    popularity.insert(popularity.end(), own.begin(), own.end());
  }
  return popularity;
}

double mean_experts(const ExpertTrace& trace) {
  return static_cast<double>(trace.num_accesses()) /
         (static_cast<double>(trace.steps()) * static_cast<double>(trace.layers()));
}

}  // namespace

OffloadStep::OffloadStep(const Scenario& scenario, const RoutingSpec& routing,
                         const StepCostModel& model, const StepBatch& batch,
                         const MemoryBudget& memory, const OffloadOptions& options)
    : config_(scenario.spec.offload),
      file_(scenario.file),
      locality_(scenario.spec.routing.locality),
      policy_(choice_name(config_.policy)),
      cluster_(one_node(scenario)),
      copies_(host_copies(scenario)),
      layers_(static_cast<double>(model.step_template().num_moe_layers)),
      slots_(static_cast<double>(memory.expert_slots)) {
  take_demand(routing, model, batch, options);
  describe_node(scenario, memory, model.step_template().ways);
  if (config_.host_managed) {
    launch_s_ = kernels_of_layer(model.step_template(), mean_experts(traces_.front())) *
                scenario.device->launch_eager.value.value();
  }
  is_one_link_ = options.one_link_if_alone && traces_.size() == 1 && copies_.empty();
  if (is_one_link_) {
    OffloadSpec& gpu = node_.gpu;
    gpu.link_rate = std::min(gpu.link_rate, memory_rate(cluster_.node_groups.front()));
    if (!node_.popularity.empty()) {
      gpu.cache.popularity = node_.popularity.front();
    }
  }
}

void OffloadStep::take_demand(const RoutingSpec& routing, const StepCostModel& model,
                              const StepBatch& batch, const OffloadOptions& options) {
  const StepTemplate& step = model.step_template();
  const ParallelWays& ways = step.ways;
  const double generated = batch.decode_sequences * batch.decode_new_tokens;
  const bool is_decode = generated > 0 && 2 * generated >= batch.tokens();
  ExpertDemandSpec demand;
  demand.routing = routing;
  demand.locality = locality_of(locality_, is_decode);
  demand.layers = static_cast<std::int32_t>(step.num_moe_layers);
  const double replicas = static_cast<double>(ways.data);
  const double sequences = batch.decode_sequences + batch.prefill_sequences;
  demand.sequences = std::max<std::int64_t>(1, std::llround(sequences * replicas));
  demand.tokens_per_step =
      std::max<std::int64_t>(demand.sequences, std::llround(batch.tokens() * replicas));
  demand.continues = is_decode;
  const double per_step =
      static_cast<double>(demand.tokens_per_step * step.num_moe_layers * step.top_k);
  const double wanted = static_cast<double>(config_.steps + config_.warm_up_steps);
  demand.steps = static_cast<std::int64_t>(
      std::clamp(wanted, 4.0, std::max(4.0, options.most_selections / per_step)));
  // One step at least if any was asked for: it takes what preloading gave for nothing.
  warm_up_ = static_cast<int>(std::max(
      std::min(static_cast<double>(config_.warm_up_steps), 1.0),
      static_cast<double>(demand.steps) * static_cast<double>(config_.warm_up_steps) / wanted));
  const std::int64_t gpus = std::min(cluster_.node_groups.front().gpus_per_node, ways.gpus);
  const std::int64_t ranks =
      std::max<std::int64_t>(1, std::min(ways.expert, gpus / ways.expert_tensor));
  demand.gpus = static_cast<std::int32_t>(ranks);
  std::vector<ExpertMap> maps;
  if (const PlacementPlan* plan = model.loads().plan()) {
    maps = plan->maps;
  } else {
    maps.push_back(model.loads().layer(0).map());
  }
  const std::vector<ExpertTrace> by_rank = expert_demand(demand, maps);
  std::vector<int> order;
  if (config_.reordered) {
    order = swap_minimising_order(by_rank.front());
  }
  for (std::int64_t gpu = 0; gpu < gpus; ++gpu) {
    // GPUs that split an expert all need their part of it.
    const std::int64_t rank = std::min(gpu / ways.expert_tensor, ranks - 1);
    const ExpertTrace& trace = by_rank[static_cast<std::size_t>(rank)];
    traces_.push_back(order.empty() ? trace : trace.reordered(order));
    if (options.filled_for != nullptr) {
      node_.popularity.push_back(popularity_on(*options.filled_for, maps, demand.layers, rank));
    }
  }
}

void OffloadStep::describe_node(const Scenario& scenario, const MemoryBudget& memory,
                                const ParallelWays& ways) {
  const Host& host = cluster_.node_groups.front().host;
  const double gpus = static_cast<double>(traces_.size());
  OffloadSpec& gpu = node_.gpu;
  gpu.cache.policy = policy_;
  gpu.cache.scope = config_.scope;
  gpu.cache.slots = static_cast<int>(config_.scope == CacheScope::global
                                         ? memory.expert_slots
                                         : memory.expert_slots / traces_.front().layers());
  gpu.cache.is_preloaded = config_.preloaded;
  gpu.prefetch.lookahead_layers = static_cast<int>(config_.prefetch_layers);
  gpu.prefetch.accuracy = config_.prefetch_accuracy;
  gpu.prefetch.seed = static_cast<std::uint64_t>(scenario.spec.seed);
  gpu.on_miss = config_.on_miss;
  gpu.expert_bytes = memory.expert_bytes;
  gpu.link_rate = host.link_rate.value;
  gpu.link_latency = Seconds(config_.transfer_latency_s);
  // 0.6 of the memory bandwidth is what CPU kernels reach on quantised experts; estimate after
  // KTransformers' single-socket figures (about 180 of 307 GB/s).
  gpu.cpu_rate = BytesPerSecond(config_.cpu_bytes_per_s.value_or(
      host.memory_bandwidth ? 0.6 * host.memory_bandwidth->value.value() / gpus : 0.0));
  if (config_.experts == ExpertHome::nvme) {
    gpu.host_slots =
        static_cast<int>(std::min(static_cast<double>(traces_.front().num_keys()),
                                  std::floor(memory.host_available / gpu.expert_bytes / gpus)));
    gpu.nvme_rate = host.nvme_read->value;
  }
  node_.is_in_lockstep = ways.data > 1 || ways.expert > 1 || ways.expert_tensor > 1;
}

OffloadOutcome OffloadStep::outcome(Seconds resident) const {
  OffloadNode spec = node_;
  OffloadSpec& gpu = spec.gpu;
  gpu.layer_seconds = resident / layers_;
  if (config_.host_managed) {
    gpu.host_dispatch =
        Seconds(kHostRoundTrip + std::max(0.0, launch_s_ - gpu.layer_seconds.value()));
  }
  OffloadNodeReport report;
  if (is_one_link_) {
    report.gpus.push_back(simulate_offload(traces_.front(), gpu, warm_up_));
    const OffloadReport& one = report.gpus.front();
    report.busiest_link_utilisation =
        (one.demand_bytes + one.prefetched_bytes) / gpu.link_rate / one.elapsed;
  } else {
    TopologyOptions with_host;
    with_host.num_nodes = 1;
    with_host.with_host = true;
    const Topology graph = cluster_topology(cluster_, with_host);
    spec.background =
        background_streams(copies_, graph, 1, cluster_.node_groups.front().gpus_per_node, file_);
    report = execute_offload(graph, traces_, spec, warm_up_);
  }
  OffloadOutcome outcome;
  outcome.slots = slots_;
  outcome.link_utilisation = report.busiest_link_utilisation;
  const double count = static_cast<double>(report.gpus.size());
  for (const OffloadReport& one : report.gpus) {
    const double steps = std::max(1.0, static_cast<double>(one.steps)) * count;
    outcome.hit_rate += one.hit_rate() / count;
    outcome.lookups += static_cast<double>(one.accesses) / steps;
    outcome.moved += (one.demand_bytes + one.prefetched_bytes) / steps;
    outcome.wasted += one.wasted_bytes / steps;
    outcome.from_drives += one.nvme_bytes / steps;
    outcome.cpu_experts += static_cast<double>(one.cpu_experts) / steps;
  }
  const OffloadReport& slowest = report.gpus[report.slowest];
  outcome.stall = slowest.stall / std::max(1.0, static_cast<double>(slowest.steps));
  return outcome;
}

std::optional<OffloadOutcome> offload_outcome(const Scenario& scenario, const RoutingSpec& routing,
                                              const StepCostModel& model, const StepBatch& batch,
                                              const MemoryBudget& memory, Seconds resident) {
  if (scenario.spec.offload.experts == ExpertHome::gpu ||
      model.step_template().num_moe_layers == 0) {
    return std::nullopt;
  }
  return OffloadStep(scenario, routing, model, batch, memory).outcome(resident);
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/offload_step.h"

#include <algorithm>
#include <cmath>

#include "sim/cluster/topology_presets.h"
#include "sim/engine/offload_execution.h"
#include "sim/moe/expert_demand.h"
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
// Selections that are drawn at most: about 0.4 s of sampling.
constexpr double kMostSelections = 4e6;

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

double mean_experts(const ExpertTrace& trace) {
  return static_cast<double>(trace.num_accesses()) /
         (static_cast<double>(trace.steps()) * static_cast<double>(trace.layers()));
}

}  // namespace

std::optional<OffloadOutcome> offload_outcome(const Scenario& scenario, const RoutingSpec& routing,
                                              const StepCostModel& model, const StepBatch& batch,
                                              const MemoryBudget& memory, Seconds resident,
                                              double effort) {
  const OffloadConfig& config = scenario.spec.offload;
  const StepTemplate& step = model.step_template();
  if (config.experts == ExpertHome::gpu || step.num_moe_layers == 0) {
    return std::nullopt;
  }
  const ParallelWays& ways = step.ways;
  const bool is_decode = batch.decode_sequences > 0;
  ExpertDemandSpec demand;
  demand.routing = routing;
  demand.locality = locality_of(scenario.spec.routing.locality, is_decode);
  demand.layers = static_cast<std::int32_t>(step.num_moe_layers);
  const double replicas = static_cast<double>(ways.data);
  const double sequences = is_decode ? batch.decode_sequences : batch.prefill_sequences;
  demand.sequences = std::max<std::int64_t>(1, std::llround(sequences * replicas));
  demand.tokens_per_step =
      std::max<std::int64_t>(demand.sequences, std::llround(batch.tokens() * replicas));
  demand.continues = is_decode;
  const double per_step =
      static_cast<double>(demand.tokens_per_step * step.num_moe_layers * step.top_k);
  const double wanted = static_cast<double>(config.steps + config.warm_up_steps) * effort;
  demand.steps = static_cast<std::int64_t>(
      std::clamp(wanted, 4.0, std::max(4.0, effort * kMostSelections / per_step)));
  const auto warm_up = static_cast<std::int64_t>(
      static_cast<double>(demand.steps) * static_cast<double>(config.warm_up_steps) /
      static_cast<double>(config.steps + config.warm_up_steps));
  const NodeGroup& node = scenario.cluster->node_groups.front();
  const std::int64_t gpus = std::min(node.gpus_per_node, ways.gpus);
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
  std::vector<ExpertTrace> traces;
  std::vector<int> order;
  if (config.reordered) {
    order = swap_minimising_order(by_rank.front());
  }
  for (std::int64_t gpu = 0; gpu < gpus; ++gpu) {
    // GPUs that split an expert all need their part of it.
    const auto rank = static_cast<std::size_t>(std::min(gpu / ways.expert_tensor, ranks - 1));
    traces.push_back(order.empty() ? by_rank[rank] : by_rank[rank].reordered(order));
  }

  OffloadNode spec;
  OffloadSpec& gpu = spec.gpu;
  const std::string policy = choice_name(config.policy);
  gpu.cache.policy = policy;
  gpu.cache.scope = config.scope;
  gpu.cache.slots = static_cast<int>(config.scope == CacheScope::global
                                         ? memory.expert_slots
                                         : memory.expert_slots / step.num_moe_layers);
  gpu.cache.is_preloaded = config.preloaded;
  gpu.prefetch.lookahead_layers = static_cast<int>(config.prefetch_layers);
  gpu.prefetch.accuracy = config.prefetch_accuracy;
  gpu.prefetch.seed = static_cast<std::uint64_t>(scenario.spec.seed);
  gpu.on_miss = config.on_miss;
  gpu.expert_bytes = memory.expert_bytes;
  const ClusterProfile cluster = one_node(scenario);
  const Host& host = cluster.node_groups.front().host;
  gpu.link_rate = host.link_rate.value;
  gpu.link_latency = Seconds(config.transfer_latency_s);
  gpu.layer_seconds = resident / static_cast<double>(step.num_moe_layers);
  if (config.host_managed) {
    const double launches = kernels_of_layer(step, mean_experts(traces.front())) *
                            scenario.device->launch_eager.value.value();
    gpu.host_dispatch =
        Seconds(kHostRoundTrip + std::max(0.0, launches - gpu.layer_seconds.value()));
  }
  // 0.6 of the memory bandwidth is what CPU kernels reach on quantised experts; estimate after
  // KTransformers' single-socket figures (about 180 of 307 GB/s).
  gpu.cpu_rate = BytesPerSecond(config.cpu_bytes_per_s.value_or(
      host.memory_bandwidth ? 0.6 * host.memory_bandwidth->value.value() / static_cast<double>(gpus)
                            : 0.0));
  if (config.experts == ExpertHome::nvme) {
    gpu.host_slots = static_cast<int>(
        std::min(static_cast<double>(step.num_moe_layers * step.experts),
                 std::floor(memory.host_available / gpu.expert_bytes / static_cast<double>(gpus))));
    gpu.nvme_rate = host.nvme_read->value;
  }
  spec.is_in_lockstep = ways.data > 1 || ways.expert > 1 || ways.expert_tensor > 1;

  TopologyOptions options;
  options.num_nodes = 1;
  options.with_host = true;
  const Topology graph = cluster_topology(cluster, options);
  std::vector<BackgroundSpec> copies;
  std::copy_if(scenario.spec.background.begin(), scenario.spec.background.end(),
               std::back_inserter(copies), [](const BackgroundSpec& traffic) {
                 return traffic.kind == BackgroundKind::host_to_gpu ||
                        traffic.kind == BackgroundKind::gpu_to_host;
               });
  spec.background = background_streams(copies, graph, 1, cluster.node_groups.front().gpus_per_node,
                                       scenario.file);
  const OffloadNodeReport report = execute_offload(graph, traces, spec, static_cast<int>(warm_up));
  OffloadOutcome outcome;
  outcome.slots = static_cast<double>(memory.expert_slots);
  outcome.link_utilisation = report.busiest_link_utilisation;
  const double count = static_cast<double>(report.gpus.size());
  for (const OffloadReport& one : report.gpus) {
    const double steps = std::max(1.0, static_cast<double>(one.steps)) * count;
    outcome.hit_rate += one.hit_rate() / count;
    outcome.moved += (one.demand_bytes + one.prefetched_bytes) / steps;
    outcome.wasted += one.wasted_bytes / steps;
    outcome.from_drives += one.nvme_bytes / steps;
    outcome.cpu_experts += static_cast<double>(one.cpu_experts) / steps;
  }
  const OffloadReport& slowest = report.gpus[report.slowest];
  outcome.stall = slowest.stall / std::max(1.0, static_cast<double>(slowest.steps));
  return outcome;
}

}  // namespace moesim

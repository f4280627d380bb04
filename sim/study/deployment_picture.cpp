// SPDX-License-Identifier: Apache-2.0
#include "sim/study/deployment_picture.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "sim/base/error.h"
#include "sim/cluster/topology_presets.h"
#include "sim/cost/step_cost.h"
#include "sim/engine/step_loads.h"
#include "sim/moe/expert_cache.h"
#include "sim/moe/expert_demand.h"
#include "sim/serving/serving_record.h"
#include "sim/workload/memory_budget.h"

namespace moesim {
namespace {

/// The scenario itself, or one decode step of a serving scenario's steady batch.
Scenario pictured(const Scenario& scenario) {
  Scenario step = scenario;
  WorkloadSpec& workload = step.spec.workload;
  if (workload.kind == WorkloadKind::serving) {
    workload.kind = WorkloadKind::step;
    workload.phase = Phase::decode;
    // An open loop's batch is an answer, not a question: 32 sequences stand for it here.
    workload.batch_per_gpu =
        workload.concurrency ? *workload.concurrency / static_cast<double>(scenario.ways.gpus) : 32;
    workload.context_tokens = workload.prompt_tokens + workload.output_tokens / 2;
  }
  return step;
}

/// `values` over their mean; all ones when there is no load.
std::vector<double> over_mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  std::vector<double> shares;
  for (const double value : values) {
    shares.push_back(sum > 0 ? value / sum * static_cast<double>(values.size()) : 1.0);
  }
  return shares;
}

std::vector<int> as_ints(const std::vector<std::int32_t>& values) {
  return {values.begin(), values.end()};
}

const TemplateExperts* experts_of(const StepTemplate& step) {
  for (const LayerTemplate& layer : step.layers) {
    if (layer.experts) {
      return &*layer.experts;
    }
  }
  return nullptr;
}

/// Adds the bytes of every pair to the links on its way. Routes share few core paths, so bytes are
/// gathered per path before links are touched.
void load_links(const RoutePlan& plan, const std::vector<float>& copies, std::uint32_t gpus,
                double dispatch_bytes, double combine_bytes, std::vector<double>& link_bytes) {
  link_bytes.assign(plan.links().size(), 0.0);
  std::vector<double> path_bytes(plan.num_paths(), 0.0);
  std::vector<std::uint32_t> destinations(gpus);
  for (std::uint32_t i = 0; i < gpus; ++i) {
    destinations[i] = i;
  }
  std::vector<FlowRoute> routes(gpus);
  for (std::uint32_t source = 0; source < gpus; ++source) {
    plan.routes_from(source, destinations, routes);
    for (std::uint32_t destination = 0; destination < gpus; ++destination) {
      // What a dispatch brought, a combine returns.
      const double bytes =
          dispatch_bytes * static_cast<double>(copies[std::size_t{source} * gpus + destination]) +
          combine_bytes * static_cast<double>(copies[std::size_t{destination} * gpus + source]);
      if (source == destination || bytes <= 0) {
        continue;
      }
      const FlowRoute& route = routes[destination];
      if (route.out_port != kNoIndex) {
        link_bytes[route.out_port] += bytes;
      }
      if (route.in_port != kNoIndex) {
        link_bytes[route.in_port] += bytes;
      }
      if (route.path != kNoIndex) {
        if (route.path >= path_bytes.size()) {
          path_bytes.resize(std::size_t{route.path} + 1, 0.0);
        }
        path_bytes[route.path] += bytes;
      }
    }
  }
  for (std::uint32_t path = 0; path < path_bytes.size(); ++path) {
    if (path_bytes[path] > 0) {
      for (const LinkIndex link : plan.path(path)) {
        link_bytes[link] += path_bytes[path];
      }
    }
  }
}

}  // namespace

struct DeploymentPicture::State {
  Scenario scenario;
  RoutingSpec routing;
  StepCostModel model;
  StepBatch batch;
  MemoryBudget memory;

  explicit State(const Scenario& asked)
      : scenario(pictured(asked)),
        routing(routing_of(scenario)),
        model(scenario, routing),
        batch(batch_of(scenario)),
        memory(memory_budget(scenario, model.step_template(), batch)) {}
};

DeploymentPicture::DeploymentPicture(const Scenario& scenario)
    : state_(std::make_unique<const State>(scenario)) {}
DeploymentPicture::~DeploymentPicture() = default;

ExpertPicture DeploymentPicture::experts() const {
  ExpertPicture picture;
  const StepTemplate& step = state_->model.step_template();
  const LoadView& loads = state_->model.loads();
  picture.num_moe_layers = step.num_moe_layers;
  picture.experts = step.experts;
  if (step.num_moe_layers == 0) {
    return picture;
  }
  picture.layers_are_alike = loads.layers_are_alike();
  const std::int64_t rows = picture.layers_are_alike ? 1 : step.num_moe_layers;
  for (std::int64_t layer = 0; layer < rows; ++layer) {
    const LayerLoads& load = loads.layer(layer);
    picture.ranks = load.map().ranks;
    picture.ranks_per_node = load.map().ranks_per_node;
    picture.expert_load.push_back(over_mean(load.routing().inclusion()));
    picture.rank_load.push_back(over_mean(load.rank_share()));
    picture.slot_expert.push_back(as_ints(load.map().slot_expert));
    picture.slot_rank.push_back(as_ints(load.map().slot_rank));
  }
  return picture;
}

TrafficPicture DeploymentPicture::traffic(std::int64_t moe_layer, double step_s) const {
  const StepTemplate& step = state_->model.step_template();
  TrafficPicture picture;
  picture.moe_layer =
      std::clamp<std::int64_t>(moe_layer, 0, std::max<std::int64_t>(0, step.num_moe_layers - 1));
  picture.gpus = static_cast<int>(step.ways.gpus);
  const auto gpus = static_cast<std::uint32_t>(step.ways.gpus);
  const TemplateExperts* experts = experts_of(step);
  const bool has_exchange = experts != nullptr && experts->has_exchange;
  if (has_exchange) {
    const double tokens = state_->batch.tokens() * experts->tokens_share;
    PassLoads pass = draw_pass(state_->model, picture.moe_layer, tokens, 0, true);
    picture.copies = std::move(pass.pair_copies);
    picture.bytes_per_copy = copy_bytes(step.hidden, experts->dispatch_format, Bytes(0)).value();
    picture.combine_bytes_per_copy =
        copy_bytes(step.hidden, experts->combine_format, Bytes(0)).value();
  } else {
    picture.note = experts == nullptr ? "a dense model exchanges no tokens"
                                      : "every GPU holds all tokens: there is no exchange, only a "
                                        "closing all-reduce";
    picture.copies.assign(std::size_t{gpus} * gpus, 0.0F);
  }
  try {
    const ClusterProfile& cluster = *state_->scenario.cluster;
    const Topology topology = cluster_topology(
        cluster, {.num_nodes = state_->scenario.spec.nodes, .paths = cluster.fabric.paths});
    for (const TopologyNode& node : topology.nodes()) {
      picture.nodes.push_back({node.name, choice_name(node.kind),
                               node.machine == kNoIndex ? -1 : static_cast<int>(node.machine)});
    }
    std::vector<double> link_bytes(topology.links().size() * 2, 0.0);
    const auto ranks = topology.num_gpus();
    if (has_exchange && ranks >= gpus) {
      const std::unique_ptr<RoutePlan> plan =
          topology.routes(route_policy(cluster.fabric.paths), state_->scenario.file);
      const double layers = static_cast<double>(step.num_moe_layers);
      load_links(*plan, picture.copies, gpus, picture.bytes_per_copy * layers,
                 picture.combine_bytes_per_copy * layers, link_bytes);
    }
    for (std::size_t i = 0; i < topology.links().size(); ++i) {
      const TopologyLink& link = topology.links()[i];
      PictureLink drawn{static_cast<int>(link.a), static_cast<int>(link.b), link.rate.value(),
                        link_bytes[2 * i],        link_bytes[2 * i + 1],    0};
      if (step_s > 0) {
        drawn.utilisation = std::max(drawn.forward_bytes / link.rate.value(),
                                     drawn.back_bytes / link.back_rate.value()) /
                            step_s;
      }
      picture.links.push_back(drawn);
    }
  } catch (const InputError& error) {
    picture.note = error.what();
    picture.nodes.clear();
    picture.links.clear();
  }
  return picture;
}

CachePicture DeploymentPicture::cache(std::int64_t moe_layer, int steps) const {
  CachePicture picture;
  const Scenario& scenario = state_->scenario;
  const OffloadConfig& config = scenario.spec.offload;
  const StepTemplate& step = state_->model.step_template();
  if (config.experts == ExpertHome::gpu || step.num_moe_layers == 0) {
    return picture;
  }
  const std::int64_t layers = step.num_moe_layers;
  picture.moe_layer = std::clamp<std::int64_t>(moe_layer, 0, layers - 1);
  const bool is_decode = state_->batch.decode_sequences > 0;
  const double replicas = static_cast<double>(step.ways.data);
  ExpertDemandSpec demand;
  demand.routing = state_->routing;
  demand.locality = locality_of(scenario.spec.routing.locality, is_decode);
  demand.layers = static_cast<std::int32_t>(layers);
  const double sequences =
      is_decode ? state_->batch.decode_sequences : state_->batch.prefill_sequences;
  demand.sequences = std::max<std::int64_t>(1, std::llround(sequences * replicas));
  demand.tokens_per_step =
      std::max<std::int64_t>(demand.sequences, std::llround(state_->batch.tokens() * replicas));
  demand.continues = is_decode;
  demand.steps = std::max(1, steps);
  demand.gpus = 1;
  std::vector<ExpertMap> maps;
  if (const PlacementPlan* plan = state_->model.loads().plan()) {
    maps = plan->maps;
  } else {
    maps.push_back(state_->model.loads().layer(0).map());
  }
  const std::vector<ExpertTrace> traces = expert_demand(demand, maps);
  const ExpertTrace& trace = traces.front();
  CacheSpec spec;
  const std::string policy = choice_name(config.policy);
  spec.policy = policy;
  spec.scope = config.scope;
  spec.slots =
      static_cast<int>(config.scope == CacheScope::global ? state_->memory.expert_slots
                                                          : state_->memory.expert_slots / layers);
  spec.is_preloaded = config.preloaded;
  picture.slots = spec.slots;
  const auto shown = static_cast<int>(picture.moe_layer);
  const ExpertMap& map = maps.size() == 1 ? maps.front() : maps[static_cast<std::size_t>(shown)];
  for (std::size_t slot = 0; slot < map.slot_expert.size(); ++slot) {
    if (map.slot_rank[slot] == 0) {
      picture.experts.push_back(map.slot_expert[slot]);
    }
  }
  ExpertCache cache(trace, spec);
  std::int64_t now = 0;
  double hits = 0;
  double accesses = 0;
  for (int s = 0; s < trace.steps(); ++s) {
    for (int layer = 0; layer < trace.layers(); ++layer) {
      std::map<int, std::uint8_t> used;
      for (const std::int16_t expert : trace.at(s, layer)) {
        const bool hit = cache.access(trace.key(layer, expert), now++);
        if (layer == shown) {
          used[expert] = hit ? 2 : 3;
          hits += hit ? 1 : 0;
          accesses += 1;
        }
      }
      if (layer == shown) {
        std::vector<std::uint8_t> row;
        for (const int expert : picture.experts) {
          const auto found = used.find(expert);
          row.push_back(found != used.end()                     ? found->second
                        : cache.holds(trace.key(shown, expert)) ? 1
                                                                : 0);
        }
        picture.states.push_back(std::move(row));
        picture.hit_rate.push_back(accesses > 0 ? hits / accesses : 0);
      }
    }
  }
  return picture;
}

double DeploymentPicture::available_bytes() const { return state_->memory.available.value(); }

double DeploymentPicture::usd_per_gpu_hour() const {
  for (const GpuHourPrice& price : state_->scenario.device->prices) {
    if (price.kind == PriceKind::on_demand) {
      return price.usd_per_gpu_hour;
    }
  }
  return 0;
}

std::int64_t DeploymentPicture::num_gpus() const { return state_->scenario.ways.gpus; }

LatencySamples latency_samples(const ServingRecord& record, std::int64_t warmup_requests) {
  LatencySamples samples;
  for (auto i = static_cast<std::size_t>(warmup_requests); i < record.requests.size(); ++i) {
    const RequestState& request = record.requests[i];
    if (request.finish_s < 0 || (i < record.rejected.size() && record.rejected[i] != 0)) {
      continue;
    }
    samples.ttft_s.push_back(request.first_token_s - request.arrival_s);
    samples.latency_s.push_back(request.finish_s - request.arrival_s);
    if (request.output > 1) {
      samples.tpot_s.push_back((request.finish_s - request.first_token_s) /
                               static_cast<double>(request.output - 1));
    }
  }
  for (std::vector<double>* values : {&samples.ttft_s, &samples.tpot_s, &samples.latency_s}) {
    std::sort(values->begin(), values->end());
  }
  return samples;
}

std::vector<double> rank_loads_of(const std::vector<int>& slot_expert,
                                  const std::vector<double>& expert_load, std::int64_t ranks) {
  std::vector<double> replicas(expert_load.size(), 0.0);
  for (const int expert : slot_expert) {
    replicas[static_cast<std::size_t>(expert)] += 1;
  }
  std::vector<double> loads(static_cast<std::size_t>(ranks), 0.0);
  const std::size_t per_rank = slot_expert.size() / std::max<std::size_t>(1, loads.size());
  for (std::size_t slot = 0; slot < slot_expert.size(); ++slot) {
    const auto expert = static_cast<std::size_t>(slot_expert[slot]);
    loads[std::min(slot / std::max<std::size_t>(1, per_rank), loads.size() - 1)] +=
        expert_load[expert] / replicas[expert];
  }
  return over_mean(loads);
}

}  // namespace moesim

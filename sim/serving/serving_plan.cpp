// SPDX-License-Identifier: Apache-2.0
// What a serving run needs before its first request: pools, their step times and cache sizes.
#include <algorithm>

#include "sim/engine/link_share.h"
#include "sim/input/model_card_count.h"
#include "sim/serving/serving_loop.h"

namespace moesim {
namespace {

bool has_experts(const Scenario& scenario) {
  return std::any_of(scenario.model->layers.begin(), scenario.model->layers.end(),
                     [](const LayerClass& layer) { return layer.ffn.kind == FfnKind::moe; });
}

/// Rate at which one replica's GPUs send to another node, all their network cards together.
BytesPerSecond network_rate(const Scenario& scenario) {
  const NodeGroup& node = scenario.cluster->node_groups.front();
  const double gpus = static_cast<double>(scenario.ways.tensor);
  if (node.nics.per_node == 0) {
    return BytesPerSecond(node.host.link_rate.value.value() * gpus);
  }
  const double rate =
      node.nics.achieved ? node.nics.achieved->value.value() : node.nics.rate.value.value();
  return BytesPerSecond(rate * gpus * static_cast<double>(node.nics.per_node) /
                        static_cast<double>(node.gpus_per_node));
}

ServingPool make_pool(const Scenario& scenario, std::int64_t instances, double decode_sequences,
                      double mean_context, const StepTimes* like) {
  ServingPool pool;
  pool.scenario = std::make_unique<const Scenario>(scenario);
  pool.rules = std::make_unique<const EngineRules>(engine_rules(scenario));
  pool.timeline = std::make_unique<StepTimeline>(*pool.scenario, *pool.rules, like);
  pool.times = &pool.timeline->first_times();
  pool.room = cache_room(scenario, pool.times->decode_model().step_template(), *pool.rules,
                         decode_sequences, mean_context);
  if (pool.room.memory.expert_bytes > Bytes(0)) {
    pool.timeline->swap_experts(pool.room.memory, like);
  }
  pool.instances = instances;
  (has_experts(scenario) ? pool.replicas_per_instance : pool.independent) = scenario.ways.data;
  const NodeGroup& node = scenario.cluster->node_groups.front();
  const double host_rate = node.host.all_copy_rate ? node.host.all_copy_rate->value.value()
                                                   : node.host.link_rate.value.value();
  pool.swap_s_per_token = host_rate > 0 ? pool.room.bytes_per_token.value() / host_rate : 0;
  pool.transfer_rate = network_rate(scenario);
  const KvCacheSize cache =
      kv_cache_size(*scenario.model, bytes_per_element(scenario.spec.precision.kv_cache));
  const double context = std::max(1.0, mean_context);
  pool.transfer_bytes_per_token = cache.at(context) / context;
  return pool;
}

/// The deployment that reads prompts.
Scenario prefill_scenario(const Scenario& scenario) {
  Scenario prefill = scenario;
  prefill.ways = *scenario.prefill_ways;
  prefill.spec.nodes = scenario.spec.serving.prefill_pool.nodes;
  prefill.spec.parallelism = {.tensor = prefill.ways.tensor,
                              .data = prefill.ways.data,
                              .expert = prefill.ways.expert,
                              .expert_tensor = prefill.ways.expert_tensor,
                              .pipeline = 1};
  prefill.spec.communication.overlap =
      scenario.spec.serving.prefill_pool.overlap.value_or(prefill.spec.communication.overlap);
  return prefill;
}

/// `scenario` on links that also carry caches, `bytes_per_s` a GPU.
Scenario beside_caches(Scenario scenario, BackgroundKind kind, double bytes_per_s) {
  if (!(bytes_per_s >= 1)) {
    return scenario;
  }
  Scenario probe = scenario;
  probe.spec.faults.clear();
  probe.spec.background = {{.kind = kind, .bytes_per_s = bytes_per_s, .streams = 1}};
  scenario.cluster = with_links_shared(probe).cluster;
  return scenario;
}

}  // namespace

ServingPlan serving_plan_beside_caches(const Scenario& scenario, const RequestStream& stream,
                                       const ServingPlan& alone, double requests_per_s) {
  const double bytes_per_s =
      requests_per_s * stream.mean_prompt() * alone.prefill->transfer_bytes_per_token.value();
  const auto gpus = [](const ServingPool& pool) {
    return static_cast<double>(pool.scenario->ways.gpus * pool.instances);
  };
  ServingPlan plan = serving_plan(
      beside_caches(scenario, BackgroundKind::kv_in, bytes_per_s / gpus(alone.serving)), stream);
  ServingPlan reading = serving_plan(
      beside_caches(scenario, BackgroundKind::kv_out, bytes_per_s / gpus(*alone.prefill)), stream);
  plan.prefill = std::move(reading.prefill);
  // The cards' rate for the caches themselves is what it was.
  plan.serving.transfer_rate = alone.serving.transfer_rate;
  plan.prefill->transfer_rate = alone.prefill->transfer_rate;
  return plan;
}

ServingPlan serving_plan(const Scenario& scenario, const RequestStream& stream,
                         const ServingPlan* like) {
  const ServingConfig& config = scenario.spec.serving;
  const double prompt = stream.mean_prompt();
  const double output = stream.mean_output();
  // Sequences that may generate at a time on a replica: the closed loop's share, or the engine's
  // limit (capped by what graphs are captured for when the load is open).
  const double replicas = static_cast<double>(scenario.ways.data * config.instances);
  const EngineRules rules = engine_rules(scenario);
  double sequences = std::min(rules.max_sequences, 256.0);
  if (stream.is_closed_loop()) {
    sequences = std::min(rules.max_sequences,
                         std::max(1.0, static_cast<double>(stream.concurrency()) / replicas));
  }
  ServingPlan plan;
  plan.serving = make_pool(scenario, config.instances, sequences, prompt + output / 2,
                           like != nullptr ? like->serving.times : nullptr);
  plan.gpus = scenario.ways.gpus * config.instances;
  if (config.failure.at_s) {
    plan.outages.push_back(
        {*config.failure.at_s, *config.failure.at_s + config.failure.recovery_s});
  }
  if (scenario.prefill_ways) {
    const Scenario prefill = prefill_scenario(scenario);
    plan.prefill = make_pool(prefill, config.prefill_pool.instances, 1, prompt,
                             like != nullptr ? like->prefill->times : nullptr);
    plan.gpus += prefill.ways.gpus * config.prefill_pool.instances;
  }
  return plan;
}

}  // namespace moesim

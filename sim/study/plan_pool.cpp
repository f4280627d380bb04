// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_pool.h"

#include <algorithm>
#include <cmath>

#include "sim/cost/step_cost.h"
#include "sim/input/model_card_count.h"
#include "sim/study/queueing.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

std::span<const Choice<PoolRole>> choices_of(PoolRole) {
  static constexpr Choice<PoolRole> kChoices[] = {
      {PoolRole::aggregated, "aggregated", "reads prompts and generates"},
      {PoolRole::prefill, "prefill", "reads prompts"},
      {PoolRole::decode, "decode", "generates"},
  };
  return kChoices;
}

ScenarioSpec pool_scenario(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
                           std::int64_t gpus_per_node, std::int64_t seed) {
  ScenarioSpec spec;
  spec.name = service.name + ": " + choice_name(role);
  spec.model = service.model;
  spec.model_edits = service.model_edits;
  spec.cluster = layout.cluster;
  spec.nodes = std::max<std::int64_t>(1, layout.gpus / gpus_per_node);
  if (layout.gpus < gpus_per_node) {
    spec.gpus_per_node = layout.gpus;
  }
  spec.parallelism.tensor = layout.tensor;
  spec.precision = service.precision;
  spec.routing = service.routing;
  spec.placement = service.placement;
  spec.communication.overlap = layout.overlap;
  spec.seed = seed;
  spec.workload.output_tokens = service.load.output_tokens;
  spec.workload.prompt_tokens = service.load.prompt_tokens;
  spec.workload.cached_prompt_tokens = service.load.cached_prompt_tokens;
  // A sequence is on average half way through its output.
  spec.workload.context_tokens = service.load.cached_prompt_tokens + service.load.prompt_tokens +
                                 0.5 * service.load.output_tokens;
  switch (role) {
    case PoolRole::decode:
      spec.workload.phase = Phase::decode;
      break;
    case PoolRole::prefill:
      spec.workload.phase = Phase::prefill;
      break;
    case PoolRole::aggregated:
      spec.workload.phase = Phase::mixed;
      spec.workload.prefills_per_gpu = 1;
      break;
  }
  return spec;
}

namespace {

Scenario resolved(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
                  const CardLibrary& cards, std::int64_t seed) {
  const std::int64_t gpus_per_node =
      cards.shared_cluster(layout.cluster)->node_groups.front().gpus_per_node;
  if (layout.gpus > gpus_per_node && layout.gpus % gpus_per_node != 0) {
    throw InputError("", "/search/gpus_per_instance",
                     std::to_string(layout.gpus) + " GPUs are no whole nodes of " +
                         std::to_string(gpus_per_node),
                     "allowed: parts of a node, or multiples of it");
  }
  return resolve(pool_scenario(service, role, layout, gpus_per_node, seed), cards, "plan");
}

}  // namespace

PoolModel::PoolModel(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
                     const CardLibrary& cards, std::int64_t seed, double model_error)
    : service_(service),
      role_(role),
      layout_(layout),
      model_error_(model_error),
      scenario_(resolved(service, role, layout, cards, seed)),
      model_(std::make_unique<const StepCostModel>(scenario_, routing_of(scenario_))) {}

PoolModel::PoolModel(const ServiceRequest& service, PoolRole role, const PoolLayout& layout,
                     Scenario scenario, double model_error)
    : service_(service),
      role_(role),
      layout_(layout),
      model_error_(model_error),
      scenario_(std::move(scenario)),
      model_(std::make_unique<const StepCostModel>(scenario_, routing_of(scenario_))) {}

PoolModel::~PoolModel() = default;
PoolModel::PoolModel(PoolModel&&) noexcept = default;

PoolPoint PoolModel::make_point() const {
  PoolPoint point;
  point.role = role_;
  point.layout = layout_;
  return point;
}

void PoolModel::evaluate(PoolPoint& point, const StepBatch& batch) const {
  StepBand band;
  point.step_s = model_->evaluate(batch, band).seconds.value();
  point.error = TimeError::of(band, point.step_s, model_error_);
}

PoolPoint PoolModel::generating(double batch_per_gpu, double chunk_tokens, bool& fits) const {
  const double gpus = static_cast<double>(layout_.gpus);
  const double data = static_cast<double>(scenario_.ways.data);
  const double gpus_per_replica = gpus / data;
  const double prompt = service_.load.prompt_tokens;
  const double output = service_.load.output_tokens;
  PoolPoint point = make_point();
  point.batch_per_gpu = batch_per_gpu;
  StepBatch batch = batch_of(scenario_);
  batch.decode_sequences = batch_per_gpu * gpus_per_replica;
  batch.prefill_sequences = role_ == PoolRole::aggregated ? batch.decode_sequences / output : 0.0;
  evaluate(point, batch);
  StepBatch fullest = batch;
  if (role_ == PoolRole::aggregated) {
    point.chunk_tokens = chunk_tokens;
    fullest.prefill_sequences = chunk_tokens / prompt;
    const double chunk_step = model_->evaluate(fullest).seconds.value();
    const double steps = std::max(1.0, std::ceil(prompt / chunk_tokens));
    point.prompt_s = steps * chunk_step;
    // Short prompts share a chunk.
    point.prompt_servers = data * std::max(1.0, std::floor(chunk_tokens / prompt));
    point.prompt_requests_per_s = point.prompt_servers / point.prompt_s;
  }
  point.slot_requests_per_s = gpus * batch_per_gpu / (output * point.step_s);
  const MemoryBudget memory = memory_budget(scenario_, model_->step_template(), fullest);
  point.memory_fraction = memory.total / memory.available;
  fits = memory.fits();
  return point;
}

PoolPoint PoolModel::reading(double prompts_per_step, bool& fits) const {
  const double data = static_cast<double>(scenario_.ways.data);
  PoolPoint point = make_point();
  point.prompts_per_step = prompts_per_step;
  StepBatch batch = batch_of(scenario_);
  batch.prefill_sequences = prompts_per_step;
  evaluate(point, batch);
  point.prompt_s = point.step_s;
  point.prompt_servers = data * prompts_per_step;
  point.prompt_requests_per_s = point.prompt_servers / point.step_s;
  const KvCacheSize cache =
      kv_cache_size(*scenario_.model, bytes_per_element(scenario_.spec.precision.kv_cache));
  const NodeGroup& node = scenario_.cluster->node_groups.front();
  const double network = node.nics.per_node > 0 ? node.nics.rate.value.value() *
                                                      static_cast<double>(node.nics.per_node) /
                                                      static_cast<double>(node.gpus_per_node)
                                                : 0;
  if (network > 0) {
    point.transfer_s = cache.at(service_.load.prompt_tokens).value() /
                       (network * static_cast<double>(layout_.tensor));
  }
  const MemoryBudget memory = memory_budget(scenario_, model_->step_template(), batch);
  point.memory_fraction = memory.total / memory.available;
  fits = memory.fits() && network > 0;
  return point;
}

PoolAnswer answer(const PoolPoint& point, double instances, const PoolLoad& load,
                  double time_factor) {
  PoolAnswer result;
  if (instances <= 0) {
    result.slots_ok = false;
    return result;
  }
  if (point.role != PoolRole::prefill) {
    result.tpot_s = point.step_s * time_factor;
    // Slots that are taken on average: rate x lifetime (Little).
    const double slots = point.slot_requests_per_s * load.output_tokens * point.step_s * instances;
    const double in_flight = load.requests_per_s * load.output_tokens * result.tpot_s;
    result.slots_needed = occupancy_quantile(in_flight, load.slo.quantile) / slots;
    result.tpot_ok = result.tpot_s <= load.slo.tpot_s;
    result.slots_ok = result.slots_needed <= 1;
  }
  if (point.role != PoolRole::decode) {
    const double service = point.prompt_s * time_factor;
    result.prompt_use =
        load.requests_per_s * time_factor / (point.prompt_requests_per_s * instances);
    result.ttft_s = wait_quantile(point.prompt_servers * instances, service, result.prompt_use,
                                  load.slo.quantile) +
                    service + point.transfer_s;
    result.prompts_ok = result.prompt_use < 1;
    result.ttft_ok = result.ttft_s <= load.slo.ttft_s;
  }
  return result;
}

std::int64_t instances_needed(const PoolPoint& point, const PoolLoad& load, std::int64_t most,
                              double time_factor) {
  if (most < 1 || !answer(point, static_cast<double>(most), load, time_factor).meets()) {
    return 0;
  }
  // More instances never hurt: wait and slots needed only fall.
  std::int64_t low = 0;
  std::int64_t high = most;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (answer(point, static_cast<double>(middle), load, time_factor).meets() ? high : low) = middle;
  }
  return high;
}

double limit_rate(const PoolPoint& point, double output_tokens, double reading) {
  const double gpus = static_cast<double>(point.layout.gpus);
  if (point.role == PoolRole::aggregated) {
    return std::min(point.slot_requests_per_s, point.prompt_requests_per_s) * output_tokens / gpus;
  }
  const double generating = point.slot_requests_per_s / gpus;
  return output_tokens / (1.0 / generating + 1.0 / reading);
}

double capacity(const PoolPoint& point, double instances, PoolLoad load, double time_factor) {
  load.requests_per_s = 0;
  if (!answer(point, instances, load, time_factor).meets()) {
    return 0;
  }
  double low = 0;
  double high = 1;
  const auto meets = [&](double rate) {
    load.requests_per_s = rate;
    return answer(point, instances, load, time_factor).meets();
  };
  while (meets(high) && high < 1e12) {
    low = high;
    high *= 2;
  }
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high);
    (meets(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace moesim

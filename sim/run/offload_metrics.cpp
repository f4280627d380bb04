// SPDX-License-Identifier: Apache-2.0
#include "sim/run/offload_metrics.h"

#include <algorithm>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

/// Adds estimates to a result.
struct Writer {
  SimulationResult& result;
  void add(const char* name, const char* unit, const char* doc, double value) const {
    Metric metric;
    metric.value = value;
    metric.basis = Basis::estimate;
    result.metrics.push_back({name, unit, doc, metric});
  }
};

double slots_of(const ServingPool& pool) {
  return static_cast<double>(pool.room.memory.expert_slots);
}

/// `quantity` over `base` in every bucket; 0 where nothing happened.
TimeSeries ratio_over_time(const char* name, const char* unit, const char* doc,
                           const ServingRecord& record, SeriesRecorder::Quantity quantity,
                           SeriesRecorder::Quantity base) {
  TimeSeries series;
  series.name = name;
  series.unit = unit;
  series.doc = doc;
  series.bucket_s = record.series.width();
  for (std::size_t b = 0;
       b < SeriesRecorder::kBuckets && static_cast<double>(b) * series.bucket_s < record.end_s;
       ++b) {
    const double below = record.series.buckets(base)[b];
    series.values.push_back(below > 0 ? record.series.buckets(quantity)[b] / below : 0);
  }
  return series;
}

}  // namespace

void add_expert_swaps(SimulationResult& result, const ServingPlan& plan,
                      const ServingRecord& record) {
  if (plan.serving.times->expert_swap() == nullptr) {
    return;
  }
  const auto gpus = [](const ServingPool& pool) {
    return static_cast<double>(pool.scenario->ways.gpus);
  };
  const PoolTotals& own = record.serving;
  const PoolTotals& read = record.prefill;
  const double lookups = own.expert_lookups + read.expert_lookups;
  const double busy = own.busy_s + read.busy_s;
  if (!(lookups > 0)) {
    return;
  }
  const double stall = own.expert_stall_s + read.expert_stall_s;
  const double bytes = own.expert_bytes * gpus(plan.serving) +
                       (plan.prefill ? read.expert_bytes * gpus(*plan.prefill) : 0);
  const double hit_rate = (own.expert_hits + read.expert_hits) / lookups;
  const Writer writer{result};
  writer.add("expert_cache_hit_rate", "fraction", "experts that were on the GPU when needed",
             hit_rate);
  writer.add("expert_cache_slots", "", "experts that a GPU's cache holds, all layers together",
             slots_of(plan.serving));
  writer.add("expert_swap_bytes", "bytes", "over the host links of all GPUs, whole run", bytes);
  writer.add("expert_swap_bytes_per_output_token", "bytes", "the same for each token generated",
             own.output_tokens > 0 ? bytes / own.output_tokens : 0);
  writer.add("expert_stall_s", "s", "steps waited for experts that were not there, sum", stall);
  writer.add("expert_stall_fraction", "fraction", "of busy time", stall / busy);
  result.series.push_back(ratio_over_time(
      "expert_cache_hit_rate", "fraction", "experts on the GPU when needed; 0 where none was",
      record, SeriesRecorder::expert_hits, SeriesRecorder::expert_lookups));
  result.series.push_back(ratio_over_time("expert_stall_fraction", "fraction",
                                          "of busy time, waiting for experts", record,
                                          SeriesRecorder::expert_stall, SeriesRecorder::busy));
  result.series.push_back(ratio_over_time(
      "expert_swap_bytes_per_busy_s", "bytes", "over the host link of a GPU, a second of busy time",
      record, SeriesRecorder::expert_bytes, SeriesRecorder::busy));
  const StepTemplate& step = plan.serving.times->decode_model().step_template();
  const bool computes = plan.serving.scenario->spec.offload.on_miss == MissHandling::cpu;
  result.findings.push_back(
      "experts are on the GPU when needed in " + plain_number_text(100 * hit_rate, 3) +
      "% of the cases, " + count_text(slots_of(plan.serving)) + " of " +
      count_text(static_cast<double>(step.num_moe_layers * step.experts)) + " fit a GPU's cache; " +
      (computes ? "the CPU computes the others"
                : "the others cross the host links, " + quantity_text(Bytes(bytes)) + " in all") +
      ", and steps wait " + plain_number_text(100 * stall / busy, 3) + "% of their time");
}

void add_expert_swaps(SimulationResult& result, const ServingPlan& plan, const SteadyState& state) {
  if (plan.serving.times->expert_swap() == nullptr) {
    return;
  }
  StepShape shape;
  shape.decoding = std::max(1.0, state.decode_batch);
  shape.context = state.context;
  const SwapCost one = plan.serving.times->swaps(shape);
  const double step_s = plan.serving.times->decode(shape.decoding, shape.context).seconds;
  const Writer writer{result};
  writer.add("expert_cache_hit_rate", "fraction",
             "experts that were on the GPU when needed, decode steps", one.hit_rate());
  writer.add("expert_cache_slots", "", "experts that a GPU's cache holds, all layers together",
             slots_of(plan.serving));
  writer.add("expert_stall_fraction", "fraction", "of a decode step", one.stall_s / step_s);
}

void add_offload_metrics(SimulationResult& result, const OffloadOutcome& offload) {
  const Writer writer{result};
  writer.add("expert_cache_hit_rate", "fraction", "experts that were on the GPU when needed",
             offload.hit_rate);
  writer.add("swap_stall_s", "s",
             "of a step: GPUs wait for experts, or for the host that looks them up",
             offload.stall.value());
  writer.add("swap_bytes", "bytes", "of a step and GPU, over its host link", offload.moved.value());
  if (offload.wasted.value() > 0) {
    writer.add("swap_wasted_bytes", "bytes", "of these, guessed ahead and given up unused",
               offload.wasted.value());
  }
  if (offload.from_drives.value() > 0) {
    writer.add("swap_nvme_bytes", "bytes", "of a step and GPU, read from drives first",
               offload.from_drives.value());
  }
  if (offload.cpu_experts > 0) {
    writer.add("cpu_experts", "", "of a step and GPU, computed by the CPU", offload.cpu_experts);
  }
  writer.add("expert_cache_slots", "", "experts that a GPU's cache holds, all layers together",
             offload.slots);
  writer.add("host_link_utilisation", "fraction", "of the node's busiest host link or drive",
             offload.link_utilisation);
}

bool check_host_memory(SimulationResult& result, const MemoryBudget& memory) {
  if (memory.host_experts <= memory.host_available) {
    return true;
  }
  result.feasibility.ok = false;
  result.feasibility.reasons.push_back(
      "out of host memory: the experts of a node need " + quantity_text(memory.host_experts) +
      " and " + quantity_text(memory.host_available) +
      " may be used (0.9 of the cluster profile's, or /offload/host_memory_bytes); what would "
      "fit: smaller experts (/precision/experts) or /offload/experts nvme");
  return false;
}

}  // namespace moesim

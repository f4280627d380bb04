// SPDX-License-Identifier: Apache-2.0
#include "sim/run/offload_metrics.h"

#include "sim/base/quantity_text.h"

namespace moesim {

void add_offload_metrics(SimulationResult& result, const OffloadOutcome& offload) {
  const auto add = [&](const char* name, const char* unit, const char* doc, double value) {
    Metric metric;
    metric.value = value;
    metric.basis = Basis::estimate;
    result.metrics.push_back({name, unit, doc, metric});
  };
  add("expert_cache_hit_rate", "fraction", "experts that were on the GPU when needed",
      offload.hit_rate);
  add("swap_stall_s", "s", "of a step: GPUs wait for experts, or for the host that looks them up",
      offload.stall.value());
  add("swap_bytes", "bytes", "of a step and GPU, over its host link", offload.moved.value());
  if (offload.wasted.value() > 0) {
    add("swap_wasted_bytes", "bytes", "of these, guessed ahead and given up unused",
        offload.wasted.value());
  }
  if (offload.from_drives.value() > 0) {
    add("swap_nvme_bytes", "bytes", "of a step and GPU, read from drives first",
        offload.from_drives.value());
  }
  if (offload.cpu_experts > 0) {
    add("cpu_experts", "", "of a step and GPU, computed by the CPU", offload.cpu_experts);
  }
  add("expert_cache_slots", "", "experts that a GPU's cache holds, all layers together",
      offload.slots);
  add("host_link_utilisation", "fraction", "of the node's busiest host link or drive",
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

// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_scenarios.h"

#include <algorithm>

namespace moesim {

void fill_in_scenarios(std::vector<PlanOption>& options, const ServiceRequest& service,
                       const PlanRequest& request, const CardLibrary& cards) {
  for (PlanOption& option : options) {
    for (PlannedPool& pool : option.pools) {
      const std::int64_t gpus_per_node =
          cards.shared_cluster(option.cluster)->node_groups.front().gpus_per_node;
      pool.spec =
          pool_scenario(service, pool.point.role, pool.point.layout, gpus_per_node, request.seed);
      if (pool.point.role == PoolRole::prefill) {
        pool.spec.workload.batch_per_gpu =
            pool.point.prompts_per_step / static_cast<double>(pool.point.layout.tensor);
      } else {
        pool.spec.workload.batch_per_gpu = pool.point.batch_per_gpu;
        if (pool.point.role == PoolRole::aggregated) {
          pool.spec.workload.prefills_per_gpu =
              pool.point.batch_per_gpu / service.load.output_tokens;
        }
      }
    }
  }
}

ScenarioSpec serving_scenario(const PlanOption& option, const ServiceRequest& service,
                              const CardLibrary& cards) {
  const PlannedPool& pool = option.pools.back();
  ScenarioSpec spec = pool.spec;
  spec.name = service.name + ": requests over time";
  spec.fidelity = Fidelity::event;
  WorkloadSpec& workload = spec.workload;
  workload.kind = WorkloadKind::serving;
  workload.phase = Phase::decode;
  workload.prefills_per_gpu = 0;
  workload.prompt_tokens = service.load.prompt_tokens;
  workload.cached_prompt_tokens = 0;
  workload.arrivals = ArrivalProcess::poisson;
  workload.requests_per_s = service.load.requests_per_s;
  // Two lifetimes fill the system, three are measured.
  const double lifetime = option.ttft_s + service.load.output_tokens * option.tpot_s;
  const double in_flight = std::clamp(service.load.requests_per_s * lifetime, 200.0, 8000.0);
  workload.warmup_requests = static_cast<std::int64_t>(2 * in_flight);
  workload.requests = static_cast<std::int64_t>(5 * in_flight);
  spec.slo.ttft_s = service.slo.ttft_s;
  spec.slo.tpot_s = service.slo.tpot_s;
  ServingConfig& serving = spec.serving;
  serving.instances = pool.instances;
  const double sequences = pool.point.batch_per_gpu * static_cast<double>(pool.point.layout.tensor);
  serving.max_sequences = std::max<std::int64_t>(1, static_cast<std::int64_t>(sequences));
  if (option.mode == ServingMode::aggregated) {
    serving.max_batched_tokens = static_cast<std::int64_t>(pool.point.chunk_tokens + sequences);
  } else {
    const PoolLayout& reading = option.pools.front().point.layout;
    const std::int64_t gpus_per_node =
        cards.shared_cluster(option.cluster)->node_groups.front().gpus_per_node;
    serving.prefill_pool.instances = option.pools.front().instances;
    serving.prefill_pool.nodes = std::max<std::int64_t>(1, reading.gpus / gpus_per_node);
    serving.prefill_pool.tensor = reading.tensor;
    serving.prefill_pool.overlap = reading.overlap;
  }
  return spec;
}

}  // namespace moesim

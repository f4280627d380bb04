// SPDX-License-Identifier: Apache-2.0
// A serving run: requests come, are given to replicas, are read and generated, and leave.
//
// The loop knows four events: a request arrives, an instance ends a run of steps, a cache has moved
// from a prefill instance to a decode instance, an instance fails or returns. Each instance plans
// its own runs (sim/serving/instance.h); an arrival touches one of them. With a prefill pool a
// request is read there, its first token is out, and its cache crosses the network once a decode
// replica has kept room for it (back-pressure: until then it occupies the prefill replica). Caches
// queue at the cards of both replicas, or share the network as flows under flow fidelity.
#pragma once

#include <functional>

#include "sim/serving/kv_cache.h"
#include "sim/serving/request_stream.h"
#include "sim/serving/serving_record.h"
#include "sim/serving/step_timeline.h"

namespace moesim {

/// The scenario's deployment (or its prefill pool), ready to step.
struct ServingPool {
  std::unique_ptr<const Scenario> scenario;  ///< with the pool's layout
  std::unique_ptr<const EngineRules> rules;
  std::unique_ptr<StepTimeline> timeline;
  StepTimes* times = nullptr;  ///< at the start
  CacheRoom room;
  std::int64_t instances = 0;
  std::int64_t replicas_per_instance = 1;  ///< that step together
  std::int64_t independent = 1;            ///< groups of these in one deployment (dense models)
  double swap_s_per_token = 0;
  BytesPerSecond transfer_rate;  ///< of one replica's network cards
  Bytes transfer_bytes_per_token;
};

/// The first serving instance (of a dense model: the first replica) does not run meanwhile.
struct Outage {
  double begin_s = 0;
  double end_s = 0;
};

struct ServingPlan {
  ServingPool serving;
  std::optional<ServingPool> prefill;
  std::int64_t gpus = 0;
  std::vector<Outage> outages;  ///< /serving/failure, and those that a fault brings
  /// Step times of the first serving instance while parts of its cluster are slow; null: as others.
  std::unique_ptr<StepTimeline> struck;
};

/// Compiles cost models and cache sizes. `stream` tells the lengths. `like`: a plan of a scenario
/// with the same layouts, formats and routing, whose step models are shared.
ServingPlan serving_plan(const Scenario& scenario, const RequestStream& stream,
                         const ServingPlan* like = nullptr);
/// The same pools when caches cross the network at `requests_per_s` while steps run: exchanges have
/// what uniform ones would have left (engine/link_share.h).
ServingPlan serving_plan_beside_caches(const Scenario& scenario, const RequestStream& stream,
                                       const ServingPlan& alone, double requests_per_s);

/// Runs all requests of `stream`. Throws Stopped when a StopScope of the caller was asked to.
ServingRecord run_serving(const Scenario& scenario, ServingPlan& plan, RequestStream& stream);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// How long steps take when experts are swapped in from the host: the cache of expert_cache.h put on
// a clock.
//
//   layer starts = max(now + host dispatch, arrival of every expert it needs)
//   stall = layer starts - now
//   arrival of a miss = max(now, link free) + latency + expert bytes / link rate
//
// One host link carries demand and prefetched experts in the order asked for (one copy stream), so
// useless prefetches delay what is needed: prefetch can hurt. Below host memory there may be NVMe:
// experts not in host slots pass its link first. Instead of moving a missed expert the CPU may
// compute it, at the rate at which it reads weights, while the GPU computes the others. Scope: one
// GPU; links of fixed rate (contention with other traffic is the flow engine's); compute times are
// given, not modelled.
#pragma once

#include <cstdint>
#include <span>

#include "sim/base/units.h"
#include "sim/moe/expert_cache.h"
#include "sim/moe/prefetch.h"

namespace moesim {

struct OffloadSpec {
  CacheSpec cache;
  PrefetchSpec prefetch;
  MissHandling on_miss = MissHandling::transfer;
  Bytes expert_bytes;        ///< weights of one expert of one layer, as stored and moved
  BytesPerSecond link_rate;  ///< host to GPU, achieved (PCIe 4.0 x16: 26e9, 5.0 x16: 55e9); > 0
  Seconds link_latency;      ///< per expert: launch, pinning, page faults
  Seconds layer_seconds;     ///< a layer's time on the GPU when its experts are there
  /// What a layer takes longer because the CPU manages the cache: reading the router's choice back,
  /// and launching the layer kernel by kernel where that outlasts the GPU. 0 where the GPU looks
  /// experts up itself.
  Seconds host_dispatch;
  Seconds step_seconds;  ///< of a step beside its MoE layers (dense layers, output head, sampling)
  BytesPerSecond cpu_rate;   ///< weights that the CPU reads while it computes experts; > 0 for cpu
  int host_slots = -1;       ///< experts that host memory holds, LRU; -1: all of them
  BytesPerSecond nvme_rate;  ///< below host memory; > 0 when host_slots >= 0
};

struct OffloadReport {
  int steps = 0;
  std::int64_t accesses = 0;
  std::int64_t hits = 0;  ///< resident, and arrived, when needed
  std::int64_t late_prefetches =
      0;  ///< prefetched but still on the link when needed: neither hit nor miss
  std::int64_t misses = 0;
  std::int64_t cpu_experts = 0;  ///< misses that the CPU computed
  Seconds elapsed;
  Seconds stall;           ///< part of `elapsed` that the GPU waits for experts (or for the CPU)
  Bytes demand_bytes;      ///< over the host link, for misses
  Bytes prefetched_bytes;  ///< over the host link, ahead of use
  Bytes wasted_bytes;      ///< prefetched, given up unused (or never used to the end)
  Bytes nvme_bytes;

  double hit_rate() const {
    return accesses > 0 ? static_cast<double>(hits) / static_cast<double>(accesses) : 0.0;
  }
  double steps_per_s() const {
    return elapsed.value() > 0.0 ? static_cast<double>(steps) / elapsed.value() : 0.0;
  }
};

/// Throws InputError naming every number of `spec` that makes no sense.
void check_offload(const OffloadSpec& spec);

/// Runs the trace; statistics and time leave out the first `warm_up_steps`. Throws InputError for a
/// bad spec.
OffloadReport simulate_offload(const ExpertTrace& trace, const OffloadSpec& spec,
                               int warm_up_steps = 0);

/// Mean time of a step in closed form, for a hit rate that is known: serial stalls, nothing
/// prefetched.
///   step + layers * (host dispatch + ...) with transfer: layer + misses (latency + bytes / rate);
///   cpu: max(layer, misses bytes / rate)
Seconds offload_step_seconds(const OffloadSpec& spec, int layers, double experts_per_layer,
                             double hit_rate);

}  // namespace moesim

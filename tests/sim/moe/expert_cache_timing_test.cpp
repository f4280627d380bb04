// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_cache_timing.h"

#include <gtest/gtest.h>

#include "sim/base/error.h"

namespace moesim {
namespace {

using namespace literals;

// Two layers, two experts each; expert_bytes / link_rate = 1 ms, layers of 2 ms.
OffloadSpec spec_of(int slots) {
  OffloadSpec spec;
  spec.cache.slots = slots;
  spec.expert_bytes = 10_MB;
  spec.link_rate = 10_GBps;
  spec.layer_seconds = 2_ms;
  return spec;
}

ExpertTrace alternating(int steps, int experts = 4) {
  ExpertTrace trace(2, experts);
  for (int step = 0; step < steps; ++step) {
    for (int layer = 0; layer < 2; ++layer) {
      trace.add_layer(std::vector<std::int16_t>{static_cast<std::int16_t>(step % 2 == 0 ? 0 : 2),
                                                static_cast<std::int16_t>(step % 2 == 0 ? 1 : 3)});
    }
  }
  return trace;
}

TEST(Offload, AMissStallsForLatencyAndBytesOverTheLink) {
  // Two slots, sets {0,1} and {2,3} in turn: every access misses. A layer waits for two transfers
  // of 1 ms + 0.5 ms latency, then computes 2 ms: 5 ms; a step is 10 ms.
  OffloadSpec spec = spec_of(2);
  spec.link_latency = 0.5_ms;
  const OffloadReport report = simulate_offload(alternating(4), spec);
  EXPECT_EQ(report.misses, 16);
  EXPECT_NEAR(report.elapsed.value(), 40e-3, 1e-12);
  EXPECT_NEAR(report.stall.value(), 24e-3, 1e-12);
  EXPECT_DOUBLE_EQ(report.demand_bytes.value(), 16 * 10e6);
  EXPECT_NEAR(offload_step_seconds(spec, 2, 2, 0.0).value(), 10e-3, 1e-12);
}

TEST(Offload, AllResidentIsComputeOnly) {
  const OffloadReport report = simulate_offload(alternating(6), spec_of(4), 2);
  EXPECT_EQ(report.steps, 4);
  EXPECT_DOUBLE_EQ(report.hit_rate(), 1.0);
  EXPECT_NEAR(report.elapsed.value(), 4 * 4e-3, 1e-12);
  EXPECT_NEAR(report.stall.value(), 0.0, 1e-12);
}

TEST(Offload, AccuratePrefetchHidesTransfersBehindCompute) {
  // While layer 0 computes 2 ms, layer 1's two experts arrive (2 ms): layer 1 never stalls, layer 0
  // always does.
  OffloadSpec spec = spec_of(2);
  spec.prefetch.lookahead_layers = 1;
  const OffloadReport report = simulate_offload(alternating(4), spec);
  EXPECT_NEAR(report.elapsed.value(), 4 * 6e-3, 1e-12);
  EXPECT_EQ(report.hits, 8);
  EXPECT_DOUBLE_EQ(report.wasted_bytes.value(), 0.0);
  EXPECT_DOUBLE_EQ(report.prefetched_bytes.value(), 8 * 10e6);
}

TEST(Offload, WrongPrefetchIsWorseThanNone) {
  // All experts fit but for one slot a layer, and the same set is needed for ever: without prefetch
  // all hits after the first step. Guesses that are always wrong fill the link and push needed
  // experts out.
  StickyTraceSpec trace_spec;
  trace_spec.layers = 8;
  trace_spec.experts = 16;
  trace_spec.top_k = 2;
  trace_spec.steps = 200;
  trace_spec.repeat_fraction = 0.5;
  const ExpertTrace trace = sticky_trace(trace_spec);
  OffloadSpec spec = spec_of(3);
  spec.layer_seconds = 0.2_ms;
  const OffloadReport none = simulate_offload(trace, spec, 5);
  spec.prefetch = {.lookahead_layers = 1, .accuracy = 0.1, .seed = 1};
  const OffloadReport wrong = simulate_offload(trace, spec, 5);
  EXPECT_GT(wrong.elapsed.value(), 1.2 * none.elapsed.value());
  EXPECT_GT((wrong.demand_bytes + wrong.prefetched_bytes).value(), 1.5 * none.demand_bytes.value());
  spec.prefetch.accuracy = 0.9;
  spec.layer_seconds = 2_ms;
  const OffloadReport good = simulate_offload(trace, spec, 5);
  spec.prefetch.lookahead_layers = 0;
  EXPECT_LT(good.elapsed.value(), simulate_offload(trace, spec, 5).elapsed.value());
}

TEST(Offload, TheCpuComputesMissesBesideTheGpu) {
  // Static set {0, 1} of each layer; steps alternate between it and {2, 3}. CPU: 2 experts x 10 MB
  // / 5 GB/s = 4 ms against 2 ms on the GPU: a layer takes 2 ms or 4 ms, a pair of steps 12 ms, and
  // nothing crosses the link.
  OffloadSpec spec = spec_of(2);
  spec.cache.policy = "static";
  spec.cache.popularity = {1, 1, 0, 0, 1, 1, 0, 0};
  spec.on_miss = MissHandling::cpu;
  spec.cpu_rate = 5_GBps;
  const OffloadReport report = simulate_offload(alternating(4), spec);
  EXPECT_NEAR(report.elapsed.value(), 24e-3, 1e-12);
  EXPECT_EQ(report.cpu_experts, 8);
  EXPECT_DOUBLE_EQ(report.demand_bytes.value(), 0.0);
}

TEST(Offload, WhatHostMemoryLacksComesThroughTheDrive) {
  // No host slot: every miss first takes 5 ms from the drive (2 GB/s), then 1 ms over the link; the
  // two of a layer are pipelined: 5 + 5 + 1 = 11 ms, plus 2 ms compute.
  OffloadSpec spec = spec_of(2);
  spec.host_slots = 0;
  spec.nvme_rate = 2_GBps;
  const OffloadReport report = simulate_offload(alternating(2), spec);
  EXPECT_NEAR(report.elapsed.value(), 4 * 13e-3, 1e-12);
  EXPECT_DOUBLE_EQ(report.nvme_bytes.value(), 8 * 10e6);
}

TEST(OffloadProperty, TimeIsComputePlusStallAndAHalfAsFastWorldTakesTwiceAsLong) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    StickyTraceSpec trace_spec;
    trace_spec.layers = 6;
    trace_spec.experts = 16;
    trace_spec.top_k = 3;
    trace_spec.steps = 40;
    trace_spec.repeat_fraction = 0.4;
    trace_spec.seed = seed;
    const ExpertTrace trace = sticky_trace(trace_spec);
    OffloadSpec spec = spec_of(5);
    spec.prefetch = {.lookahead_layers = static_cast<int>(seed % 3), .accuracy = 0.7, .seed = seed};
    const OffloadReport report = simulate_offload(trace, spec);
    EXPECT_EQ(report.hits + report.misses + report.late_prefetches, report.accesses);
    EXPECT_NEAR(report.elapsed.value(), 40 * 6 * 2e-3 + report.stall.value(), 1e-9);
    EXPECT_LE(report.wasted_bytes.value(), report.prefetched_bytes.value());
    spec.link_rate = 5_GBps;
    spec.layer_seconds = 4_ms;
    EXPECT_NEAR(simulate_offload(trace, spec).elapsed.value(), 2.0 * report.elapsed.value(), 1e-9);
  }
}

TEST(Offload, RefusesALinkWithoutRate) {
  OffloadSpec spec = spec_of(2);
  spec.link_rate = BytesPerSecond(0.0);
  EXPECT_THROW(simulate_offload(alternating(1), spec), InputError);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/offload_execution.h"

#include <gtest/gtest.h>

#include "sim/base/stop.h"

namespace moesim {
namespace {

constexpr double kLink = 26e9;

/// `gpus` on switches of `gpus_per_uplink`, each link and uplink 26 GB/s, plenty of host memory
/// bandwidth, a drive of 5 GB/s.
Topology node(int gpus, int gpus_per_uplink) {
  Topology topology;
  std::vector<NodeId> ids;
  for (int g = 0; g < gpus; ++g) {
    ids.push_back(topology.add_node(NodeKind::gpu, "gpu" + std::to_string(g), 0,
                                    static_cast<std::uint32_t>(g)));
  }
  const NodeId bridge = topology.add_node(NodeKind::host_bridge, "host", 0);
  NodeId pcie{};
  for (int g = 0; g < gpus; ++g) {
    if (g % gpus_per_uplink == 0) {
      pcie = topology.add_node(NodeKind::pcie_switch, "pcie" + std::to_string(g), 0);
      topology.connect(pcie, bridge, BytesPerSecond(kLink), Seconds(0));
    }
    topology.connect(ids[static_cast<std::size_t>(g)], pcie, BytesPerSecond(kLink), Seconds(0));
  }
  topology.connect(topology.add_node(NodeKind::host_memory, "memory", 0), bridge,
                   BytesPerSecond(400e9), Seconds(0));
  topology.connect(topology.add_node(NodeKind::nvme, "drive", 0), bridge, BytesPerSecond(5e9),
                   Seconds(0));
  return topology;
}

std::vector<ExpertTrace> demand(int gpus, int steps = 60) {
  std::vector<ExpertTrace> traces;
  for (int g = 0; g < gpus; ++g) {
    StickyTraceSpec spec;
    spec.layers = 6;
    spec.experts = 16;
    spec.top_k = 2;
    spec.steps = steps;
    spec.repeat_fraction = 0.4;
    spec.seed = static_cast<std::uint64_t>(g);
    traces.push_back(sticky_trace(spec));
  }
  return traces;
}

OffloadNode spec() {
  OffloadNode node;
  node.gpu.cache.slots = 6;
  node.gpu.expert_bytes = Bytes(44e6);
  node.gpu.link_rate = BytesPerSecond(kLink);
  node.gpu.link_latency = Seconds(1e-5);
  node.gpu.layer_seconds = Seconds(3e-4);
  node.gpu.host_dispatch = Seconds(2e-5);
  node.gpu.cpu_rate = BytesPerSecond(100e9);
  node.gpu.nvme_rate = BytesPerSecond(5e9);
  return node;
}

TEST(OffloadExecution, OneGpuAloneIsTheSingleLinkModel) {
  const std::vector<ExpertTrace> traces = demand(1);
  for (const MissHandling on_miss : {MissHandling::transfer, MissHandling::cpu}) {
    for (const int warm_up : {0, 20}) {
      OffloadNode flows = spec();
      flows.gpu.on_miss = on_miss;
      const OffloadReport expected = simulate_offload(traces[0], flows.gpu, warm_up);
      const OffloadReport got = execute_offload(node(1, 1), traces, flows, warm_up).gpus.front();
      EXPECT_EQ(got.steps, expected.steps);
      EXPECT_EQ(got.hits, expected.hits);
      EXPECT_EQ(got.misses, expected.misses);
      EXPECT_EQ(got.demand_bytes, expected.demand_bytes);
      // Durations round up to picoseconds once a copy in one model, twice in the other.
      EXPECT_NEAR(got.elapsed.value(), expected.elapsed.value(), 1e-8);
      EXPECT_NEAR(got.stall.value(), expected.stall.value(), 1e-8);
    }
  }
}

TEST(OffloadExecution, GpusUnderOneUplinkWaitTwiceAsLongAsUnderTheirOwn) {
  // All layers miss at the same times in both GPUs (equal traces), so copies meet all the time: a
  // shared uplink halves their rate.
  std::vector<ExpertTrace> traces = demand(1);
  traces.push_back(traces[0]);
  OffloadNode flows = spec();
  flows.gpu.link_latency = Seconds(0);
  flows.gpu.host_dispatch = Seconds(0);
  const double alone =
      execute_offload(node(1, 1), std::span(traces).subspan(0, 1), flows).gpus[0].stall.value();
  const OffloadNodeReport own = execute_offload(node(2, 1), traces, flows);
  const OffloadNodeReport shared = execute_offload(node(2, 2), traces, flows);
  EXPECT_NEAR(own.gpus[0].stall.value(), alone, 1e-8);
  EXPECT_NEAR(shared.gpus[0].stall.value(), 2 * alone, 1e-8);
  EXPECT_NEAR(shared.gpus[1].stall.value(), 2 * alone, 1e-8);
  EXPECT_GT(shared.busiest_link_utilisation, own.busiest_link_utilisation);
  EXPECT_LE(shared.busiest_link_utilisation, 1.0 + 1e-9);
}

TEST(OffloadExecution, InLockstepEveryGpuWaitsForTheSlowest) {
  const std::vector<ExpertTrace> traces = demand(4);
  OffloadNode flows = spec();
  const OffloadNodeReport apart = execute_offload(node(4, 2), traces, flows);
  flows.is_in_lockstep = true;
  const OffloadNodeReport together = execute_offload(node(4, 2), traces, flows);
  for (const OffloadReport& gpu : together.gpus) {
    EXPECT_EQ(gpu.elapsed, together.gpus[0].elapsed);
    // Every layer waits for its slowest GPU; other copies then meet on the uplinks.
    EXPECT_GE(gpu.elapsed.value(), 0.98 * apart.gpus[apart.slowest].elapsed.value());
  }
}

TEST(OffloadExecution, DrivesBelowHostMemoryAreReadFirst) {
  const std::vector<ExpertTrace> traces = demand(1);
  OffloadNode flows = spec();
  const OffloadReport in_host = execute_offload(node(1, 1), traces, flows).gpus[0];
  flows.gpu.host_slots = 48;  // half of the 6 x 16 experts
  const OffloadReport below = execute_offload(node(1, 1), traces, flows).gpus[0];
  EXPECT_EQ(in_host.nvme_bytes, Bytes(0));
  EXPECT_GT(below.nvme_bytes, Bytes(0));
  EXPECT_LE(below.nvme_bytes, below.demand_bytes);
  EXPECT_EQ(below.hits, in_host.hits);  // what the GPU holds does not depend on where it came from
  EXPECT_GT(below.elapsed, in_host.elapsed);
}

TEST(OffloadExecution, EndsWithoutAnAnswerWhenItsCallerIsAskedToStop) {
  const std::vector<ExpertTrace> traces = demand(1);
  std::stop_source source;
  const StopScope scope(source.get_token());
  source.request_stop();
  EXPECT_THROW(execute_offload(node(1, 1), traces, spec(), 0), Stopped);
}

TEST(OffloadExecutionProperty, EveryAccessIsAHitALatePrefetchOrAMiss) {
  const std::vector<ExpertTrace> traces = demand(3, 40);
  for (const EvictionPolicyRow& policy : eviction_policies()) {
    for (const int lookahead : {0, 1, 3}) {
      OffloadNode flows = spec();
      flows.gpu.cache.policy = policy.name;
      flows.gpu.prefetch.lookahead_layers = lookahead;
      flows.gpu.prefetch.accuracy = 0.6;
      const OffloadNodeReport report = execute_offload(node(3, 3), traces, flows, 5);
      for (const OffloadReport& gpu : report.gpus) {
        EXPECT_EQ(gpu.hits + gpu.late_prefetches + gpu.misses, gpu.accesses) << policy.name;
        EXPECT_EQ(gpu.prefetched_bytes > Bytes(0), lookahead > 0 && policy.name != "static")
            << policy.name;
        // Time is layers, host and waiting, nothing else.
        EXPECT_NEAR(gpu.elapsed.value(), 35 * 6 * 3e-4 + gpu.stall.value(), 1e-8) << policy.name;
      }
    }
  }
}

}  // namespace
}  // namespace moesim

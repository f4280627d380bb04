// SPDX-License-Identifier: Apache-2.0
// Collectives as algorithms over flows: which rank sends how much to which, stage by stage.
//
// A stage is a transfer whose flows start together; the next stage starts when all have arrived.
// Algorithms that pipeline their hops in small chunks (NVLink forwarding, rings) are one stage: in
// steady state all their hops carry data at the same time. `bottleneck_time` is the analytic form
// of the same algorithm: per stage, the time that the busiest link needs, plus the longest latency.
// Where one link is the bottleneck for all, or loads are even, both agree; otherwise flows take
// longer, and by how much is the price of contention.
// Sources: DeepEP (https://github.com/deepseek-ai/DeepEP), Tutel 2DH (arXiv:2206.03382), rings as
// in Patarasuk & Yuan 2009.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/cluster/route_plan.h"
#include "sim/cluster/transfer_set.h"

namespace moesim {

using FlowStages = std::vector<TransferSet>;

/// Expert traffic of one direction. `rank_bytes` [R, R]: what each rank holds for each other (its
/// own part included, which stays). Row = source.
struct ExpertTraffic {
  std::uint32_t num_ranks = 0;
  std::uint32_t gpus_per_node = 1;  ///< ranks are numbered node by node; divides num_ranks
  std::vector<double> rank_bytes;
  /// [R, R / gpus_per_node] bytes after de-duplication: one copy of a token per destination node.
  /// Only `forwarded` reads it.
  std::vector<double> node_bytes;
};

/// Every pair directly: NCCL all-to-all, DeepEP low latency (with one copy per selection in
/// `rank_bytes`), or an exchange inside one NVLink domain.
FlowStages pairwise_stages(const ExpertTraffic& traffic);
/// DeepSpeed / Tutel: first inside each node to the GPU with the destination's local index, then
/// between GPUs of equal index.
FlowStages two_stage_stages(const ExpertTraffic& traffic);
/// DeepEP normal: one copy per destination node to the GPU of equal index there, which forwards
/// over NVLink to the distinct ranks; both hops at the same time.
FlowStages forwarded_stages(const ExpertTraffic& traffic);
/// All-gather of every rank's `own_bytes`, then reduce-scatter of as much: dispatch and combine
/// without an all-to-all.
FlowStages all_gather_reduce_scatter_stages(std::uint32_t num_ranks, Bytes own_bytes);

/// Ring collectives of a `buffer` as nccl-tests counts it: each rank passes S(n-1)/n to its
/// successor, twice that for all-reduce.
FlowStages ring_all_gather_stages(std::uint32_t num_ranks, Bytes buffer);
FlowStages ring_reduce_scatter_stages(std::uint32_t num_ranks, Bytes buffer);
FlowStages ring_all_reduce_stages(std::uint32_t num_ranks, Bytes buffer);

/// Two binary trees with half of the buffer each, reduced to the root and sent back, in steady
/// state: a rank is inner in at most one of them, so it sends about twice the buffer at most, and a
/// message passes 2 log2(n) hops instead of 2(n - 1). NCCL's choice for small sums across nodes.
/// Source: Sanders, Speck & Traeff, Parallel Computing 35 (2009).
FlowStages tree_all_reduce_stages(std::uint32_t num_ranks, Bytes buffer);
/// The switch adds (NVLS): every rank sends and receives S(n+1)/n. Only the ports are loaded as
/// they are; ranks must share one switch.
FlowStages in_switch_all_reduce_stages(std::uint32_t num_ranks, Bytes buffer);

/// Sum over stages of (most bytes / capacity over links + longest latency of a used route). No
/// faster schedule of the same routes exists for one stage.
Seconds bottleneck_time(const RoutePlan& plan, const FlowStages& stages);

}  // namespace moesim

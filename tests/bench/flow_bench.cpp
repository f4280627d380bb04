// SPDX-License-Identifier: Apache-2.0
// Scaling of the flow network with ranks; counters first, they do not jitter.
#include <benchmark/benchmark.h>

#include <vector>

#include "sim/base/random.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"

namespace {

using namespace moesim;

// The reference rail platform (hardware_profiles/cluster_reference_rail.json) as values.
ClusterProfile reference_rail() {
  ClusterProfile profile;
  profile.id = "cluster_reference_rail";
  NodeGroup group;
  group.gpus_per_node = 8;
  group.scale_up.domain_gpus = 8;
  group.scale_up.rate.value = BytesPerSecond(450e9);
  group.nics.per_node = 8;
  group.nics.rate.value = BytesPerSecond(50e9);
  profile.node_groups.push_back(group);
  profile.fabric.kind = FabricKind::rail_leaf_spine;
  profile.fabric.nodes_per_leaf = 32;
  profile.fabric.oversubscription = 2;
  return profile;
}

void run(benchmark::State& state, FabricPaths paths, bool is_uniform, double window) {
  const auto num_ranks = static_cast<std::uint32_t>(state.range(0));
  const Topology topology =
      cluster_topology(reference_rail(), {.num_nodes = num_ranks / 8, .paths = paths});
  const auto plan = topology.routes(route_policy(paths));
  TransferSet transfer = TransferSet::uniform(num_ranks, Bytes(1e6));
  if (!is_uniform) {
    RandomStream random(1, "bench");
    std::vector<double> bytes(std::size_t{num_ranks} * num_ranks);
    for (double& value : bytes) {
      value = 2e6 * random.uniform();
    }
    transfer = TransferSet::matrix(num_ranks, std::move(bytes));
  }
  for (auto _ : state) {
    FlowNetwork network(*plan, {.window_fraction = window});
    network.start(SimTime(), transfer);
    benchmark::DoNotOptimize(network.finish());
    state.counters["fills"] = static_cast<double>(network.counters().fills);
    state.counters["singles"] = static_cast<double>(network.counters().singles);
  }
  // Constant where the cost is linear in the flows.
  const double flows = static_cast<double>(num_ranks) * num_ranks;
  state.counters["flows"] = flows;
  state.counters["flows_per_s"] =
      benchmark::Counter(flows, benchmark::Counter::kIsIterationInvariantRate);
  state.SetComplexityN(static_cast<std::int64_t>(num_ranks) * num_ranks);
}

void uniform_trunked(benchmark::State& state) { run(state, FabricPaths::trunked, true, 0.0); }
void uniform_hashed(benchmark::State& state) { run(state, FabricPaths::hashed, true, 0.0); }
void different_exact(benchmark::State& state) { run(state, FabricPaths::trunked, false, 0.0); }
void different_windows(benchmark::State& state) { run(state, FabricPaths::trunked, false, 5e-4); }

BENCHMARK(uniform_trunked)
    ->RangeMultiplier(2)
    ->Range(64, 4096)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK(uniform_hashed)->RangeMultiplier(4)->Range(64, 1024)->Unit(benchmark::kMillisecond);
BENCHMARK(different_exact)->Arg(64)->Arg(128)->Unit(benchmark::kMillisecond);
BENCHMARK(different_windows)->Arg(1024)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace

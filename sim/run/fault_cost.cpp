// SPDX-License-Identifier: Apache-2.0
#include "sim/run/fault_cost.h"

#include <algorithm>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/quantity_text.h"
#include "sim/cluster/fault.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/link_share.h"

namespace moesim {
namespace {

// arXiv:2407.21783, table 5: unexpected interruptions of 16,384 GPUs in 54 days.
constexpr double kGpuDays = 16384.0 * 54.0;
constexpr double kGpuFailures = 148 + 72;    // faulty GPU, HBM3
constexpr double kNetworkFailures = 35 + 7;  // switch or cable, NIC

void add(SimulationResult& result, std::string name, std::string unit, std::string doc,
         double value) {
  Metric metric;
  metric.value = value;
  result.metrics.push_back({std::move(name), std::move(unit), std::move(doc), metric});
}

Bytes weights_of(const MemoryBudget& memory) {
  Bytes weights;
  for (const auto& [kind, bytes] : memory.kinds) {
    if (kind.ends_with("_weights") || kind.ends_with("experts")) {
      weights += bytes;
    }
  }
  return weights;
}

}  // namespace

std::string outage_of(const Scenario& scenario) {
  if (scenario.spec.faults.empty()) {
    return "";
  }
  const FabricPaths paths = scenario.cluster->fabric.paths;
  Topology topology =
      cluster_topology(*scenario.cluster, {.num_nodes = scenario.spec.nodes, .paths = paths});
  apply_faults(topology, faults_of(scenario), scenario.file);
  try {
    topology.routes(route_policy(paths), scenario.file);
  } catch (const InputError& cut_off) {
    return cut_off.diagnostics().front().problem;
  }
  return "";
}

Scenario healthy(const Scenario& scenario) {
  Scenario copy = scenario;
  copy.spec.faults.clear();
  return copy;
}

Seconds recovery_time(const Scenario& scenario, const MemoryBudget& memory) {
  const RecoverySpec& recovery = scenario.spec.recovery;
  const NodeGroup& node = scenario.cluster->node_groups.front();
  BytesPerSecond rate = node.host.link_rate.value;
  if (node.host.nvme_read) {
    rate = std::min(rate, node.host.nvme_read->value / static_cast<double>(node.gpus_per_node));
  }
  const double repair = recovery.spare_nodes.value_or(0) > 0 ? 0.0 : recovery.repair_s;
  return Seconds(recovery.detection_s + repair + recovery.restart_s) + weights_of(memory) / rate;
}

void add_fault_cost(SimulationResult& result, const Scenario& scenario, Seconds with_faults,
                    Seconds without_faults, const std::string& outage, const MemoryBudget& memory) {
  const Seconds recovery = recovery_time(scenario, memory);
  const double gpus = static_cast<double>(scenario.ways.gpus);
  const double per_day = (kGpuFailures + kNetworkFailures) / kGpuDays * gpus;
  const bool has_spare = scenario.spec.recovery.spare_nodes.value_or(0) > 0;
  const std::string until = has_spare ? "a spare node takes over" : "the part is repaired";
  if (!outage.empty()) {
    result.feasibility.ok = false;
    result.feasibility.reasons.push_back("outage: " + outage + "; no step can run until " + until +
                                         ", " + quantity_text(recovery) +
                                         " (/recovery); figures are without the faults");
  } else {
    const double slowdown = with_faults / without_faults;
    add(result, "fault_slowdown", "", "step with the faults over the step without", slowdown);
    result.findings.push_back("the faults make a step " +
                              plain_number_text(100.0 * (slowdown - 1.0), 2) + "% longer (" +
                              quantity_text(without_faults) + " without); until " + until + ", " +
                              quantity_text(recovery) + ", that is " +
                              plain_number_text(recovery.value() * (1.0 - 1.0 / slowdown), 3) +
                              " s of the deployment's work lost");
  }
  add(result, "recovery_s", "s", "detection, repair or spare, restart, loading weights",
      recovery.value());
  add(result, "interruptions_per_day", "",
      "of this many GPUs and their network, at the rates of arXiv:2407.21783 table 5", per_day);
  add(result, "availability_fraction", "fraction", "share of time not lost to such interruptions",
      1.0 / (1.0 + per_day * recovery.value() / 86400.0));
}

}  // namespace moesim

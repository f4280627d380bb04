// SPDX-License-Identifier: Apache-2.0
// Faults that begin and end within a serving run, and failures of an instance: what they do to the
// plan of the run, and what the run then tells about them.
//
// Timed faults (/faults/N/at_s) strike the first serving instance. Where GPUs are cut off it stops:
// its requests start anew elsewhere or wait, and it is back when detected, repaired (or replaced),
// restarted and loaded (fault_cost.h). Where another way is left its steps take the share of link
// rates that is left (engine/link_share.h) until it is repaired; a GPU that computes slowly is the
// one that the others wait for (serving/step_times.h). Recovery of the service is later than that
// of the machine: the queue must be as short as before.
#pragma once

#include "sim/run/result.h"
#include "sim/serving/serving_loop.h"

namespace moesim {

/// The scenario with the faults alone that are there all the time.
Scenario without_timed_faults(const Scenario& scenario);

/// Adds outages and spells of `asked`'s timed faults to the plan. Throws InputError when a fault
/// names nothing of the cluster.
void plan_timed_faults(ServingPlan& plan, const Scenario& asked);

/// One stretch in which the deployment had less to give, and what the queue made of it.
struct Incident {
  double begin_s = 0;
  double end_s = 0;
  bool is_outage = false;
  double waiting_before = 0;  ///< most requests in the queue, in as long before it
  double waiting_most = 0;    ///< from its beginning until recovery
  /// First moment from the end on at which no more wait than before; nothing when the run ended
  /// earlier or the queue never came down.
  std::optional<double> recovered_at_s;
};

/// Those that began within the run, by their beginning.
std::vector<Incident> incidents(const ServingPlan& plan, const ServingRecord& record);

/// Adds metrics `unavailable_s`, `slowed_s`, `restarted_requests`, `service_recovery_s` and a
/// sentence an incident; nothing when there was none.
void add_fault_history(SimulationResult& result, const ServingPlan& plan,
                       const ServingRecord& record);

}  // namespace moesim

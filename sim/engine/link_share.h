// SPDX-License-Identifier: Apache-2.0
// What faults and other traffic leave of the links, for the fidelities that see no links.
//
// Two uniform exchanges are carried over the topology as flows, among the ranks of one domain and
// between domains, with and without the faults and the background traffic of the scenario. The
// ratio of their times, slowest rank, is the share of their rates that exchanges have left. Closed
// forms and events then use a cluster with rates times that share: exact for one link that
// everybody waits for, and for loads that are even; flow fidelity has the rest.
#pragma once

#include <memory>
#include <vector>

#include "sim/cluster/fault.h"
#include "sim/input/scenario.h"

namespace moesim {

/// In (0, 1]; 1 where nothing crosses such links.
struct LinkShare {
  double scale_up = 1;
  double network = 1;
};

/// The faults of the scenario, as its topology takes them.
std::vector<Fault> faults_of(const Scenario& scenario);

/// The scenario has faults of links, or other traffic.
bool shares_links(const Scenario& scenario);

/// Throws InputError as StepFlows does.
LinkShare link_share(const Scenario& scenario);

/// `profile` with every rate, and what SMs do for a copy, times the share of its network.
ClusterProfile with_share(ClusterProfile profile, const LinkShare& share);

/// `scenario` on a cluster with what is left, itself where nothing is taken.
Scenario with_links_shared(const Scenario& scenario);

}  // namespace moesim

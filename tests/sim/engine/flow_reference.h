// SPDX-License-Identifier: Apache-2.0
// The specification of FlowNetwork in simple loops: progressive filling over single flows, solved
// anew at each completion. Exact and slow: flows * links per level.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "sim/cluster/route_plan.h"
#include "sim/cluster/transfer_set.h"

namespace moesim {

struct ReferenceFlows {
  std::vector<std::vector<LinkIndex>> links;  ///< of each flow
  std::vector<double> bytes;
  std::vector<double> latency;
  std::vector<double> capacity;  ///< of each link
};

inline ReferenceFlows reference_flows(const RoutePlan& plan, const TransferSet& set) {
  ReferenceFlows flows;
  for (const FlowLink& link : plan.links()) {
    flows.capacity.push_back(link.capacity.value());
  }
  for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
    const std::vector<std::uint32_t> to{set.destination(flow)};
    std::vector<FlowRoute> route(1);
    plan.routes_from(set.source(flow), to, route);
    std::vector<LinkIndex> links;
    if (route[0].out_port != kNoIndex) {
      links.push_back(route[0].out_port);
    }
    if (route[0].path != kNoIndex) {
      for (const LinkIndex link : plan.path(route[0].path)) {
        links.push_back(link);
      }
    }
    if (route[0].in_port != kNoIndex) {
      links.push_back(route[0].in_port);
    }
    double latency = 0.0;
    for (const LinkIndex link : links) {
      latency += plan.links()[link].latency.value();
    }
    flows.links.push_back(links);
    flows.bytes.push_back(set.bytes(flow));
    flows.latency.push_back(set.bytes(flow) > 0.0 ? latency : 0.0);
  }
  return flows;
}

/// Max-min fair rates of the flows whose `remaining` is positive; 0 for the others.
inline std::vector<double> reference_rates(const ReferenceFlows& flows,
                                           const std::vector<double>& remaining) {
  const std::size_t num_links = flows.capacity.size();
  std::vector<double> fixed(num_links, 0.0), open(num_links, 0.0);
  std::vector<std::vector<std::uint32_t>> through(num_links);
  std::vector<double> rate(remaining.size(), -1.0);
  for (std::uint32_t flow = 0; flow < remaining.size(); ++flow) {
    if (remaining[flow] <= 0.0) {
      rate[flow] = 0.0;
      continue;
    }
    for (const LinkIndex link : flows.links[flow]) {
      open[link] += 1.0;
      through[link].push_back(flow);
    }
  }
  for (;;) {
    std::size_t tightest = num_links;
    double level = std::numeric_limits<double>::infinity();
    for (std::size_t link = 0; link < num_links; ++link) {
      if (open[link] > 0.0 && (flows.capacity[link] - fixed[link]) / open[link] < level) {
        level = (flows.capacity[link] - fixed[link]) / open[link];
        tightest = link;
      }
    }
    if (tightest == num_links) {
      return rate;
    }
    for (const std::uint32_t flow : through[tightest]) {
      if (rate[flow] < 0.0) {
        rate[flow] = level;
        for (const LinkIndex link : flows.links[flow]) {
          fixed[link] += level;
          open[link] -= 1.0;
        }
      }
    }
  }
}

/// End of each flow, in seconds, when all start at 0.
inline std::vector<double> reference_ends(const RoutePlan& plan, const TransferSet& set) {
  const ReferenceFlows flows = reference_flows(plan, set);
  std::vector<double> remaining = flows.bytes;
  std::vector<double> ends(remaining.size(), 0.0);
  for (std::size_t flow = 0; flow < remaining.size(); ++flow) {
    if (flows.links[flow].empty()) {
      remaining[flow] = 0.0;
    }
  }
  double now = 0.0;
  for (;;) {
    const std::vector<double> rate = reference_rates(flows, remaining);
    double soonest = std::numeric_limits<double>::infinity();
    for (std::size_t flow = 0; flow < remaining.size(); ++flow) {
      if (remaining[flow] > 0.0) {
        soonest = std::min(soonest, remaining[flow] / rate[flow]);
      }
    }
    if (soonest == std::numeric_limits<double>::infinity()) {
      return ends;
    }
    now += soonest;
    for (std::size_t flow = 0; flow < remaining.size(); ++flow) {
      if (remaining[flow] > 0.0) {
        remaining[flow] -= rate[flow] * soonest;
        if (remaining[flow] <= rate[flow] * 1e-15 * (1.0 + now)) {
          remaining[flow] = 0.0;
          ends[flow] = now + flows.latency[flow];
        }
      }
    }
  }
}

}  // namespace moesim

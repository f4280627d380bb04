// SPDX-License-Identifier: Apache-2.0
// A plan for people and scripts: text, JSON ("moesim/plan/1"), Markdown, CSV (one option a line)
// and one self-contained HTML file.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "sim/report/sweep_report.h"
#include "sim/study/fleet.h"

namespace moesim {

/// The whole answer to a request.
struct PlanReport {
  PlanRequest request;
  std::vector<GpuPrice> prices;  ///< [hardware]
  std::vector<ServicePlan> services;
  std::optional<FleetPlan> fleet;  ///< of several services, a day of periods or an inventory
};

// The parts about a fleet.
void write_fleet(std::ostream& out, const PlanReport& plan, bool markdown);
Json fleet_json(const PlanReport& plan);
class HtmlPage;
void add_fleet(HtmlPage& page, const PlanReport& plan);

void write_plan(std::ostream& out, const PlanReport& plan, SweepFormat format);
std::string html_plan(const PlanReport& plan);
Json plan_json(const PlanReport& plan);

/// "8 x 16 GPUs (tensor 1, expert 16), up to 96 sequences/GPU": one pool in words.
std::string pool_text(const PlannedPool& pool);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Reports as one self-contained HTML file each (sim/report/html_page.h): of a run and of a sweep.
// Text, Markdown and CSV twins hold the same numbers.
#pragma once

#include <string>

#include "sim/report/sweep_report.h"
#include "sim/run/result.h"
#include "sim/study/deployment_details.h"

namespace moesim {

/// Answer, breakdown, memory, link use, latency distributions, expert load, batch curve, what-ifs,
/// every figure, and the resolved scenario to run again.
std::string html_report(const SimulationResult& result, const DeploymentDetails& details);

/// Pareto front, figures along the varied keys, every point (at most 5,000 are listed), and the
/// base scenario with the command line that ran the sweep.
std::string html_sweep(const SweepTable& table, const ScenarioSpec& base,
                       const std::string& command);

}  // namespace moesim

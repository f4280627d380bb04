// SPDX-License-Identifier: Apache-2.0
// The one entry point: a scenario in, a result out.
//
// Pure: the same scenario gives the same bytes, whatever the options, the threads or the machine.
// Options choose what is recorded and who may interrupt, never a number.
#pragma once

#include <functional>
#include <stop_token>

#include "sim/input/scenario.h"
#include "sim/run/result.h"

namespace moesim {

struct Timeline;

struct RunOptions {
  bool what_ifs = true;          ///< also evaluate the alternatives that the report suggests
  Timeline* timeline = nullptr;  ///< event fidelity: filled with every span of the step
  std::function<void(double fraction)>
      progress;  ///< called now and then with the share that is done
  std::stop_token
      stop;  ///< ends a long run early; the result is then marked infeasible with the reason
};

/// Simulates one scenario. Throws InputError only for files that the scenario names (recorded
/// routing).
SimulationResult simulate(const Scenario& scenario, const RunOptions& options = {});

}  // namespace moesim

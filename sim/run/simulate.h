// SPDX-License-Identifier: Apache-2.0
// The one entry point: a scenario in, a result out.
//
// Pure: the same scenario gives the same bytes, whatever the options, the threads or the machine.
// Options choose what is recorded and who may interrupt, never a number.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>

#include "sim/base/sim_time.h"
#include "sim/base/stop.h"
#include "sim/input/scenario.h"
#include "sim/run/result.h"

namespace moesim {

struct ServingRecord;
struct Timeline;
class StepCostModel;

struct RunOptions {
  bool what_ifs = true;          ///< also evaluate the alternatives that the report suggests
  Timeline* timeline = nullptr;  ///< event fidelity: filled with the spans of the step
  SimTime record_from;           ///< spans that touch [record_from, record_to] are kept
  SimTime record_to = SimTime::max();
  int threads = 0;  ///< at most so many; 0: all cores
  std::function<void(double fraction)>
      progress;  ///< replications: called with the share that is done
  /// Made from a scenario that differs from the simulated one at most in batch and lengths of the
  /// workload and in /runtime/memory_utilisation: a sweep then compiles each deployment once.
  std::shared_ptr<const StepCostModel> step_model;
  bool echo_scenario = true;  ///< fill `SimulationResult::scenario`
  /// Serving under event fidelity: called once with the times of every request.
  std::function<void(const ServingRecord&)> recorded;
  std::stop_token stop;  ///< asks a long run to end: it then throws Stopped, without an answer
};

/// Simulates one scenario. Throws InputError only for files that the scenario names (recorded
/// routing).
SimulationResult simulate(const Scenario& scenario, const RunOptions& options = {});

}  // namespace moesim

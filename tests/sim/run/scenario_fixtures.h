// SPDX-License-Identifier: Apache-2.0
// Shipped scenarios with a few keys changed, for tests; they run in the root of the repository.
#pragma once

#include <functional>
#include <string>

#include "sim/input/scenario.h"

namespace moesim::testing {

inline const CardLibrary& cards() {
  static const CardLibrary library = CardLibrary::open(".");
  return library;
}

/// The shipped scenario of this name after `edit`.
inline Scenario shipped(
    const std::string& name,
    const std::function<void(ScenarioSpec&)>& edit = [](ScenarioSpec&) {}) {
  const std::string path = cards().path(CardKind::scenario, name);
  ScenarioSpec spec = load_scenario_spec(path);
  edit(spec);
  return resolve(spec, cards(), path);
}

/// A small MoE deployment, quick in every fidelity: Mixtral 8x7B on one node of H100s with expert
/// parallelism 8.
inline Scenario small(const std::function<void(ScenarioSpec&)>& edit = [](ScenarioSpec&) {}) {
  ScenarioSpec spec;
  spec.model = "mixtral_8x7b";
  spec.cluster = "cluster_h100_ib400";
  spec.workload.batch_per_gpu = 32;
  spec.workload.context_tokens = 2048;
  edit(spec);
  return resolve(spec, cards(), "small");
}

}  // namespace moesim::testing

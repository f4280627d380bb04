// SPDX-License-Identifier: Apache-2.0
#include "sim/run/result.h"

#include "sim/base/error.h"

namespace moesim {

const NamedMetric* SimulationResult::find(const std::string& name) const {
  for (const NamedMetric& named : metrics) {
    if (named.name == name) {
      return &named;
    }
  }
  return nullptr;
}

const Metric& SimulationResult::metric(const std::string& name) const {
  const NamedMetric* named = find(name);
  MOESIM_CHECK(named != nullptr, "the result has no such metric");
  if (const auto* distribution = std::get_if<Distribution>(&named->value)) {
    return distribution->mean;
  }
  MOESIM_CHECK(std::holds_alternative<Metric>(named->value), "the metric is a group");
  return std::get<Metric>(named->value);
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The immutable answer to a scenario: plain values, all that reports, sweeps and views read.
//
// Names and meaning of the JSON keys are fixed in docs/json_keys.md. Every metric says on what it
// rests; a figure that does not apply is absent, never 0; ratios are fractions, never percent.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "sim/base/json.h"
#include "sim/cost/cost_estimate.h"

namespace moesim {

/// One reported number with its 80% band; no band means that no uncertainty is known, not that
/// there is none.
struct Metric {
  double value = 0;
  std::optional<double> low;
  std::optional<double> high;
  Basis basis = Basis::estimate;
  bool extrapolated = false;
};

/// A number that varies between requests, steps or ranks.
struct Distribution {
  Metric mean;
  Metric p50;
  Metric p90;
  Metric p99;
};

/// Numbers of one unit by name ("kv_cache", "routed_experts" ...).
using MetricGroup = std::vector<std::pair<std::string, Metric>>;

struct NamedMetric {
  std::string name;
  std::string unit;  ///< JSON unit suffix ("s", "bytes", "fraction") or ""
  std::string doc;
  std::variant<Metric, Distribution, MetricGroup> value;
};

/// Whether the deployment can exist at all: a result, not an exception.
struct Feasibility {
  bool ok = true;
  std::vector<std::string> reasons;  ///< what is missing and what would fit
};

/// A rule of /alerts that was broken: `value` above `threshold`.
struct Alert {
  std::string kind;
  std::string where;
  double value = 0;
  double threshold = 0;
  std::optional<double> time_s = {};  ///< of a serving run: when it first was
  std::string advice = {};            ///< what to do
};

/// Seconds of the step by op kind, exposed on the rank that the others wait for.
struct BreakdownRow {
  std::string kind;
  std::string doc;
  double seconds = 0;
};

/// A quantity over the time of a serving run, in equal buckets from 0.
struct TimeSeries {
  std::string name;
  std::string unit;
  std::string doc;
  double bucket_s = 0;
  std::vector<double> values;  ///< [buckets] means
};

/// One alternative, evaluated like the answer itself.
struct WhatIf {
  std::string change;  ///< "/routing/sigma = 1.1"
  std::string doc;     ///< for people
  double tokens_per_s_per_gpu = 0;
  double step_s = 0;
  bool feasible = true;
};

struct SimulationResult {
  std::string version;
  std::int64_t seed = 0;
  Json scenario;  ///< resolved: every default written out
  std::string title;
  Feasibility feasibility;
  std::vector<std::pair<std::string, std::string>> card_hashes;  ///< card id, hash
  std::vector<std::pair<std::string, double>> basis_share;  ///< share of the step's time by basis
  std::vector<NamedMetric> metrics;
  std::vector<BreakdownRow> breakdown;
  std::vector<TimeSeries> series;
  std::vector<Alert> alerts;
  std::vector<std::string> findings;  ///< sentences: what dominates, what to try
  std::vector<WhatIf> what_ifs;
  double what_if_base = 0;  ///< tokens/s/GPU of the scenario in the fidelity of the alternatives

  const NamedMetric* find(const std::string& name) const;
  /// The plain metric `name`; aborts when it is absent or not plain.
  const Metric& metric(const std::string& name) const;
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/run/replications.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/base/error.h"

namespace moesim {
namespace {

double quantile(const std::vector<double>& sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(position));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

/// The plain metrics inside a named one, in a fixed order.
std::vector<Metric*> parts_of(NamedMetric& named) {
  if (auto* metric = std::get_if<Metric>(&named.value)) {
    return {metric};
  }
  if (auto* distribution = std::get_if<Distribution>(&named.value)) {
    return {&distribution->mean, &distribution->p50, &distribution->p90, &distribution->p99};
  }
  std::vector<Metric*> parts;
  for (auto& [name, metric] : std::get<MetricGroup>(named.value)) {
    parts.push_back(&metric);
  }
  return parts;
}

}  // namespace

SimulationResult simulate_replications(const Scenario& scenario, int count,
                                       const RunOptions& options) {
  MOESIM_CHECK(count >= 1, "replications are counted from 1");
  SimulationResult first = simulate(scenario, options);
  if (count == 1) {
    return first;
  }
  std::vector<SimulationResult> others;
  for (int i = 1; i < count; ++i) {
    Scenario other = scenario;
    other.spec.seed += i;
    RunOptions quiet;
    quiet.what_ifs = false;
    quiet.stop = options.stop;
    quiet.threads = options.threads;
    others.push_back(simulate(other, quiet));
    if (options.progress) {
      options.progress(static_cast<double>(i + 1) / count);
    }
  }
  for (std::size_t m = 0; m < first.metrics.size(); ++m) {
    std::vector<Metric*> parts = parts_of(first.metrics[m]);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      std::vector<double> values = {parts[p]->value};
      for (SimulationResult& other : others) {
        values.push_back(parts_of(other.metrics[m])[p]->value);
      }
      std::sort(values.begin(), values.end());
      if (values.front() == values.back()) {
        continue;  // seeds do not matter to this figure
      }
      double sum = 0;
      for (const double value : values) {
        sum += value;
      }
      const double mean = sum / static_cast<double>(values.size());
      const double below = mean - quantile(values, 0.1);
      const double above = quantile(values, 0.9) - mean;
      // Seeds and costs err independently: their half-widths add as squares.
      const double scale = parts[p]->value != 0 ? mean / parts[p]->value : 1.0;
      const auto cost_side = [&](const std::optional<double>& end) {
        return end ? std::fabs(*end - parts[p]->value) * scale : 0.0;
      };
      const double low = cost_side(parts[p]->low);
      const double high = cost_side(parts[p]->high);
      parts[p]->value = mean;
      parts[p]->low = mean - std::sqrt(below * below + low * low);
      parts[p]->high = mean + std::sqrt(above * above + high * high);
    }
  }
  return first;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// 80% bands of a serving run's figures from the band of its steps.
//
// Errors of step times are mostly shared (a slow machine is slow in every step), so the whole run
// is asked again in closed form with all steps slower and faster by the band; each figure moves by
// the ratio. Queueing makes this wider than the steps' band near saturation and narrower for an
// open loop's throughput, which the arrivals set.
#include <algorithm>
#include <cmath>

#include "sim/base/random.h"
#include "sim/run/serving_metrics.h"

namespace moesim {
namespace {

struct Range {
  double low = 1;
  double high = 1;
};

/// Of `slower` and `faster` to `middle`; no band where the figure is 0.
Range range_of(double middle, double slower, double faster) {
  if (middle <= 0) {
    return {};
  }
  return {std::min({1.0, slower / middle, faster / middle}),
          std::max({1.0, slower / middle, faster / middle})};
}

void apply(Metric& metric, const Range& range) {
  metric.low = metric.value * range.low;
  metric.high = metric.value * range.high;
}

}  // namespace

void add_serving_bands(SimulationResult& result, const Scenario& scenario, ServingPlan& plan,
                       const RequestStream& stream, const SteadyState& middle,
                       double log_half_width) {
  if (log_half_width <= 0) {
    return;
  }
  const auto solve = [&](double scale) {
    plan.serving.times->set_scale(scale);
    if (plan.prefill) {
      plan.prefill->times->set_scale(scale);
    }
    return steady_state(scenario, plan, stream);
  };
  const SteadyState slower = solve(portable_exp(log_half_width));
  const SteadyState faster = solve(portable_exp(-log_half_width));
  solve(1);
  const Range rate = range_of(middle.requests_per_s, slower.requests_per_s, faster.requests_per_s);
  const Range inverse = {1 / rate.high, 1 / rate.low};
  const Range tpot = range_of(middle.tpot_s, slower.tpot_s, faster.tpot_s);
  const struct {
    const char* name;
    Range range;
  } rows[] = {
      {"output_tokens_per_s_per_gpu", rate},
      {"input_tokens_per_s_per_gpu", rate},
      {"requests_per_s", rate},
      {"goodput_requests_per_s", rate},
      {"capacity_requests_per_s",
       range_of(middle.capacity_per_s, slower.capacity_per_s, faster.capacity_per_s)},
      {"ttft_s", range_of(middle.ttft_s, slower.ttft_s, faster.ttft_s)},
      {"queueing_s", range_of(middle.queueing_s, slower.queueing_s, faster.queueing_s)},
      {"tpot_s", tpot},
      {"itl_s", tpot},
      {"latency_s", range_of(middle.latency_s, slower.latency_s, faster.latency_s)},
      {"usd_per_million_output_tokens", inverse},
      {"joules_per_output_token", inverse},
  };
  for (const auto& row : rows) {
    for (NamedMetric& named : result.metrics) {
      if (named.name != row.name) {
        continue;
      }
      if (auto* metric = std::get_if<Metric>(&named.value)) {
        apply(*metric, row.range);
      } else if (auto* distribution = std::get_if<Distribution>(&named.value)) {
        for (Metric* part :
             {&distribution->mean, &distribution->p50, &distribution->p90, &distribution->p99}) {
          apply(*part, row.range);
        }
      }
    }
  }
}

}  // namespace moesim

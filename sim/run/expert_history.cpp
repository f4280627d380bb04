// SPDX-License-Identifier: Apache-2.0
#include "sim/run/expert_history.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

void add(SimulationResult& result, std::string name, std::string unit, std::string doc,
         double value) {
  Metric metric;
  metric.value = value;
  metric.basis = Basis::estimate;
  result.metrics.push_back({std::move(name), std::move(unit), std::move(doc), metric});
}

/// What the plans of one pool added up to within the run.
struct Moves {
  double plans = 0;
  double bytes = 0;
  double before = 0;  ///< balancedness of the stretch before a plan, sum
  double after = 0;   ///< of the stretch that begins with it, sum
};

Moves moves_of(const ServingPool& pool, double end_s) {
  Moves moves;
  const std::vector<StepEpoch>& epochs = pool.timeline->epochs();
  for (std::size_t i = 1; i < epochs.size() && epochs[i].begin_s < end_s; ++i) {
    if (epochs[i].experts.moved_slots > 0) {
      moves.plans += 1;
      moves.bytes +=
          epochs[i].experts.moved.value() * static_cast<double>(pool.instances * pool.independent);
      moves.before += epochs[i - 1].experts.balancedness;
      moves.after += epochs[i].experts.balancedness;
    }
  }
  return moves;
}

/// Means of `value` [epochs] over equal buckets from 0 to `end_s`.
TimeSeries over_time(const std::vector<StepEpoch>& epochs, double end_s, double bucket_s,
                     const std::function<double(std::size_t)>& value) {
  TimeSeries series;
  series.bucket_s = bucket_s;
  const auto buckets = std::min<std::size_t>(SeriesRecorder::kBuckets,
                                             static_cast<std::size_t>(std::ceil(end_s / bucket_s)));
  std::vector<double> seconds(buckets, 0.0);
  series.values.assign(buckets, 0.0);
  for (std::size_t i = 0; i < epochs.size() && epochs[i].begin_s < end_s; ++i) {
    const double to = i + 1 < epochs.size() ? std::min(end_s, epochs[i].end_s) : end_s;
    const double now = value(i);
    for (auto b = static_cast<std::size_t>(epochs[i].begin_s / bucket_s);
         b < buckets && static_cast<double>(b) * bucket_s < to; ++b) {
      const double inside = std::min(to, static_cast<double>(b + 1) * bucket_s) -
                            std::max(epochs[i].begin_s, static_cast<double>(b) * bucket_s);
      seconds[b] += std::max(0.0, inside);
      series.values[b] += std::max(0.0, inside) * now;
    }
  }
  for (std::size_t b = 0; b < buckets; ++b) {
    series.values[b] = seconds[b] > 0 ? series.values[b] / seconds[b] : 1.0;
  }
  return series;
}

}  // namespace

void add_expert_history(SimulationResult& result, const ServingPlan& plan,
                        const ServingRecord& record) {
  StepTimeline& timeline = *plan.serving.timeline;
  if (!timeline.experts_change()) {
    return;
  }
  const double end_s = record.end_s;
  const double bucket_s = record.series.width();
  TimeSeries balance = over_time(timeline.epochs(), end_s, bucket_s, [&](std::size_t i) {
    return timeline.epoch(i).experts.balancedness;
  });
  balance.name = "placement_balancedness";
  balance.unit = "fraction";
  balance.doc = "mean over busiest GPU's expected load, mean over layers";
  double mean = 0;
  for (std::size_t i = 0; i < timeline.epochs().size(); ++i) {
    const StepEpoch& epoch = timeline.epoch(i);
    const double to = i + 1 < timeline.epochs().size() ? std::min(end_s, epoch.end_s) : end_s;
    mean += std::max(0.0, to - epoch.begin_s) / end_s * epoch.experts.balancedness;
  }
  add(result, "placement_balancedness", "fraction",
      "mean over busiest GPU's expected load, mean over layers and time", mean);

  const PoolTotals& totals = record.serving;
  const double tokens =
      totals.busy_s > 0 ? std::max(1.0, totals.decoding_integral / totals.busy_s) : 1.0;
  std::vector<double> rank_loads;  // [states]: epochs share them
  TimeSeries rank = over_time(timeline.epochs(), end_s, bucket_s, [&](std::size_t i) {
    const std::size_t state = timeline.epoch(i).state;
    if (rank_loads.size() <= state) {
      rank_loads.resize(state + 1, 0.0);
    }
    if (rank_loads[state] == 0.0) {
      rank_loads[state] = timeline.rank_max_over_mean(i, tokens);
    }
    return rank_loads[state];
  });
  rank.name = "rank_load_max_over_mean";
  rank.doc = "busiest GPU over the mean at the run's mean decode batch, mean over layers";

  if (timeline.rebalances()) {
    const Moves own = moves_of(plan.serving, end_s);
    const Moves prefill = plan.prefill ? moves_of(*plan.prefill, end_s) : Moves();
    const double plans = own.plans + prefill.plans;
    const double instances = static_cast<double>(plan.serving.instances * plan.serving.independent);
    add(result, "rebalance_plans", "", "new placements that moved weights, both pools", plans);
    add(result, "rebalance_moved_bytes", "bytes", "expert weights moved for them, all GPUs",
        own.bytes + prefill.bytes);
    add(result, "rebalance_lost_s", "s", "time that an instance waited for weights, mean",
        totals.moving_s / instances);
    if (own.plans > 0) {
      result.findings.push_back(
          "experts were placed anew " + count_text(own.plans) +
          " times: " + quantity_text(Bytes(own.bytes)) + " moved, an instance waited " +
          quantity_text(Seconds(totals.moving_s / instances)) + " for them in all; balancedness " +
          plain_number_text(own.before / own.plans, 2) + " before and " +
          plain_number_text(own.after / own.plans, 2) + " after, means");
    }
  }
  const auto [worst, best] = std::minmax_element(balance.values.begin(), balance.values.end());
  if (worst != balance.values.end() && *best - *worst > 0.02) {
    result.findings.push_back(
        "routing changes while requests are served: balancedness of the placement between " +
        plain_number_text(*worst, 2) + " (at " +
        quantity_text(
            Seconds(bucket_s * (static_cast<double>(worst - balance.values.begin()) + 0.5))) +
        ") and " + plain_number_text(*best, 2) +
        "; the closed form knows the beginning of the run alone");
  }
  result.series.push_back(std::move(balance));
  result.series.push_back(std::move(rank));
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/run/serving_alerts.h"

#include <algorithm>
#include <cmath>

#include "sim/base/quantity_text.h"
#include "sim/run/step_metrics.h"

namespace moesim {
namespace {

constexpr double kMostWindows = 10000;
constexpr double kFewRequests = 5;       // a share of fewer says nothing
constexpr double kShortQueue = 20;       // requests; shorter ones come and go
constexpr std::size_t kGrowWindows = 3;  // in a row: growth, not a burst

/// Equal windows from 0 to the end of the run.
struct Windows {
  double width = 1;
  std::size_t count = 1;

  std::size_t at(double time) const {
    return std::min(count - 1, static_cast<std::size_t>(std::max(0.0, time) / width));
  }
  double begin(std::size_t window) const { return width * static_cast<double>(window); }
};

Windows windows_of(const AlertConfig& rules, double end_s) {
  Windows windows;
  windows.width = std::max(rules.window_s.value_or(end_s / 20), end_s / kMostWindows);
  windows.count =
      std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(end_s / windows.width)));
  return windows;
}

/// The worst of the windows and the first that broke the rule.
struct Verdict {
  double worst = 0;
  double broken = 0;
  std::optional<std::size_t> first;

  void see(std::size_t window, double value, double threshold) {
    worst = std::max(worst, value);
    if (value > threshold) {
      broken += 1;
      first = first ? first : window;
    }
  }
};

std::string in_windows(const Verdict& verdict, const Windows& windows) {
  return "worst of " + count_text(verdict.broken) + " windows of " +
         quantity_text(Seconds(windows.width));
}

/// An alert when the rule was broken, from the first window that broke it.
void raise(SimulationResult& result, const char* kind, const std::string& what,
           const Verdict& verdict, double threshold, const Windows& windows, const char* advice) {
  if (verdict.first) {
    result.alerts.push_back(
        {kind, what, verdict.worst, threshold, windows.begin(*verdict.first), advice});
  }
}

void judge_slo(SimulationResult& result, const Scenario& scenario, const ServingRecord& record,
               const Windows& windows) {
  const SloConfig& slo = scenario.spec.slo;
  if (!slo.ttft_s && !slo.tpot_s && !slo.latency_s) {
    return;
  }
  std::vector<double> all(windows.count, 0.0);
  std::vector<double> missed(windows.count, 0.0);
  const auto skip = static_cast<std::size_t>(scenario.spec.workload.warmup_requests);
  for (std::size_t i = skip; i < record.requests.size(); ++i) {
    const RequestState& request = record.requests[i];
    if (request.finish_s >= 0) {
      all[windows.at(request.arrival_s)] += 1;
      missed[windows.at(request.arrival_s)] += keeps_promise(slo, request) ? 0 : 1;
    }
  }
  Verdict verdict;
  for (std::size_t w = 0; w < windows.count; ++w) {
    if (all[w] >= kFewRequests) {
      verdict.see(w, missed[w] / all[w], scenario.spec.alerts.slo_missed_fraction);
    }
  }
  raise(result, "slo_missed", "share of the requests arriving, " + in_windows(verdict, windows),
        verdict, scenario.spec.alerts.slo_missed_fraction, windows,
        "more /serving/instances, a smaller /serving/max_batched_tokens or max_sequences for "
        "TPOT, or a lower load");
}

void judge_queue(SimulationResult& result, const Scenario& scenario, const ServingRecord& record,
                 const Windows& windows) {
  std::vector<double> arrived(windows.count, 0.0);
  std::vector<double> gained(windows.count, 0.0);
  for (std::size_t i = 0; i < record.requests.size(); ++i) {
    const RequestState& request = record.requests[i];
    if (record.rejected[i] != 0) {
      continue;
    }
    arrived[windows.at(request.arrival_s)] += 1;
    gained[windows.at(request.arrival_s)] += 1;
    if (request.admitted_s >= 0) {
      gained[windows.at(request.admitted_s)] -= 1;
    }
  }
  const double limit = scenario.spec.alerts.queue_growth_fraction;
  double waiting = 0;
  double run_gain = 0;
  double run_arrived = 0;
  std::size_t in_a_row = 0;
  Verdict verdict;
  for (std::size_t w = 0; w < windows.count; ++w) {
    waiting += gained[w];
    const bool grows = arrived[w] >= kFewRequests && gained[w] > limit * arrived[w];
    in_a_row = grows ? in_a_row + 1 : 0;
    run_gain = grows ? run_gain + gained[w] : 0;
    run_arrived = grows ? run_arrived + arrived[w] : 0;
    if (in_a_row >= kGrowWindows && waiting > kShortQueue) {
      verdict.see(w + 1 - in_a_row, run_gain / run_arrived, limit);
    }
  }
  raise(result, "queue_grows",
        "share of the arrivals that stay in the queue, windows of " +
            quantity_text(Seconds(windows.width)),
        verdict, limit, windows,
        "the load is above what is served: more /serving/instances, or admit fewer");
}

/// [windows] What of `quantity` falls into each; even within a bucket of the series.
std::vector<double> in_each(const Windows& windows, const SeriesRecorder& series,
                            SeriesRecorder::Quantity quantity) {
  const double bucket = series.width();
  std::vector<double> sums(windows.count, 0.0);
  for (std::size_t b = 0; b < SeriesRecorder::kBuckets; ++b) {
    const double amount = series.buckets(quantity)[b];
    const double from = bucket * static_cast<double>(b);
    for (std::size_t w = windows.at(from); w < windows.count && windows.begin(w) < from + bucket;
         ++w) {
      const double inside =
          std::min(from + bucket, windows.begin(w + 1)) - std::max(from, windows.begin(w));
      sums[w] += amount * std::max(0.0, inside) / bucket;
    }
  }
  return sums;
}

void judge_cache(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                 const ServingRecord& record, const Windows& windows) {
  const double room = plan.serving.room.tokens *
                      static_cast<double>(plan.serving.replicas_per_instance *
                                          plan.serving.instances * plan.serving.independent);
  const std::vector<double> used = in_each(windows, record.series, SeriesRecorder::cache_tokens);
  Verdict verdict;
  for (std::size_t w = 0; w < windows.count; ++w) {
    const double seconds = std::min(record.end_s, windows.begin(w + 1)) - windows.begin(w);
    if (seconds > 0.5 * windows.width) {
      verdict.see(w, used[w] / seconds / room, scenario.spec.alerts.kv_cache_fraction);
    }
  }
  raise(result, "kv_cache_full", "share of all caches in use, " + in_windows(verdict, windows),
        verdict, scenario.spec.alerts.kv_cache_fraction, windows,
        "requests wait for room: /precision/kv_cache fp8, more GPUs a replica, or fewer "
        "/serving/max_sequences");
}

void judge_expert_swaps(SimulationResult& result, const Scenario& scenario,
                        const ServingRecord& record, const Windows& windows) {
  if (!(record.serving.expert_lookups > 0)) {
    return;
  }
  const std::vector<double> busy = in_each(windows, record.series, SeriesRecorder::busy);
  const std::vector<double> stall = in_each(windows, record.series, SeriesRecorder::expert_stall);
  const double limit = scenario.spec.alerts.expert_stall_fraction;
  Verdict verdict;
  for (std::size_t w = 0; w < windows.count; ++w) {
    if (busy[w] > 0.01 * windows.width) {  // an idle window says nothing
      verdict.see(w, stall[w] / busy[w], limit);
    }
  }
  raise(result, "expert_swap_stall",
        "share of the steps' time spent waiting for experts, " + in_windows(verdict, windows),
        verdict, limit, windows,
        "more of the experts on the GPU (/precision/experts int4, fewer /serving/max_sequences, "
        "more GPUs), /offload/on_miss cpu, or another /offload/policy");
}

void judge_preemptions(SimulationResult& result, const Scenario& scenario,
                       const ServingRecord& record) {
  double done = 0;
  double preempted = 0;
  std::optional<double> first;
  const auto skip = static_cast<std::size_t>(scenario.spec.workload.warmup_requests);
  for (std::size_t i = skip; i < record.requests.size(); ++i) {
    const RequestState& request = record.requests[i];
    if (request.finish_s >= 0) {
      done += 1;
      preempted += request.preemptions > 0 ? 1 : 0;
      first = !first && request.preemptions > 0 ? std::optional(request.arrival_s) : first;
    }
  }
  const double limit = scenario.spec.alerts.preempted_fraction;
  if (preempted > limit * done) {
    result.alerts.push_back({"preemption", "share of requests preempted", preempted / done, limit,
                             first,
                             "a larger /serving/output_reserve_fraction or watermark_fraction, "
                             "fewer /serving/max_sequences, or a larger cache"});
  }
}

}  // namespace

bool keeps_promise(const SloConfig& slo, const RequestState& request) {
  const double ttft = request.first_token_s - request.arrival_s;
  const double latency = request.finish_s - request.arrival_s;
  const double tpot = request.output > 1 ? (request.finish_s - request.first_token_s) /
                                               static_cast<double>(request.output - 1)
                                         : 0;
  return (!slo.ttft_s || ttft <= *slo.ttft_s) && (!slo.tpot_s || tpot <= *slo.tpot_s) &&
         (!slo.latency_s || latency <= *slo.latency_s);
}

void add_serving_alerts(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                        const ServingRecord& record) {
  if (record.end_s <= 0) {
    return;
  }
  const Windows windows = windows_of(scenario.spec.alerts, record.end_s);
  if (record.lost_requests > 0) {
    const auto first =
        std::min_element(plan.outages.begin(), plan.outages.end(),
                         [](const Outage& a, const Outage& b) { return a.begin_s < b.begin_s; });
    result.alerts.push_back(
        {"instance_failure", "requests that started anew", record.lost_requests, 0,
         first != plan.outages.end() ? std::optional(first->begin_s) : std::nullopt,
         "a spare node (/recovery/spare_nodes) or one more /serving/instances "
         "shortens what users see"});
  }
  judge_slo(result, scenario, record, windows);
  judge_queue(result, scenario, record, windows);
  judge_cache(result, scenario, plan, record, windows);
  judge_expert_swaps(result, scenario, record, windows);
  judge_preemptions(result, scenario, record);
}

void add_expert_alerts(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                       double decode_batch, double context, double end_s) {
  StepTimeline& timeline = *plan.serving.timeline;
  if (!(decode_batch > 0) ||
      plan.serving.times->decode_model().step_template().num_moe_layers == 0) {
    return;
  }
  const AlertConfig& rules = scenario.spec.alerts;
  const NodeGroup& node = scenario.cluster->node_groups.front();
  const double nic = node.nics.rate.value.value() * static_cast<double>(node.nics.per_node) /
                     static_cast<double>(node.gpus_per_node);
  StepBatch batch;
  batch.decode_sequences = decode_batch;
  batch.decode_new_tokens = 1 + scenario.spec.workload.draft_tokens;
  batch.decode_context = context;
  Verdict rank, expert, dropped, link;
  std::vector<std::uint8_t> is_seen;
  for (std::size_t i = 0; i < timeline.epochs().size(); ++i) {
    const StepEpoch& epoch = timeline.epoch(i);
    is_seen.resize(std::max(is_seen.size(), epoch.state + 1), 0);
    if ((i > 0 && epoch.begin_s >= end_s) || is_seen[epoch.state] != 0) {
      continue;
    }
    is_seen[epoch.state] = 1;
    const StepCostModel& model = timeline.times(i).decode_model();
    StepOutcome outcome;
    add_expected_loads(outcome, model, batch);
    rank.see(i, outcome.rank_max_over_mean, rules.rank_load_max_over_mean);
    expert.see(i, outcome.expert_max_over_mean, rules.expert_load_max_over_mean);
    dropped.see(i, outcome.dropped_fraction, rules.dropped_fraction);
    if (nic > 0 && outcome.nic_bytes > 0) {
      link.see(i, outcome.nic_bytes / model.evaluate(batch).seconds.value() / nic,
               rules.link_utilisation);
    }
  }
  const auto raise_at = [&](const char* kind, const char* where, const Verdict& verdict,
                            double threshold, const char* advice) {
    if (verdict.first) {
      result.alerts.push_back(
          {kind, where, verdict.worst, threshold, timeline.epoch(*verdict.first).begin_s, advice});
    }
  };
  raise_at("expert_imbalance", "busiest GPU, mean over layers", rank, rules.rank_load_max_over_mean,
           "place anew while serving (/placement/policy eplb, redundant /placement/slots, "
           "/placement/rebalance)");
  raise_at("hot_expert", "hottest expert, mean over layers", expert,
           rules.expert_load_max_over_mean,
           "replicas of it: more /placement/slots with policy eplb");
  raise_at("dropped_tokens", "share of the selections, mean over layers", dropped,
           rules.dropped_fraction,
           "a larger /capacity/factor, or /capacity/overflow next_best or dropless");
  raise_at("link_saturated", "busiest GPU's network cards over a decode step", link,
           rules.link_utilisation,
           "/precision/dispatch fp8, experts within one NVLink domain, or fewer tokens a GPU");
}

}  // namespace moesim

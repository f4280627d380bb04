// SPDX-License-Identifier: Apache-2.0
#include "sim/run/serving_metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "sim/base/quantity_text.h"
#include "sim/run/offload_metrics.h"
#include "sim/run/serving_alerts.h"
#include "sim/run/step_metrics.h"

namespace moesim {
namespace {

/// Collects metrics with one basis.
class MetricWriter {
 public:
  MetricWriter(SimulationResult& result, Basis basis) : result_(result), basis_(basis) {}

  Metric metric(double value) const {
    Metric made;
    made.value = value;
    made.basis = basis_;
    return made;
  }
  void add(std::string name, std::string unit, std::string doc, double value) {
    result_.metrics.push_back({std::move(name), std::move(unit), std::move(doc), metric(value)});
  }
  /// Sorts `values`; quantiles are linear between order statistics. Nothing for no values.
  void add(std::string name, std::string doc, std::vector<double>& values) {
    if (values.empty()) {
      return;
    }
    std::sort(values.begin(), values.end());
    double sum = 0;
    for (const double value : values) {
      sum += value;
    }
    const auto quantile = [&](double q) {
      const double at = q * static_cast<double>(values.size() - 1);
      const auto low = static_cast<std::size_t>(at);
      const std::size_t high = std::min(low + 1, values.size() - 1);
      return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
    };
    result_.metrics.push_back(
        {std::move(name), "s", std::move(doc),
         Distribution{metric(sum / static_cast<double>(values.size())), metric(quantile(0.5)),
                      metric(quantile(0.9)), metric(quantile(0.99))}});
  }
  void add_histogram(std::string name, std::string doc, const LogHistogram& histogram) {
    if (histogram.total() > 0) {
      result_.metrics.push_back(
          {std::move(name), "s", std::move(doc),
           Distribution{metric(histogram.mean()), metric(histogram.quantile(0.5)),
                        metric(histogram.quantile(0.9)), metric(histogram.quantile(0.99))}});
    }
  }

 private:
  SimulationResult& result_;
  Basis basis_;
};

/// What the counted requests add up to.
struct Counted {
  std::vector<double> ttft, tpot, latency, queueing;
  double done = 0;
  double good = 0;
  double prompt_tokens = 0;
  double cached_tokens = 0;
  double output_tokens = 0;
  double from_s = 0;  ///< first arrival
  double to_s = 0;    ///< last token
};

Counted count_requests(const Scenario& scenario, const ServingRecord& record) {
  const SloConfig& slo = scenario.spec.slo;
  Counted counted;
  counted.from_s = -1;
  const auto skip = static_cast<std::size_t>(scenario.spec.workload.warmup_requests);
  for (std::size_t i = skip; i < record.requests.size(); ++i) {
    const RequestState& request = record.requests[i];
    if (request.finish_s < 0) {
      continue;
    }
    counted.from_s = counted.from_s < 0 ? request.arrival_s : counted.from_s;
    counted.to_s = std::max(counted.to_s, request.finish_s);
    const double ttft = request.first_token_s - request.arrival_s;
    const double latency = request.finish_s - request.arrival_s;
    counted.ttft.push_back(ttft);
    counted.latency.push_back(latency);
    counted.queueing.push_back(request.admitted_s - request.arrival_s);
    if (request.output > 1) {
      counted.tpot.push_back((request.finish_s - request.first_token_s) /
                             static_cast<double>(request.output - 1));
    }
    counted.done += 1;
    counted.prompt_tokens += request.prompt;
    counted.cached_tokens += request.cached;
    counted.output_tokens += request.output;
    counted.good += keeps_promise(slo, request) ? 1 : 0;
  }
  counted.from_s = std::max(counted.from_s, 0.0);
  return counted;
}

void add_series(SimulationResult& result, const ServingRecord& record, double gpus,
                double instances) {
  const double width = record.series.width();
  const auto buckets = std::min<std::size_t>(
      SeriesRecorder::kBuckets, static_cast<std::size_t>(std::ceil(record.end_s / width)));
  const auto add = [&](const char* name, const char* unit, const char* doc,
                       SeriesRecorder::Quantity quantity, double scale) {
    TimeSeries series;
    series.name = name;
    series.unit = unit;
    series.doc = doc;
    series.bucket_s = width;
    for (std::size_t i = 0; i < buckets; ++i) {
      series.values.push_back(record.series.buckets(quantity)[i] * scale);
    }
    result.series.push_back(std::move(series));
  };
  add("arrivals_per_s", "", "requests arriving", SeriesRecorder::arrivals, 1 / width);
  add("running_requests", "", "being read or generated", SeriesRecorder::running, 1 / width);
  add("waiting_requests", "", "queued", SeriesRecorder::waiting, 1 / width);
  add("output_tokens_per_s_per_gpu", "", "tokens generated", SeriesRecorder::output_tokens,
      1 / width / gpus);
  add("input_tokens_per_s_per_gpu", "", "prompt tokens read", SeriesRecorder::prompt_tokens,
      1 / width / gpus);
  add("kv_cache_use_tokens", "", "in use, all replicas", SeriesRecorder::cache_tokens, 1 / width);
  add("busy_fraction", "fraction", "of the instances", SeriesRecorder::busy, 1 / width / instances);
  TimeSeries emission;
  emission.name = "itl_s";
  emission.unit = "s";
  emission.doc = "time of a token of a sequence that generates; 0 where none does";
  emission.bucket_s = width;
  for (std::size_t i = 0; i < buckets; ++i) {
    const double tokens = record.series.buckets(SeriesRecorder::output_tokens)[i];
    const double seconds = record.series.buckets(SeriesRecorder::decoding)[i];
    emission.values.push_back(tokens > 0 ? seconds / tokens : 0);
  }
  result.series.push_back(std::move(emission));
}

/// The step that the run spent most time in: its mean decode batch, or its mean prompt step.
StepShape typical_step(const PoolTotals& totals, double replicas) {
  StepShape shape;
  const double decode_s = totals.busy_s - totals.prompt_s;
  if (totals.decoding_integral > 0 && decode_s > 0) {
    shape.decoding = totals.decoding_integral / totals.busy_s / replicas;
    shape.context = totals.context_integral / totals.decoding_integral;
  } else {
    shape.prompts = 1;
    shape.prompt_tokens =
        std::max(1.0, totals.prompt_tokens / std::max(1.0, totals.prompt_steps) / replicas);
  }
  return shape;
}

}  // namespace

void add_serving_memory(SimulationResult& result, const ServingPlan& plan, Basis basis) {
  const MetricWriter writer(result, basis);
  MetricGroup kinds;
  for (const auto& [kind, bytes] : plan.serving.room.memory.kinds) {
    if (bytes.value() > 0) {
      kinds.emplace_back(kind, writer.metric(bytes.value()));
    }
  }
  result.metrics.push_back(
      {"memory_bytes", "bytes", "on the fullest GPU, by kind, the cache full", std::move(kinds)});
  MetricWriter(result, basis)
      .add("kv_cache_tokens", "", "that fit the cache of one attention replica",
           plan.serving.room.tokens);
}

void add_serving_money(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                       Basis basis, double seconds, double busy_share, double output_tokens) {
  MetricWriter writer(result, basis);
  const double gpu_s = static_cast<double>(plan.gpus) * seconds;
  for (const GpuHourPrice& price : scenario.device->prices) {
    if (price.kind == PriceKind::on_demand) {
      writer.add("usd_per_million_output_tokens", "usd", price_text(price),
                 price.usd_per_gpu_hour / 3600.0 * gpu_s / output_tokens * 1e6);
      break;
    }
  }
  if (scenario.device->power) {
    const double busy = scenario.device->power->value.value();
    const double idle =
        scenario.device->idle_power ? scenario.device->idle_power->value.value() : busy;
    writer.add("joules_per_output_token", "j",
               "busy GPUs at the board power limit, idle ones at idle power: an upper bound",
               gpu_s * (busy_share * busy + (1 - busy_share) * idle) / output_tokens);
  }
}

Basis weakest_basis(const std::array<double, 4>& by_basis) {
  double total = 0;
  for (const double share : by_basis) {
    total += share;
  }
  Basis basis = Basis::measured;
  for (std::size_t i = 0; i < by_basis.size(); ++i) {
    if (by_basis[i] >= 0.1 * total && total > 0) {
      basis = static_cast<Basis>(i);
    }
  }
  return basis;
}

bool check_serving_memory(SimulationResult& result, const ServingPlan& plan) {
  const auto check = [&](const ServingPool& pool, const std::string& what) {
    if (pool.room.tokens > 0) {
      return;
    }
    const MemoryBudget& memory = pool.room.memory;
    const auto largest =
        std::max_element(memory.kinds.begin(), memory.kinds.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    result.feasibility.ok = false;
    result.feasibility.reasons.push_back(
        "out of memory: " + what + " leaves no room for a cache: " + quantity_text(memory.total) +
        " are needed without it and " + quantity_text(memory.available) +
        " may be planned for; largest part: " + largest->first + ", " +
        quantity_text(largest->second) +
        "; use more GPUs, smaller weights (/precision/weights), a smaller "
        "/serving/max_batched_tokens, or GPUs with more memory");
  };
  check(plan.serving, "a GPU");
  if (plan.prefill) {
    check(*plan.prefill, "a GPU of the prefill pool");
  }
  const bool host_holds = check_host_memory(result, plan.serving.room.memory);
  if (host_holds && plan.prefill) {
    check_host_memory(result, plan.prefill->room.memory);
  }
  if (!result.feasibility.ok) {
    add_serving_memory(result, plan, Basis::estimate);
  }
  return result.feasibility.ok;
}

void add_serving_metrics(SimulationResult& result, const Scenario& scenario,
                         const ServingPlan& plan, const ServingRecord& record) {
  Counted counted = count_requests(scenario, record);
  const double replicas = static_cast<double>(plan.serving.replicas_per_instance);
  const StepShape typical = typical_step(record.serving, replicas);
  const StepCost cost = plan.serving.times->cost(typical);
  add_breakdown(result, cost.by_kind, cost.by_basis);
  const Basis basis = weakest_basis(cost.by_basis);
  MetricWriter writer(result, basis);

  double refused = 0;
  for (const std::uint8_t flag : record.rejected) {
    refused += flag;
  }
  if (refused > 0) {
    const auto longest = std::max_element(record.requests.begin(), record.requests.end(),
                                          [](const RequestState& a, const RequestState& b) {
                                            return a.prompt + a.output < b.prompt + b.output;
                                          });
    result.feasibility.ok = false;
    result.feasibility.reasons.push_back(
        count_text(refused) + " of " + count_text(static_cast<double>(record.requests.size())) +
        " requests can never be served: the cache of a replica holds " +
        count_text(plan.serving.room.tokens) + " tokens, a step " +
        count_text(plan.serving.rules->token_budget) +
        (plan.serving.rules->chunks ? "" : " (and prompts are not chunked)") +
        "; the longest request has " + count_text(longest->prompt) + " prompt and " +
        count_text(longest->output) +
        " output tokens: use more or larger GPUs, /precision/kv_cache fp8, or "
        "/serving/chunked_prefill");
  }
  const double seconds = counted.to_s - counted.from_s;
  if (counted.done == 0 || seconds <= 0) {
    add_serving_memory(result, plan, basis);
    return;
  }
  const double gpus = static_cast<double>(plan.gpus);
  writer.add("output_tokens_per_s_per_gpu", "", "tokens generated, first arrival to last token",
             counted.output_tokens / seconds / gpus);
  writer.add("input_tokens_per_s_per_gpu", "", "prompt tokens, cached ones included",
             counted.prompt_tokens / seconds / gpus);
  writer.add("requests_per_s", "", "finished, whole system", counted.done / seconds);
  if (scenario.spec.slo.ttft_s || scenario.spec.slo.tpot_s || scenario.spec.slo.latency_s) {
    writer.add("goodput_requests_per_s", "", "finished within the limits of /slo",
               counted.good / seconds);
    writer.add("slo_fraction", "fraction", "of the requests that keep the limits of /slo",
               counted.good / counted.done);
  }
  writer.add("ttft_s", "arrival to first token", counted.ttft);
  writer.add("tpot_s", "first to last token, per further token", counted.tpot);
  writer.add_histogram("itl_s", "time between two emissions of a request: decode steps",
                       record.step_s);
  writer.add("latency_s", "arrival to last token", counted.latency);
  writer.add("queueing_s", "arrival to admission", counted.queueing);

  const PoolTotals& totals = record.serving;
  const double instances = static_cast<double>(plan.serving.instances * plan.serving.independent);
  const double all_s = std::max(record.end_s, 1e-12) * instances;
  const double busy = totals.busy_s / all_s;
  writer.add("busy_fraction", "fraction", "of time in which an instance steps", busy);
  if (totals.decoding_integral > 0) {
    writer.add("decode_batch_mean", "", "sequences that generate on a replica, while it steps",
               totals.decoding_integral / totals.busy_s / replicas);
    writer.add("context_tokens_mean", "", "cached tokens of these",
               totals.context_integral / totals.decoding_integral);
  }
  writer.add("running_requests_mean", "", "whole system", totals.running_integral / record.end_s);
  writer.add("waiting_requests_mean", "", "whole system",
             (totals.waiting_integral + record.prefill.waiting_integral) / record.end_s);
  writer.add("prompt_step_fraction", "fraction", "of busy time in steps that read prompts",
             totals.busy_s > 0 ? totals.prompt_s / totals.busy_s : 0);
  writer.add("kv_cache_use_fraction", "fraction", "of the cache, mean while stepping",
             totals.busy_s > 0
                 ? totals.cache_integral / totals.busy_s / replicas / plan.serving.room.tokens
                 : 0);
  writer.add("kv_cache_peak_fraction", "fraction", "fullest moment of an instance",
             totals.peak_cache_fraction);
  if (totals.preemptions > 0) {
    writer.add("preemptions", "", "requests put back because the cache was full",
               static_cast<double>(totals.preemptions));
  }
  if (totals.swap_s > 0) {
    writer.add("swap_stall_s", "s", "steps waited for caches crossing PCIe, sum", totals.swap_s);
  }
  if (replicas > 1 && totals.busy_s > 0) {
    writer.add("rank_wait_fraction", "fraction",
               "own time of the slowest attention rank over the mean, minus 1",
               totals.imbalance_integral / totals.busy_s);
  }
  if (counted.cached_tokens > 0) {
    writer.add("prefix_hit_fraction", "fraction", "prompt tokens found in the prefix cache",
               counted.cached_tokens / counted.prompt_tokens);
  }
  double prefill_busy = 0;
  if (plan.prefill) {
    prefill_busy =
        record.prefill.busy_s /
        (record.end_s * static_cast<double>(plan.prefill->instances * plan.prefill->independent));
    writer.add("prefill_busy_fraction", "fraction", "of time in which a prefill instance steps",
               prefill_busy);
    if (record.transfers > 0) {
      writer.add("kv_transfer_s", "s", "cache of one request to the decode pool, mean",
                 record.transfer_s / record.transfers);
      writer.add("kv_blocked_s", "s", "read prompts waiting for room in the decode pool, mean",
                 record.blocked_s / record.transfers);
    }
  }
  add_serving_memory(result, plan, basis);
  const double own_gpus = static_cast<double>(scenario.ways.gpus * plan.serving.instances);
  add_serving_money(result, scenario, plan, basis, seconds,
                    (busy * own_gpus + prefill_busy * (gpus - own_gpus)) / gpus,
                    counted.output_tokens);
  add_series(result, record, gpus, instances);
}

void check_backlog(SimulationResult& result, const Scenario& scenario, const SteadyState& state,
                   const ServingRecord& record) {
  const ArrivalProcess process = scenario.spec.workload.arrival_process();
  if (!scenario.spec.workload.requests_per_s || process == ArrivalProcess::diurnal ||
      record.requests.size() < 200) {
    return;
  }
  // Requests waiting when the last quarter of arrivals began and when it ended: a queue in balance
  // does not gain a twentieth of what arrived in between.
  const double end = record.requests.back().arrival_s;
  const double begin = record.requests[record.requests.size() * 3 / 4].arrival_s;
  double at_begin = 0;
  double at_end = 0;
  for (const RequestState& request : record.requests) {
    const double admitted = request.admitted_s < 0 ? record.end_s : request.admitted_s;
    at_begin += request.arrival_s <= begin && admitted > begin ? 1 : 0;
    at_end += request.arrival_s <= end && admitted > end ? 1 : 0;
  }
  const double arrived = static_cast<double>(record.requests.size()) / 4;
  if (at_end > 20 && at_end - at_begin > 0.05 * arrived && at_begin > 0.02 * arrived) {
    result.feasibility.ok = false;
    result.feasibility.reasons.push_back("the queue grows without bound: " + count_text(at_begin) +
                                         " requests waited after three "
                                         "quarters of the arrivals and " +
                                         count_text(at_end) + " at their end; about " +
                                         plain_number_text(state.capacity_per_s, 3) +
                                         " requests/s can be served");
  }
}

}  // namespace moesim

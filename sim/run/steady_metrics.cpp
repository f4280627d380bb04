// SPDX-License-Identifier: Apache-2.0
// The figures of a serving scenario in closed form, and the verdict on loads that nothing can keep
// up with.
#include <cmath>

#include "sim/base/quantity_text.h"
#include "sim/run/serving_metrics.h"
#include "sim/run/step_metrics.h"

namespace moesim {

bool check_serving_rate(SimulationResult& result, const Scenario& scenario,
                        const SteadyState& state, double tolerated) {
  const ArrivalProcess process = scenario.spec.workload.arrival_process();
  if (!scenario.spec.workload.requests_per_s || process == ArrivalProcess::trace ||
      *scenario.spec.workload.requests_per_s <= tolerated * state.capacity_per_s) {
    return true;
  }
  result.feasibility.ok = false;
  result.feasibility.reasons.push_back(
      "the queue grows without bound: " + count_text(*scenario.spec.workload.requests_per_s) +
      " requests/s arrive and at most " + plain_number_text(state.capacity_per_s, 3) +
      " can be served, with " + plain_number_text(state.largest_batch, 3) +
      " sequences a replica, limited by " + state.limited_by);
  const double factor = *scenario.spec.workload.requests_per_s / state.capacity_per_s;
  result.feasibility.reasons.push_back(
      "what would do: /serving/instances " +
      count_text(std::ceil(static_cast<double>(scenario.spec.serving.instances) * factor * 1.1)) +
      ", or /workload/requests_per_s below " + plain_number_text(0.9 * state.capacity_per_s, 2));
  return false;
}

void add_steady_metrics(SimulationResult& result, const Scenario& scenario, const ServingPlan& plan,
                        const RequestStream& stream, const SteadyState& state) {
  StepShape shape;
  shape.decoding = std::max(1.0, state.decode_batch);
  shape.context = state.context;
  const StepCost cost = plan.serving.times->cost(shape);
  add_breakdown(result, cost.by_kind, cost.by_basis);
  const Basis basis = weakest_basis(cost.by_basis);
  const auto plain = [&](double value) {
    Metric metric;
    metric.value = value;
    metric.basis = basis;
    return metric;
  };
  const auto add = [&](const char* name, const char* unit, const char* doc, double value) {
    result.metrics.push_back({name, unit, doc, plain(value)});
  };
  // The closed form knows means; a point stands for the distribution, as for one step.
  const auto add_mean = [&](const char* name, const char* doc, double value) {
    const Metric metric = plain(value);
    result.metrics.push_back({name, "s", doc, Distribution{metric, metric, metric, metric}});
  };
  const double gpus = static_cast<double>(plan.gpus);
  add("output_tokens_per_s_per_gpu", "", "tokens generated, first arrival to last token",
      state.requests_per_s * stream.mean_output() / gpus);
  add("input_tokens_per_s_per_gpu", "", "prompt tokens, cached ones included",
      state.requests_per_s * stream.mean_prompt() / gpus);
  add("requests_per_s", "", "finished, whole system", state.requests_per_s);
  add("capacity_requests_per_s", "", "at the largest batch, whole system", state.capacity_per_s);
  add_mean("ttft_s", "arrival to first token, mean", state.ttft_s);
  if (stream.mean_output() > 1) {
    add_mean("tpot_s", "first to last token, per further token, mean", state.tpot_s);
  }
  add_mean("latency_s", "arrival to last token, mean", state.latency_s);
  add_mean("queueing_s", "arrival to admission, mean", state.queueing_s);
  add("busy_fraction", "fraction", "of time in which an instance steps", state.busy);
  add("decode_batch_mean", "", "sequences that generate on a replica", state.decode_batch);
  add("context_tokens_mean", "", "cached tokens of these", state.context);
  add("prompt_step_fraction", "fraction", "of busy time in steps that read prompts",
      state.prompt_step_share);
  add_serving_memory(result, plan, basis);
  add_serving_money(result, scenario, plan, basis, 1 / state.requests_per_s, state.busy,
                    stream.mean_output());
  result.findings.push_back(
      "closed form: means only, quantiles repeat them; --fidelity event simulates every request");
}

void add_serving_findings(SimulationResult& result, const SteadyState& state) {
  double total = 0;
  const BreakdownRow* largest = nullptr;
  for (const BreakdownRow& row : result.breakdown) {
    total += row.seconds;
    largest = largest == nullptr || row.seconds > largest->seconds ? &row : largest;
  }
  const auto percent = [](double share) { return plain_number_text(share * 100, 2) + "%"; };
  if (largest != nullptr && total > 0) {
    result.findings.push_back("most of a typical step goes into " + largest->kind + ": " +
                              percent(largest->seconds / total) + " (" + largest->doc + ")");
  }
  if (const NamedMetric* prompts = result.find("prompt_step_fraction")) {
    const double share = std::get<Metric>(prompts->value).value;
    if (share > 0.02) {
      result.findings.push_back("steps that read prompts take " + percent(share) +
                                " of busy time; sequences that generate wait in them");
    }
  }
  std::string limit = "at most " + plain_number_text(state.capacity_per_s, 3) +
                      " requests/s can be served, with " +
                      plain_number_text(state.largest_batch, 3) +
                      " sequences a replica, limited by " + state.limited_by;
  if (state.steady_requests_per_s > 0 && state.capacity_per_s > 0) {
    limit += "; this load is " +
             percent(std::min(1.0, state.steady_requests_per_s / state.capacity_per_s)) + " of it";
  }
  result.findings.push_back(limit);
  if (const NamedMetric* peak = result.find("kv_cache_peak_fraction")) {
    if (std::get<Metric>(peak->value).value > 0.95) {
      result.findings.push_back(
          "the cache fills: try /precision/kv_cache = fp8, more GPUs, or a larger "
          "/runtime/memory_utilisation");
    }
  }
}

void add_fidelity_gap(SimulationResult& result, const RequestStream& stream,
                      const ServingPlan& plan, const SteadyState& state) {
  const auto percent = [](double value, double closed) {
    const double gap = (value / closed - 1) * 100;
    return std::string(gap >= 0 ? "+" : "") + plain_number_text(gap, 2) + "%";
  };
  const NamedMetric* tpot = result.find("tpot_s");
  const NamedMetric* ttft = result.find("ttft_s");
  if (result.find("output_tokens_per_s_per_gpu") == nullptr || ttft == nullptr) {
    return;
  }
  const double closed =
      state.requests_per_s * stream.mean_output() / static_cast<double>(plan.gpus);
  std::string text = "the closed form gives " + plain_number_text(closed, 4) +
                     " output tokens/s/GPU; the run differs by " +
                     percent(result.metric("output_tokens_per_s_per_gpu").value, closed);
  if (tpot != nullptr && state.tpot_s > 0) {
    text += ", TPOT by " + percent(std::get<Distribution>(tpot->value).mean.value, state.tpot_s);
  }
  text += ", TTFT by " + percent(std::get<Distribution>(ttft->value).mean.value, state.ttft_s);
  result.findings.push_back(text);
}

}  // namespace moesim

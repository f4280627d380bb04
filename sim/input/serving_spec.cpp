// SPDX-License-Identifier: Apache-2.0
#include "sim/input/serving_spec.h"

#include "sim/input/scenario.h"

namespace moesim {

std::span<const Choice<ArrivalProcess>> choices_of(ArrivalProcess) {
  static constexpr Choice<ArrivalProcess> kChoices[] = {
      {ArrivalProcess::automatic, "automatic",
       "closed when a concurrency is given, trace when a request trace is, else poisson"},
      {ArrivalProcess::closed, "closed", "a finished request is followed by the next at once"},
      {ArrivalProcess::poisson, "poisson", "independent arrivals at a constant rate"},
      {ArrivalProcess::gamma, "gamma", "bursts: gamma distributed gaps of the given burst_cv"},
      {ArrivalProcess::weibull, "weibull",
       "bursts: Weibull distributed gaps of the given burst_cv"},
      {ArrivalProcess::diurnal, "diurnal",
       "Poisson with the rate times 1 + rate_amplitude * sin(2 pi t / rate_period_s)"},
      {ArrivalProcess::trace, "trace", "arrival times of a recorded request trace"},
      {ArrivalProcess::offline, "offline", "all requests wait at the start"},
  };
  return kChoices;
}

std::span<const Choice<LengthLaw>> choices_of(LengthLaw) {
  static constexpr Choice<LengthLaw> kChoices[] = {
      {LengthLaw::fixed, "fixed", "every request has prompt_tokens and output_tokens"},
      {LengthLaw::range, "range", "uniform between length_ratio and 1 times the nominal lengths"},
      {LengthLaw::lognormal, "lognormal",
       "lognormal with the given means and coefficients of variation"},
      {LengthLaw::exponential, "exponential", "exponential with the given means, at least one"},
      {LengthLaw::trace, "trace", "lengths of a recorded request trace, in its order"},
  };
  return kChoices;
}

std::span<const Choice<EnginePreset>> choices_of(EnginePreset) {
  static constexpr Choice<EnginePreset> kChoices[] = {
      {EnginePreset::vllm, "vllm", "decode first, prompts fill the rest of the token budget"},
      {EnginePreset::sglang, "sglang", "prompts first, in steps of their own; decode waits"},
      {EnginePreset::tensorrt_llm, "tensorrt_llm",
       "in-flight batching; a request is admitted when its whole output has room"},
  };
  return kChoices;
}

std::span<const Choice<PreemptionMode>> choices_of(PreemptionMode) {
  static constexpr Choice<PreemptionMode> kChoices[] = {
      {PreemptionMode::recompute, "recompute", "the cache is dropped and read again later"},
      {PreemptionMode::swap, "swap", "the cache moves to host memory and back over PCIe"},
  };
  return kChoices;
}

std::span<const Choice<RequestBalance>> choices_of(RequestBalance) {
  static constexpr Choice<RequestBalance> kChoices[] = {
      {RequestBalance::least_requests, "least_requests", "to the replica with fewest requests"},
      {RequestBalance::round_robin, "round_robin", "in turn"},
  };
  return kChoices;
}

const Fields<PrefillPoolSpec>& fields_of(const PrefillPoolSpec*) {
  static const Fields<PrefillPoolSpec> table =
      Fields<PrefillPoolSpec>(
          "prefill_pool", "replicas that only read prompts; the scenario's own then only decode")
          .add("instances", &PrefillPoolSpec::instances,
               {.doc = "copies of the prefill deployment; 0: prompts are read where they decode",
                .min = 0,
                .max = 65536})
          .add("nodes", &PrefillPoolSpec::nodes,
               {.doc = "nodes of one instance", .min = 1, .max = 65536})
          .add("tensor", &PrefillPoolSpec::tensor,
               {.doc = "as /parallelism/tensor", .min = 1, .max = 65536})
          .add("data", &PrefillPoolSpec::data,
               {.doc = "as /parallelism/data", .min = 1, .max = 65536})
          .add("expert", &PrefillPoolSpec::expert,
               {.doc = "as /parallelism/expert", .min = 1, .max = 65536})
          .add("expert_tensor", &PrefillPoolSpec::expert_tensor,
               {.doc = "as /parallelism/expert_tensor", .min = 1, .max = 65536})
          .add("overlap", &PrefillPoolSpec::overlap,
               {.doc = "as /communication/overlap; absent: the same"});
  return table;
}

const Fields<FailureSpec>& fields_of(const FailureSpec*) {
  static const Fields<FailureSpec> table =
      Fields<FailureSpec>("failure", "one instance stops and comes back")
          .add("at_s", &FailureSpec::at_s,
               {.doc = "when the first instance stops; absent: never", .unit = "s", .min = 0})
          .add("recovery_s", &FailureSpec::recovery_s,
               {.doc = "until it serves again", .unit = "s", .min = 0, .max = 1e9});
  return table;
}

const Fields<ServingConfig>& fields_of(const ServingConfig*) {
  static const Fields<ServingConfig> table =
      Fields<ServingConfig>("serving", "the serving engine: batching, cache, replicas")
          .add("engine", &ServingConfig::engine, {.doc = "preset of all keys that are absent"})
          .add("instances", &ServingConfig::instances,
               {.doc = "copies of the whole deployment that share the requests",
                .min = 1,
                .max = 65536})
          .add("balance", &ServingConfig::balance, {.doc = "which replica takes a request"})
          .add("max_batched_tokens", &ServingConfig::max_batched_tokens,
               {.doc = "token budget of one step of a replica; absent: the preset's",
                .min = 1,
                .max = 1e7})
          .add("max_sequences", &ServingConfig::max_sequences,
               {.doc = "requests in flight on a replica; absent: the preset's",
                .min = 1,
                .max = 1e6})
          .add("chunked_prefill", &ServingConfig::chunked_prefill,
               {.doc = "a prompt may be read in several steps; absent: the preset's"})
          .add("mixed_batches", &ServingConfig::mixed_batches,
               {.doc = "prompts join decode steps; absent: the preset's"})
          .add("kv_block_tokens", &ServingConfig::kv_block_tokens,
               {.doc = "tokens of a cache block; absent: the preset's", .min = 1, .max = 65536})
          .add("kv_cache_tokens", &ServingConfig::kv_cache_tokens,
               {.doc = "tokens that a replica's cache holds; absent: what memory leaves",
                .min = 1,
                .max = 1e12})
          .add("watermark_fraction", &ServingConfig::watermark_fraction,
               {.doc = "share of the cache kept free when admitting; absent: the preset's",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("output_reserve_fraction", &ServingConfig::output_reserve_fraction,
               {.doc = "share of outstanding output that admission reserves; absent: the preset's",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("preemption", &ServingConfig::preemption,
               {.doc = "what happens to the youngest request when the cache is full"})
          .add("prefix_cache", &ServingConfig::prefix_cache,
               {.doc = "equal leading prompt blocks are computed once"})
          .add("cuda_graphs", &ServingConfig::cuda_graphs,
               {.doc = "decode steps replay captured graphs; absent: the preset's"})
          .add(
              "graph_batch_sizes", &ServingConfig::graph_batch_sizes,
              {.doc = "captured batch sizes, ascending; empty: the preset's", .min = 1, .max = 1e6})
          .add("host_overhead_s", &ServingConfig::host_overhead_s,
               {.doc = "host time of a step that the GPUs wait for; absent: the preset's",
                .unit = "s",
                .min = 0,
                .max = 10})
          .add("host_overhead_per_sequence_s", &ServingConfig::host_overhead_per_sequence_s,
               {.doc = "the same for every sequence of the step; absent: the preset's",
                .unit = "s",
                .min = 0,
                .max = 1})
          .add("host_kernel_s", &ServingConfig::host_kernel_s,
               {.doc = "host time to start one kernel outside a graph; at least the device's own "
                       "(launch_eager), which is all that compiled engines take; absent: 50 us, of "
                       "Python",
                .unit = "s",
                .min = 0,
                .max = 0.01})
          .add("prompt_wait_steps", &ServingConfig::prompt_wait_steps,
               {.doc = "replicas that step together: prompts wait until every replica has one, at "
                       "most so many steps (TensorRT-LLM: attention_dp_config enable_balance, "
                       "timeout_iters); 0: no waiting",
                .unit = "steps",
                .min = 0,
                .max = 1e6})
          .add("prefill_pool", &ServingConfig::prefill_pool,
               {.doc = "prefill/decode disaggregation"})
          .add("failure", &ServingConfig::failure, {.doc = "one instance stops and comes back"})
          .add("two_batch_min_tokens", &ServingConfig::two_batch_min_tokens,
               {.doc = "overlap two_batch splits steps of at least so many tokens a replica",
                .min = 0,
                .max = 1e7});
  return table;
}

const Fields<SloConfig>& fields_of(const SloConfig*) {
  static const Fields<SloConfig> table =
      Fields<SloConfig>("slo", "limits that make a request count as good")
          .add("ttft_s", &SloConfig::ttft_s,
               {.doc = "time to first token", .unit = "s", .min = 0, .min_exclusive = true})
          .add("tpot_s", &SloConfig::tpot_s,
               {.doc = "mean time per further output token",
                .unit = "s",
                .min = 0,
                .min_exclusive = true})
          .add("latency_s", &SloConfig::latency_s,
               {.doc = "arrival to last token", .unit = "s", .min = 0, .min_exclusive = true});
  return table;
}

const Fields<AlertConfig>& fields_of(const AlertConfig*) {
  static const Fields<AlertConfig> table =
      Fields<AlertConfig>("alerts", "what may be exceeded before the report raises an alert")
          .add("window_s", &AlertConfig::window_s,
               {.doc = "serving: figures are judged over so long; absent: a twentieth of the run",
                .unit = "s",
                .min = 0,
                .max = 1e9,
                .min_exclusive = true})
          .add("slo_missed_fraction", &AlertConfig::slo_missed_fraction,
               {.doc = "of the requests that arrive in a window, beyond a limit of /slo",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("queue_growth_fraction", &AlertConfig::queue_growth_fraction,
               {.doc = "of the arrivals, by which the queue grows three windows in a row",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("kv_cache_fraction", &AlertConfig::kv_cache_fraction,
               {.doc = "of the cache in use, mean over a window",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("preempted_fraction", &AlertConfig::preempted_fraction,
               {.doc = "of all requests, preempted", .unit = "fraction", .min = 0, .max = 1})
          .add("rank_load_max_over_mean", &AlertConfig::rank_load_max_over_mean,
               {.doc = "busiest GPU's load over the mean, mean over layers", .min = 1, .max = 1e6})
          .add("expert_load_max_over_mean", &AlertConfig::expert_load_max_over_mean,
               {.doc = "serving: hottest expert's load over the mean, mean over layers",
                .min = 1,
                .max = 1e6})
          .add("dropped_fraction", &AlertConfig::dropped_fraction,
               {.doc = "serving: selections dropped at full experts",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("link_utilisation", &AlertConfig::link_utilisation,
               {.doc = "serving: of the busiest GPU's network rate, mean over a decode step",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("expert_stall_fraction", &AlertConfig::expert_stall_fraction,
               {.doc = "serving: of the time of a window's steps, waiting for experts that are not "
                       "on the GPU (/offload)",
                .unit = "fraction",
                .min = 0,
                .max = 1});
  return table;
}

void check_fault_times(const ScenarioSpec& spec, const std::string& file,
                       Diagnostics& diagnostics) {
  for (std::size_t i = 0; i < spec.faults.size(); ++i) {
    const FaultSpec& fault = spec.faults[i];
    const std::string at = "/faults/" + std::to_string(i);
    if (fault.at_s && spec.workload.kind != WorkloadKind::serving) {
      diagnostics.add(file, at + "/at_s", "a single step has no time",
                      "leave it out, or /workload/kind serving");
    }
    if (fault.compute_fraction && spec.workload.kind != WorkloadKind::serving) {
      diagnostics.add(file, at + "/compute_fraction", "a single step has no slow GPUs as faults",
                      "leave it out and use /runtime/straggler_factor with fidelity event, or "
                      "/workload/kind serving");
    }
    if (fault.compute_fraction && fault.rate_fraction > 0) {
      diagnostics.add(file, at + "/rate_fraction", "is of links, compute_fraction of a GPU",
                      "one of both; two faults for both");
    }
    if (fault.lasts_s && !fault.at_s) {
      diagnostics.add(file, at + "/lasts_s", "needs /faults/" + std::to_string(i) + "/at_s",
                      "a fault without a beginning is there all the time");
    }
  }
}

void check_serving(const ScenarioSpec& spec, const ModelCard& model, const std::string& file,
                   Diagnostics& diagnostics) {
  const WorkloadSpec& workload = spec.workload;
  const ArrivalProcess arrivals = workload.arrival_process();
  if (arrivals == ArrivalProcess::closed && !workload.concurrency) {
    diagnostics.add(file, "/workload/concurrency", "is missing",
                    "a closed loop needs the number of requests in flight");
  }
  const bool has_rate = arrivals == ArrivalProcess::poisson || arrivals == ArrivalProcess::gamma ||
                        arrivals == ArrivalProcess::weibull || arrivals == ArrivalProcess::diurnal;
  if (has_rate && !workload.requests_per_s) {
    diagnostics.add(file, "/workload/requests_per_s", "is missing",
                    "give the mean rate, or /workload/concurrency for a closed loop");
  }
  if (!has_rate && workload.requests_per_s) {
    diagnostics.add(file, "/workload/requests_per_s",
                    "is not used by arrivals of kind " + choice_name(arrivals),
                    "leave it out, or choose poisson, gamma, weibull or diurnal");
  }
  const bool needs_trace =
      arrivals == ArrivalProcess::trace || workload.lengths == LengthLaw::trace;
  if (needs_trace && workload.request_trace.empty()) {
    diagnostics.add(file, "/workload/request_trace", "is missing",
                    "name a CSV file with arrival_s, prompt_tokens and output_tokens");
  }
  if (!needs_trace && !workload.request_trace.empty()) {
    diagnostics.add(file, "/workload/request_trace", "is not used",
                    "leave it out, or set /workload/arrivals or /workload/lengths to trace");
  }
  if (model.max_context > 0 && workload.lengths != LengthLaw::trace &&
      workload.prompt_tokens + workload.output_tokens > static_cast<double>(model.max_context)) {
    diagnostics.add(file, "/workload/prompt_tokens",
                    number_text(workload.prompt_tokens) + " and " +
                        number_text(workload.output_tokens) +
                        " output tokens are longer than the model's context",
                    "allowed: together at most " + std::to_string(model.max_context));
  }
  if (workload.shared_prefix_tokens > workload.prompt_tokens) {
    diagnostics.add(file, "/workload/shared_prefix_tokens",
                    number_text(workload.shared_prefix_tokens) + " is longer than the prompt",
                    "allowed: at most " + number_text(workload.prompt_tokens));
  }
  for (std::size_t i = 1; i < spec.serving.graph_batch_sizes.size(); ++i) {
    if (spec.serving.graph_batch_sizes[i] <= spec.serving.graph_batch_sizes[i - 1]) {
      diagnostics.add(file, "/serving/graph_batch_sizes/" + std::to_string(i),
                      std::to_string(spec.serving.graph_batch_sizes[i]) + " does not ascend");
    }
  }
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The keys that only a serving scenario uses: how requests arrive and how long they are, how the
// serving engine forms its batches, and what the operator has promised.
//
// `/workload` carries the requests, `/serving` the engine, `/slo` the promise. Engine keys that are
// absent take the values of the preset (`/serving/engine`); the presets and their sources stand in
// sim/serving/batch_scheduler.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/field_table.h"

namespace moesim {

enum class OverlapRule : std::uint8_t;  // input/scenario.h

enum class ArrivalProcess : std::uint8_t {
  automatic,
  closed,
  poisson,
  gamma,
  weibull,
  diurnal,
  trace,
  offline
};
std::span<const Choice<ArrivalProcess>> choices_of(ArrivalProcess);

enum class LengthLaw : std::uint8_t { fixed, range, lognormal, exponential, trace };
std::span<const Choice<LengthLaw>> choices_of(LengthLaw);

enum class EnginePreset : std::uint8_t { vllm, sglang, tensorrt_llm };
std::span<const Choice<EnginePreset>> choices_of(EnginePreset);

enum class PreemptionMode : std::uint8_t { recompute, swap };
std::span<const Choice<PreemptionMode>> choices_of(PreemptionMode);

enum class RequestBalance : std::uint8_t { least_requests, round_robin };
std::span<const Choice<RequestBalance>> choices_of(RequestBalance);

/// Replicas that only read prompts and send the cache to the others; `instances` 0: there are none.
struct PrefillPoolSpec {
  std::int64_t instances = 0;
  std::int64_t nodes = 1;  ///< of one instance
  std::int64_t tensor = 1;
  std::optional<std::int64_t> data;
  std::optional<std::int64_t> expert;
  std::int64_t expert_tensor = 1;
  std::optional<OverlapRule> overlap;  ///< absent: that of the decoding instances
};

/// One instance stops at `at_s` and is back `recovery_s` later; its requests start again elsewhere.
struct FailureSpec {
  std::optional<double> at_s;
  double recovery_s = 60;
};

/// How the engine forms batches and keeps the cache. Counts are per attention replica, as the
/// engines' own flags are.
struct ServingConfig {
  EnginePreset engine = EnginePreset::vllm;
  std::int64_t instances = 1;  ///< copies of the whole deployment that share the requests
  RequestBalance balance = RequestBalance::least_requests;
  std::optional<std::int64_t> max_batched_tokens;  ///< token budget of one step
  std::optional<std::int64_t> max_sequences;       ///< requests in flight
  std::optional<bool> chunked_prefill;             ///< a prompt may be read in several steps
  std::optional<bool> mixed_batches;               ///< prompts join decode steps
  std::int64_t prompt_wait_steps = 0;              ///< prompts wait for those of the other replicas
  std::optional<std::int64_t> kv_block_tokens;     ///< page of the cache
  std::optional<double> kv_cache_tokens;           ///< absent: what the memory model leaves
  std::optional<double> watermark_fraction;        ///< of the cache kept free when admitting
  std::optional<double> output_reserve_fraction;  ///< of outstanding output reserved when admitting
  PreemptionMode preemption = PreemptionMode::recompute;
  bool prefix_cache = true;                     ///< equal leading prompt blocks are computed once
  std::optional<bool> cuda_graphs;              ///< decode steps replay captured graphs
  std::vector<std::int64_t> graph_batch_sizes;  ///< captured sizes; empty: the preset's
  std::optional<double> host_overhead_s;        ///< a step that the GPUs wait for
  std::optional<double> host_overhead_per_sequence_s;
  std::optional<double> host_kernel_s;  ///< to start one kernel outside a graph
  PrefillPoolSpec prefill_pool;
  FailureSpec failure;
  double two_batch_min_tokens = 0;  ///< two_batch overlap splits steps of at least so many tokens
};

/// What the operator promises; a request counts as good when it keeps every stated limit.
struct SloConfig {
  std::optional<double> ttft_s;
  std::optional<double> tpot_s;
  std::optional<double> latency_s;
};

/// What a run may do before it raises an alert (run/serving_alerts.h). Every rule says "above".
struct AlertConfig {
  std::optional<double> window_s;        ///< figures are judged over so long; absent: run / 20
  double slo_missed_fraction = 0.1;      ///< of a window's requests, beyond a limit of /slo
  double queue_growth_fraction = 0.1;    ///< of a window's arrivals, gained by the queue
  double kv_cache_fraction = 0.95;       ///< of the cache in use, mean over a window
  double preempted_fraction = 0.01;      ///< of all requests
  double rank_load_max_over_mean = 1.5;  ///< busiest GPU, mean over layers
  double expert_load_max_over_mean = 8;  ///< hottest expert, mean over layers
  double dropped_fraction = 0.01;        ///< of the selections, at full experts
  double link_utilisation = 0.9;         ///< of the busiest GPU's network rate, mean over a step
  double expert_stall_fraction = 0.5;    ///< of a window's steps, waiting for experts to arrive
};

const Fields<AlertConfig>& fields_of(const AlertConfig*);
const Fields<PrefillPoolSpec>& fields_of(const PrefillPoolSpec*);
const Fields<FailureSpec>& fields_of(const FailureSpec*);
const Fields<ServingConfig>& fields_of(const ServingConfig*);
const Fields<SloConfig>& fields_of(const SloConfig*);

struct ScenarioSpec;
struct ModelCard;

/// Times of faults belong to serving runs.
void check_fault_times(const ScenarioSpec& spec, const std::string& file, Diagnostics& diagnostics);
/// Checks of a serving workload that involve more than one key.
void check_serving(const ScenarioSpec& spec, const ModelCard& model, const std::string& file,
                   Diagnostics& diagnostics);

}  // namespace moesim

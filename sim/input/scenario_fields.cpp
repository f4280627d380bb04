// SPDX-License-Identifier: Apache-2.0
// The field tables of a scenario: every key with its doc, unit, range and default, once.
#include "sim/input/scenario.h"

namespace moesim {

std::span<const Choice<DenseEdit>> choices_of(DenseEdit) {
  static constexpr Choice<DenseEdit> kChoices[] = {
      {DenseEdit::active, "active", "as many parameters as a token uses"},
      {DenseEdit::total, "total", "as many parameters as all experts have"},
  };
  return kChoices;
}

std::span<const Choice<WorkloadKind>> choices_of(WorkloadKind) {
  static constexpr Choice<WorkloadKind> kChoices[] = {
      {WorkloadKind::step, "step", "one engine step, in steady state"},
      {WorkloadKind::serving, "serving", "requests over time, from arrival to last token"}};
  return kChoices;
}

std::span<const Choice<Phase>> choices_of(Phase) {
  static constexpr Choice<Phase> kChoices[] = {
      {Phase::decode, "decode", "every sequence generates its next token"},
      {Phase::prefill, "prefill", "prompts are read"},
      {Phase::mixed, "mixed", "prompts join a decode step (chunked prefill)"},
  };
  return kChoices;
}

std::span<const Choice<OverlapRule>> choices_of(OverlapRule) {
  static constexpr Choice<OverlapRule> kChoices[] = {
      {OverlapRule::serial, "serial", "communication waits for compute and the other way round"},
      {OverlapRule::shared_expert, "shared_expert",
       "shared experts run while tokens are dispatched and combined"},
      {OverlapRule::two_batch, "two_batch",
       "the batch is split in two; one half computes while the other communicates; weights are "
       "read twice"},
      {OverlapRule::perfect, "perfect",
       "communication hides behind compute entirely, a bound and not a schedule"},
  };
  return kChoices;
}

std::span<const Choice<DispatchKernel>> choices_of(DispatchKernel) {
  static constexpr Choice<DispatchKernel> kChoices[] = {
      {DispatchKernel::automatic, "automatic", "low_latency for decode, normal otherwise"},
      {DispatchKernel::low_latency, "low_latency",
       "one copy per selected expert, no SMs taken (DeepEP low latency)"},
      {DispatchKernel::normal, "normal",
       "one copy per node, then NVLink, on some SMs (DeepEP normal)"},
      {DispatchKernel::nvlink_one_sided, "nvlink_one_sided",
       "one copy per rank of one NVLink domain, stored where it is wanted (TensorRT-LLM)"},
      {DispatchKernel::nvlink_two_sided, "nvlink_two_sided",
       "one copy per rank of one NVLink domain, through buffers (TensorRT-LLM)"},
  };
  return kChoices;
}

std::span<const Choice<BackgroundKind>> choices_of(BackgroundKind) {
  static constexpr Choice<BackgroundKind> kChoices[] = {
      {BackgroundKind::kv_in, "kv_in", "each GPU receives caches from a node of another pool"},
      {BackgroundKind::kv_out, "kv_out", "each GPU sends caches to a node of another pool"},
      {BackgroundKind::gradient_sync, "gradient_sync",
       "each GPU sends to its equal in the next node: rings of data-parallel sums"},
      {BackgroundKind::expert_swap, "expert_swap",
       "each GPU receives weights from its equal half the nodes away: experts that move"},
      {BackgroundKind::host_to_gpu, "host_to_gpu",
       "each GPU reads host memory, over its PCIe lanes"},
      {BackgroundKind::gpu_to_host, "gpu_to_host",
       "each GPU writes host memory, over its PCIe lanes"},
      {BackgroundKind::stream, "stream", "/from sends to /to"},
  };
  return kChoices;
}

std::span<const Choice<Fidelity>> choices_of(Fidelity) {
  static constexpr Choice<Fidelity> kChoices[] = {
      {Fidelity::analytic, "analytic",
       "closed form per layer class, expected loads: microseconds a step"},
      {Fidelity::event, "event", "every rank and op as events, routing drawn per token"},
      {Fidelity::flow, "flow",
       "as event, with every exchange carried pair by pair over the topology, with contention"},
  };
  return kChoices;
}

const Fields<ModelEdits>& fields_of(const ModelEdits*) {
  static const Fields<ModelEdits> table =
      Fields<ModelEdits>("model_edits", "what-ifs on the model card")
          .add("experts", &ModelEdits::experts,
               {.doc = "routed experts of each MoE layer", .min = 1, .max = 65536})
          .add("top_k", &ModelEdits::top_k,
               {.doc = "experts that a token selects", .min = 1, .max = 1024})
          .add("expert_width", &ModelEdits::expert_width,
               {.doc = "inner width of a routed expert", .min = 1, .max = 1048576})
          .add("shared_experts", &ModelEdits::shared_experts,
               {.doc = "experts that every token passes", .min = 0, .max = 64})
          .add("pruned_experts", &ModelEdits::pruned_experts,
               {.doc = "of each layer: the least popular go, the others take their tokens",
                .min = 0,
                .max = 65536})
          .add("merged_experts", &ModelEdits::merged_experts,
               {.doc = "of each layer: so many pairs of the least popular become one expert each",
                .min = 0,
                .max = 65536})
          .add("added_experts", &ModelEdits::added_experts,
               {.doc = "of each layer: copies of the most popular, which share their tokens",
                .min = 0,
                .max = 65536})
          .add("layers_fraction", &ModelEdits::layers_fraction,
               {.doc = "share of each layer class that is kept",
                .unit = "fraction",
                .min = 0,
                .max = 8,
                .min_exclusive = true})
          .add("dense", &ModelEdits::dense,
               {.doc = "one feed-forward in place of the experts of each layer"});
  return table;
}

const Fields<ParallelismSpec>& fields_of(const ParallelismSpec*) {
  static const Fields<ParallelismSpec> table =
      Fields<ParallelismSpec>("parallelism", "how the model is split over the GPUs")
          .add("tensor", &ParallelismSpec::tensor,
               {.doc = "GPUs that split attention, dense layers and shared experts",
                .min = 1,
                .max = 65536})
          .add("data", &ParallelismSpec::data,
               {.doc = "attention replicas with batches of their own; absent: GPUs / (tensor * "
                       "pipeline)",
                .min = 1,
                .max = 65536})
          .add("expert", &ParallelismSpec::expert,
               {.doc = "GPUs that share out the experts; absent: GPUs / (expert_tensor * pipeline)",
                .min = 1,
                .max = 65536})
          .add("expert_tensor", &ParallelismSpec::expert_tensor,
               {.doc = "GPUs that split the matrices of each expert", .min = 1, .max = 65536})
          .add("pipeline", &ParallelismSpec::pipeline,
               {.doc = "stages of consecutive layers; only 1 in this version", .min = 1, .max = 1});
  return table;
}

const Fields<PrecisionSpec>& fields_of(const PrecisionSpec*) {
  static const Fields<PrecisionSpec> table =
      Fields<PrecisionSpec>("precision", "number formats")
          .add("weights", &PrecisionSpec::weights,
               {.doc = "of all matrices; absent: as the model card publishes them"})
          .add("experts", &PrecisionSpec::experts,
               {.doc = "of the routed experts; absent: as weights"})
          .add("attention", &PrecisionSpec::attention,
               {.doc = "of attention projections; absent: as weights"})
          .add("dense_ffn", &PrecisionSpec::dense_ffn,
               {.doc = "of feed-forward layers without experts; absent: as weights"})
          .add("shared_experts", &PrecisionSpec::shared_experts,
               {.doc = "of experts that every token passes; absent: as weights"})
          .add("embeddings", &PrecisionSpec::embeddings,
               {.doc = "of embedding and output head; absent: as weights"})
          .add(
              "cold_experts", &PrecisionSpec::cold_experts,
              {.doc = "of the least popular routed experts, see cold_fraction; they compute as the "
                      "others do"})
          .add("cold_fraction", &PrecisionSpec::cold_fraction,
               {.doc = "share of a layer's experts that are stored in cold_experts",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("kv_cache", &PrecisionSpec::kv_cache, {.doc = "of cached keys, values and latents"})
          .add("dispatch", &PrecisionSpec::dispatch,
               {.doc = "of tokens on their way to the experts; absent: fp8_block for models with "
                       "fp8 experts, else bf16"})
          .add("combine", &PrecisionSpec::combine, {.doc = "of expert outputs on their way back"});
  return table;
}

const Fields<WorkloadSpec>& fields_of(const WorkloadSpec*) {
  static const Fields<WorkloadSpec> table =
      Fields<WorkloadSpec>("workload", "what is served")
          .add("kind", &WorkloadSpec::kind, {.doc = "what is simulated"})
          .add("phase", &WorkloadSpec::phase, {.doc = "decode, prefill or both in one step"})
          .add("batch_per_gpu", &WorkloadSpec::batch_per_gpu,
               {.doc = "sequences in flight a GPU", .min = 0, .max = 1e6, .min_exclusive = true})
          .add("context_tokens", &WorkloadSpec::context_tokens,
               {.doc = "decode: tokens already cached a sequence, mean", .min = 0, .max = 1e8})
          .add("prompt_tokens", &WorkloadSpec::prompt_tokens,
               {.doc = "prefill, mixed: new prompt tokens a sequence in this step",
                .min = 1,
                .max = 1e8})
          .add("cached_prompt_tokens", &WorkloadSpec::cached_prompt_tokens,
               {.doc = "prefill, mixed: prompt tokens that are already in the cache",
                .min = 0,
                .max = 1e8})
          .add("prefills_per_gpu", &WorkloadSpec::prefills_per_gpu,
               {.doc = "mixed: prompts that join the decode step, a GPU", .min = 0, .max = 1e6})
          .add("output_tokens", &WorkloadSpec::output_tokens,
               {.doc = "tokens that a request generates", .min = 1, .max = 1e8})
          .add("draft_tokens", &WorkloadSpec::draft_tokens,
               {.doc = "decode: speculative tokens verified with each real one",
                .min = 0,
                .max = 64})
          .add("acceptance", &WorkloadSpec::acceptance,
               {.doc = "chance that a draft token is right, given that those before it were",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("arrivals", &WorkloadSpec::arrivals, {.doc = "serving: how requests arrive"})
          .add("concurrency", &WorkloadSpec::concurrency,
               {.doc = "serving, closed loop: requests in flight, whole system",
                .min = 1,
                .max = 1e7})
          .add("requests_per_s", &WorkloadSpec::requests_per_s,
               {.doc = "serving: mean arrival rate, whole system",
                .unit = "1/s",
                .min = 0,
                .max = 1e7,
                .min_exclusive = true})
          .add("burst_cv", &WorkloadSpec::burst_cv,
               {.doc = "serving, gamma and weibull: coefficient of variation of the gaps",
                .min = 0.1,
                .max = 100})
          .add("rate_amplitude", &WorkloadSpec::rate_amplitude,
               {.doc = "serving, diurnal: swing of the rate around its mean",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("rate_period_s", &WorkloadSpec::rate_period_s,
               {.doc = "serving, diurnal: length of one swing",
                .unit = "s",
                .min = 0,
                .max = 1e9,
                .min_exclusive = true})
          .add("requests", &WorkloadSpec::requests,
               {.doc = "serving: requests simulated; absent: 10 x concurrency, all of a trace, "
                       "those of duration_s, else 1,000",
                .min = 1,
                .max = 1e8})
          .add("duration_s", &WorkloadSpec::duration_s,
               {.doc = "serving: arrivals end after so long",
                .unit = "s",
                .min = 0,
                .max = 1e9,
                .min_exclusive = true})
          .add("warmup_requests", &WorkloadSpec::warmup_requests,
               {.doc = "serving: first arrivals that no figure counts", .min = 0, .max = 1e8})
          .add("lengths", &WorkloadSpec::lengths,
               {.doc = "serving: law of prompt and output lengths"})
          .add("length_ratio", &WorkloadSpec::length_ratio,
               {.doc = "serving, range: shortest over nominal length (InferenceX: 0.8)",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("prompt_cv", &WorkloadSpec::prompt_cv,
               {.doc = "serving, lognormal: coefficient of variation of prompts",
                .min = 0,
                .max = 100})
          .add("output_cv", &WorkloadSpec::output_cv,
               {.doc = "serving, lognormal: coefficient of variation of outputs",
                .min = 0,
                .max = 100})
          .add("request_trace", &WorkloadSpec::request_trace,
               {.doc = "serving, trace: CSV file with arrival_s, prompt_tokens, output_tokens and "
                       "perhaps block_hash_ids, plain or gzip, relative to the scenario file"})
          .add("trace_speed", &WorkloadSpec::trace_speed,
               {.doc = "serving, trace: arrivals come so many times faster",
                .min = 0,
                .max = 1e6,
                .min_exclusive = true})
          .add("shared_prefix_tokens", &WorkloadSpec::shared_prefix_tokens,
               {.doc = "serving: leading prompt tokens that the requests of a group share",
                .min = 0,
                .max = 1e8})
          .add("prefix_groups", &WorkloadSpec::prefix_groups,
               {.doc = "serving: different shared prefixes, equally likely", .min = 1, .max = 1e6});
  return table;
}

ArrivalProcess WorkloadSpec::arrival_process() const {
  if (arrivals != ArrivalProcess::automatic) {
    return arrivals;
  }
  if (concurrency) {
    return ArrivalProcess::closed;
  }
  return !request_trace.empty() && !requests_per_s ? ArrivalProcess::trace
                                                   : ArrivalProcess::poisson;
}

const Fields<CommunicationConfig>& fields_of(const CommunicationConfig*) {
  static const Fields<CommunicationConfig> table =
      Fields<CommunicationConfig>("communication", "all-to-all kernels and what hides them")
          .add("overlap", &CommunicationConfig::overlap, {.doc = "what runs at the same time"})
          .add("dispatch", &CommunicationConfig::dispatch,
               {.doc = "kernels of dispatch and combine"})
          .add("communication_sms", &CommunicationConfig::communication_sms,
               {.doc = "SMs that normal kernels take from compute; absent: the cluster profile's",
                .min = 0,
                .max = 1024});
  return table;
}

const Fields<RuntimeConfig>& fields_of(const RuntimeConfig*) {
  static const Fields<RuntimeConfig> table =
      Fields<RuntimeConfig>("runtime", "how the GPUs run a step")
          .add("host_overhead_s", &RuntimeConfig::host_overhead_s,
               {.doc = "host time of a step that the GPUs wait for",
                .unit = "s",
                .min = 0,
                .max = 10})
          .add("jitter_cv", &RuntimeConfig::jitter_cv,
               {.doc = "event fidelity: coefficient of variation of each op's time",
                .min = 0,
                .max = 2})
          .add("straggler_factor", &RuntimeConfig::straggler_factor,
               {.doc = "event fidelity: the first GPU is so many times slower",
                .min = 1,
                .max = 1000})
          .add("memory_utilisation", &RuntimeConfig::memory_utilisation,
               {.doc = "share of GPU memory that may be planned for",
                .unit = "fraction",
                .min = 0,
                .max = 1,
                .min_exclusive = true})
          .add("mla_prefill_absorbed", &RuntimeConfig::mla_prefill_absorbed,
               {.doc = "latent attention reads prompts in the absorbed form (SGLang on Hopper)"});
  return table;
}

const Fields<FaultSpec>& fields_of(const FaultSpec*) {
  static const Fields<FaultSpec> table =
      Fields<FaultSpec>("fault", "a dead or slow part of the cluster")
          .add(
              "where", &FaultSpec::where,
              {.doc =
                   "a node of the topology (\"node3/gpu1\": all its links) or a link (\"node0/gpu0 "
                   "-- pod0/leaf0\")",
               .required = true})
          .add("rate_fraction", &FaultSpec::rate_fraction,
               {.doc = "share of the rate that is left, below 1; 0: dead",
                .unit = "fraction",
                .min = 0,
                .max = 0.999999})
          .add("at_s", &FaultSpec::at_s,
               {.doc = "serving: when it begins, in the first instance; absent: it is there all "
                       "the time, in every instance",
                .unit = "s",
                .min = 0,
                .max = 1e9})
          .add("lasts_s", &FaultSpec::lasts_s,
               {.doc = "serving, with at_s: until all is as before; absent: as /recovery says",
                .unit = "s",
                .min = 0,
                .max = 1e9,
                .min_exclusive = true})
          .add("compute_fraction", &FaultSpec::compute_fraction,
               {.doc = "serving: share of its speed (arithmetic and memory alike) that the GPU "
                       "named has left; its links are whole and rate_fraction says nothing",
                .unit = "fraction",
                .min = 0.001,
                .max = 1});
  return table;
}

const Fields<BackgroundSpec>& fields_of(const BackgroundSpec*) {
  static const Fields<BackgroundSpec> table =
      Fields<BackgroundSpec>("background", "traffic that shares links with the step")
          .add("kind", &BackgroundSpec::kind, {.doc = "who sends to whom", .required = true})
          .add("bytes_per_s", &BackgroundSpec::bytes_per_s,
               {.doc = "offered by each GPU; absent: as much as the links let through",
                .unit = "bytes_per_s",
                .min = 1,
                .max = 1e15})
          .add("streams", &BackgroundSpec::streams,
               {.doc = "flows (queue pairs) that the bytes of one pair are spread over",
                .min = 1,
                .max = 1024})
          .add("from", &BackgroundSpec::from,
               {.doc = "kind stream: an endpoint of the topology, \"node0/gpu0\" or "
                       "\"node0/memory\""})
          .add("to", &BackgroundSpec::to, {.doc = "kind stream: another endpoint"});
  return table;
}

const Fields<RecoverySpec>& fields_of(const RecoverySpec*) {
  static const Fields<RecoverySpec> table =
      Fields<RecoverySpec>("recovery", "what happens when a part fails")
          .add("detection_s", &RecoverySpec::detection_s,
               {.doc = "until a failure is noticed", .unit = "s", .min = 0, .max = 1e7})
          .add("restart_s", &RecoverySpec::restart_s,
               {.doc = "start of the engine, without loading weights",
                .unit = "s",
                .min = 0,
                .max = 1e7})
          .add("spare_nodes", &RecoverySpec::spare_nodes,
               {.doc = "nodes kept ready; absent: a repair is waited for", .min = 0, .max = 1e6})
          .add("repair_s", &RecoverySpec::repair_s,
               {.doc = "until a node without a spare is back", .unit = "s", .min = 0, .max = 1e8});
  return table;
}

const Fields<ScenarioSpec>& fields_of(const ScenarioSpec*) {
  static const Fields<ScenarioSpec> table =
      Fields<ScenarioSpec>("scenario", "one question to answer")
          .add("schema", &ScenarioSpec::schema, {.doc = "moesim/scenario/1", .required = true})
          .add("name", &ScenarioSpec::name, {.doc = "one line, for people"})
          .add("description", &ScenarioSpec::description,
               {.doc = "what is asked and what is published about it"})
          .add("model", &ScenarioSpec::model,
               {.doc = "id of a model card, or the path of one", .required = true})
          .add("model_edits", &ScenarioSpec::model_edits, {.doc = "what-ifs on the model card"})
          .add("cluster", &ScenarioSpec::cluster,
               {.doc = "id of a cluster profile, or the path of one", .required = true})
          .add("nodes", &ScenarioSpec::nodes, {.doc = "nodes used", .min = 1, .max = 65536})
          .add("gpus_per_node", &ScenarioSpec::gpus_per_node,
               {.doc = "GPUs of each node that take part; absent: all", .min = 1, .max = 1024})
          .add("software", &ScenarioSpec::software,
               {.doc = "stack whose measured kernels run, trtllm-1.3.0rc20 for example, or a "
                       "framework for its newest version; none: the device profile's estimates "
                       "only; absent: the stack with most curves, for an op another that errs half "
                       "as much"})
          .add("parallelism", &ScenarioSpec::parallelism,
               {.doc = "how the model is split over the GPUs"})
          .add("precision", &ScenarioSpec::precision, {.doc = "number formats"})
          .add("workload", &ScenarioSpec::workload, {.doc = "what is served"})
          .add("routing", &ScenarioSpec::routing, {.doc = "which experts the tokens choose"})
          .add("capacity", &ScenarioSpec::capacity, {.doc = "places per expert"})
          .add("placement", &ScenarioSpec::placement, {.doc = "where experts live"})
          .add("offload", &ScenarioSpec::offload,
               {.doc = "experts below GPU memory, behind a cache"})
          .add("communication", &ScenarioSpec::communication,
               {.doc = "all-to-all kernels and what hides them"})
          .add("runtime", &ScenarioSpec::runtime, {.doc = "how the GPUs run a step"})
          .add("serving", &ScenarioSpec::serving, {.doc = "batching, cache and replicas over time"})
          .add("slo", &ScenarioSpec::slo, {.doc = "what the operator promises"})
          .add("alerts", &ScenarioSpec::alerts,
               {.doc = "what may be exceeded before the report raises an alert"})
          .add("fidelity", &ScenarioSpec::fidelity, {.doc = "how closely the step is simulated"})
          .add("faults", &ScenarioSpec::faults, {.doc = "dead or slow parts, and what they cost"})
          .add("background", &ScenarioSpec::background,
               {.doc = "other traffic on the links of the step: cache transfers, gradients, expert "
                       "swaps, host copies"})
          .add("recovery", &ScenarioSpec::recovery,
               {.doc = "what happens when a part fails; answered when there are faults"})
          .add("seed", &ScenarioSpec::seed, {.doc = "of every random stream", .min = 0});
  return table;
}

}  // namespace moesim

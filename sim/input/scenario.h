// SPDX-License-Identifier: Apache-2.0
// A scenario: one question to answer - a model on a cluster, how it is split, what it serves, how
// tokens are routed.
//
// `ScenarioSpec` is the file as written (every key, its range and default stand in one field
// table); `Scenario` is the valid, resolved question: cards loaded, parallel ways filled in and
// checked against model and cluster. Only `resolve` makes one, so whoever holds a Scenario needs no
// error paths.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/number_format.h"
#include "sim/input/card_library.h"
#include "sim/input/expert_config.h"
#include "sim/input/hardware_profile.h"
#include "sim/input/model_card.h"
#include "sim/input/serving_spec.h"

namespace moesim {

struct CurveFiles;
/// A dense model in place of a MoE one: the experts of each layer become one feed-forward of ...
enum class DenseEdit : std::uint8_t {
  active,  ///< ... as many parameters as a token uses
  total,   ///< ... as many as all experts have
};

/// What-ifs on a model card, so that studies can sweep them; absent keys keep the card's value.
struct ModelEdits {
  std::optional<std::int64_t> experts;         ///< routed experts of each MoE layer
  std::optional<std::int64_t> top_k;           ///< selections a token makes in each MoE layer
  std::optional<std::int64_t> expert_width;    ///< inner width of a routed expert
  std::optional<std::int64_t> shared_experts;  ///< experts that every token passes
  std::int64_t pruned_experts =
      0;  ///< the least popular of each layer go; others take their tokens
  std::int64_t merged_experts = 0;  ///< so many pairs of the least popular become one expert each
  std::int64_t added_experts = 0;   ///< copies of the most popular, each with half of its tokens
  std::optional<double>
      layers_fraction;             ///< keeps this share of each layer class, at least one layer
  std::optional<DenseEdit> dense;  ///< the dense model of equal active or total parameters
};

struct ParallelismSpec {
  std::int64_t tensor = 1;  ///< GPUs that split attention and dense layers
  std::optional<std::int64_t>
      data;  ///< attention replicas with batches of their own; absent: GPUs / (tensor * pipeline)
  std::optional<std::int64_t>
      expert;  ///< GPUs that share out the experts; absent: GPUs / (pipeline * expert_tensor)
  std::int64_t expert_tensor = 1;  ///< GPUs that split each expert
  std::int64_t pipeline = 1;       ///< stages of consecutive layers
};

struct PrecisionSpec {
  std::optional<NumberFormat> weights;  ///< of all matrices; absent: as the card publishes them
  std::optional<NumberFormat> experts;  ///< of the routed experts; absent: as `weights`
  // Single classes of tensors; absent: as `weights`. Router and norms stay in bf16.
  std::optional<NumberFormat> attention, dense_ffn, shared_experts, embeddings;
  std::optional<NumberFormat> cold_experts;  ///< of the least popular experts of each layer
  double cold_fraction = 0;                  ///< share of a layer's experts that are cold
  NumberFormat kv_cache = NumberFormat::bf16;
  std::optional<NumberFormat>
      dispatch;  ///< of tokens on their way to experts; absent: fp8_block for fp8 models, else bf16
  NumberFormat combine = NumberFormat::bf16;
};

enum class WorkloadKind : std::uint8_t { step, serving };
enum class Phase : std::uint8_t { decode, prefill, mixed };

struct WorkloadSpec {
  WorkloadKind kind = WorkloadKind::step;
  Phase phase = Phase::decode;
  double batch_per_gpu = 1;         ///< sequences in flight a GPU
  double context_tokens = 4096;     ///< decode: tokens already cached a sequence, mean
  double prompt_tokens = 4096;      ///< prefill and mixed: new tokens of a prompt in this step
  double cached_prompt_tokens = 0;  ///< prefill: tokens of the prompt that are already in the cache
  double prefills_per_gpu = 0;      ///< mixed: prompts that join the decode step, a GPU
  double output_tokens = 256;       ///< tokens a request generates (memory and request rates)
  double draft_tokens = 0;          ///< decode: speculative tokens verified with each real one
  double acceptance =
      0.85;  ///< chance that a draft token is right, given that those before it were

  // Serving only.
  ArrivalProcess arrivals = ArrivalProcess::automatic;
  std::optional<double> concurrency;     ///< closed loop: requests in flight, whole system
  std::optional<double> requests_per_s;  ///< mean rate, whole system
  double burst_cv = 1;                   ///< gamma, weibull: of the gaps
  double rate_amplitude = 0.6;           ///< diurnal
  double rate_period_s = 86400;          ///< diurnal
  std::optional<std::int64_t> requests;  ///< simulated; absent: see docs/serving.md
  std::optional<double> duration_s;      ///< arrivals end then, if `requests` has not ended them
  std::int64_t warmup_requests = 0;      ///< first arrivals that no figure counts
  LengthLaw lengths = LengthLaw::fixed;
  double length_ratio = 0.8;        ///< range: shortest over nominal
  double prompt_cv = 1;             ///< lognormal
  double output_cv = 1;             ///< lognormal
  std::string request_trace;        ///< file, relative to the scenario file
  double trace_speed = 1;           ///< arrivals of the trace come so many times faster
  double shared_prefix_tokens = 0;  ///< leading prompt tokens that all requests of a group share
  std::int64_t prefix_groups = 1;   ///< different shared prefixes, equally likely

  /// `arrivals` with automatic resolved.
  ArrivalProcess arrival_process() const;
};

enum class OverlapRule : std::uint8_t { serial, shared_expert, two_batch, perfect };
enum class DispatchKernel : std::uint8_t {
  automatic,
  low_latency,
  normal,
  nvlink_one_sided,
  nvlink_two_sided
};

struct CommunicationConfig {
  OverlapRule overlap = OverlapRule::serial;
  DispatchKernel dispatch = DispatchKernel::automatic;
  std::optional<std::int64_t>
      communication_sms;  ///< SMs that normal kernels take; absent: the profile's
};

struct RuntimeConfig {
  double host_overhead_s = 0;       ///< scheduler and sampling time a step that the GPUs wait for
  double jitter_cv = 0;             ///< event fidelity: coefficient of variation of each op's time
  double straggler_factor = 1;      ///< event fidelity: one GPU is so much slower
  double memory_utilisation = 0.9;  ///< fraction of GPU memory that may be planned for
  bool mla_prefill_absorbed = false;  ///< SGLang on Hopper runs prefill absorbed
};

enum class Fidelity : std::uint8_t { analytic, event, flow };

/// A dead or slow part of the cluster.
struct FaultSpec {
  std::string where;         ///< a node ("node3/gpu1") or a link ("node0/gpu0 -- pod0/leaf0")
  double rate_fraction = 0;  ///< of the rate that is left; 0: dead
  std::optional<double> at_s = {};     ///< serving: when it begins; absent: it is always there
  std::optional<double> lasts_s = {};  ///< serving, with at_s; absent: as /recovery says
  /// Serving: of its speed that a GPU has left (its links are whole); absent: a fault of links.
  std::optional<double> compute_fraction = {};
};

enum class BackgroundKind : std::uint8_t {
  kv_in,
  kv_out,
  gradient_sync,
  expert_swap,
  host_to_gpu,
  gpu_to_host,
  stream
};

/// Traffic that shares links with the step for as long as it lasts.
struct BackgroundSpec {
  BackgroundKind kind = BackgroundKind::kv_in;
  std::optional<double> bytes_per_s;  ///< offered by each GPU; absent: as much as links let through
  std::int64_t streams = 1;           ///< flows that the bytes of one pair are spread over
  std::string from, to;               ///< kind stream: names of two endpoints of the topology
};

/// What happens when a part fails.
struct RecoverySpec {
  double detection_s = 60;            ///< until the failure is noticed
  double restart_s = 120;             ///< engine start, without loading weights
  std::optional<double> spare_nodes;  ///< kept ready; absent: a repair is waited for
  double repair_s = 14400;            ///< until a node without a spare is back
};

struct ScenarioSpec {
  std::string schema = "moesim/scenario/1";
  std::string name;
  std::string description;
  std::string model;
  ModelEdits model_edits;
  std::string cluster;
  std::int64_t nodes = 1;
  std::optional<std::int64_t>
      gpus_per_node;     ///< GPUs of each node that take part; absent: all of them
  std::string software;  ///< stack whose measured kernels run: "trtllm-1.3.0rc20", "vllm", "none"
  ParallelismSpec parallelism;
  PrecisionSpec precision;
  WorkloadSpec workload;
  RoutingConfig routing;
  CapacityConfig capacity;
  PlacementConfig placement;
  OffloadConfig offload;
  CommunicationConfig communication;
  RuntimeConfig runtime;
  ServingConfig serving;
  SloConfig slo;
  AlertConfig alerts;
  Fidelity fidelity = Fidelity::analytic;
  std::vector<FaultSpec> faults;
  std::vector<BackgroundSpec> background;
  RecoverySpec recovery;
  std::int64_t seed = 1;
};

const Fields<FaultSpec>& fields_of(const FaultSpec*);
const Fields<BackgroundSpec>& fields_of(const BackgroundSpec*);
const Fields<RecoverySpec>& fields_of(const RecoverySpec*);
const Fields<ScenarioSpec>& fields_of(const ScenarioSpec*);

std::span<const Choice<DenseEdit>> choices_of(DenseEdit);
std::span<const Choice<WorkloadKind>> choices_of(WorkloadKind);
std::span<const Choice<Phase>> choices_of(Phase);
std::span<const Choice<OverlapRule>> choices_of(OverlapRule);
std::span<const Choice<DispatchKernel>> choices_of(DispatchKernel);
std::span<const Choice<BackgroundKind>> choices_of(BackgroundKind);
std::span<const Choice<Fidelity>> choices_of(Fidelity);

/// The ways in which the GPUs share the work; every factor known and consistent.
struct ParallelWays {
  std::int64_t gpus = 1;
  std::int64_t tensor = 1;
  std::int64_t data = 1;
  std::int64_t expert = 1;
  std::int64_t expert_tensor = 1;
  std::int64_t pipeline = 1;
};

/// A valid question. Cheap to copy: the cards are shared.
struct Scenario {
  ScenarioSpec spec;
  std::string file;  ///< where it came from, for messages; "" when made in memory
  std::shared_ptr<const ModelCard> model;  ///< with `model_edits` applied
  std::shared_ptr<const ClusterProfile> cluster;
  std::shared_ptr<const DeviceProfile> device;
  std::shared_ptr<const CurveFiles> curves;  ///< where the device's fitted curves are
  ParallelWays ways;
  std::optional<ParallelWays> prefill_ways;  ///< of /serving/prefill_pool, when there is one
  std::vector<std::pair<std::string, std::string>> card_hashes;  ///< card id, hash of its text
};

/// Reads the keys of a scenario, or of the one inside a result, unresolved. Throws InputError with
/// every problem; if there is one and `cards` are given, with names of cards that do not exist too.
ScenarioSpec load_scenario_spec(const std::string& path, const CardLibrary* cards = nullptr);
/// Loads the cards and checks everything that involves more than one key. Throws InputError with
/// every problem.
Scenario resolve(const ScenarioSpec& spec, const CardLibrary& cards, const std::string& file);
/// Both of the above.
Scenario load_scenario(const std::string& path, const CardLibrary& cards);

}  // namespace moesim

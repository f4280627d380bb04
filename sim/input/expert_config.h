// SPDX-License-Identifier: Apache-2.0
// The keys of a scenario about experts: /routing, /capacity, /placement and /offload as written in
// the file.
//
// Names of policies are enumerations here, so that reader, schema and messages know them; sim/moe
// has a table of policies with the same names (a test holds both together). Nothing is resolved
// here: moe/token_routing_input, moe/placement_plan and moe/expert_cache turn these words into
// loads, maps and caches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/field_table.h"

namespace moesim {

enum class RoutingModel : std::uint8_t {
  uniform,
  typical,
  gumbel,
  zipf,
  dirichlet,
  lognormal,
  power_law,
  counts,
  trace,
  domains
};
std::span<const Choice<RoutingModel>> choices_of(RoutingModel);

/// Which recorded tokens make up a batch.
enum class ReplayOrder { shuffled, token, window, sequence };
std::span<const Choice<ReplayOrder>> choices_of(ReplayOrder);

/// Temporal locality of decode and prefill traffic (moe/token_routing_local.h); absent keys take
/// the values fitted to recorded prefill, or to published decode, by the phase of the workload.
struct LocalityConfig {
  std::optional<double> repeat_fraction;    ///< of picks: an expert of the token before
  std::optional<double> affinity_fraction;  ///< of picks: the successor of an expert one layer up
  std::optional<double> segment_sigma;      ///< spread of a segment's tilt of the logits
  std::optional<double> segment_tokens;     ///< mean length of a segment
};

/// One domain of a mixture: a law of its own; popularities of domains are independent.
struct DomainConfig {
  std::string name;
  RoutingModel kind = RoutingModel::gumbel;  ///< any but domains
  double sigma = 0.7;
  double alpha = 1;
  std::string trace;
};

/// Shares of the domains from `start_s` on; they drift linearly over the last `drift_s` before.
struct DomainPhaseConfig {
  double start_s = 0;
  std::vector<double> shares;  ///< [domains]
  double drift_s = 0;
};

struct DomainBurstConfig {
  std::string domain;  ///< name of one
  double share = 0.5;  ///< of all traffic while the burst lasts
  double first_s = 0;
  double period_s = 0;  ///< 0: once
  double length_s = 60;
};

struct RoutingConfig {
  RoutingModel kind = RoutingModel::uniform;
  double sigma = 0;                             ///< gumbel, lognormal; gumbel 0 is exact balance
  std::vector<double> layer_sigma;              ///< gumbel: a spread for each layer instead
  std::optional<std::int64_t> distinct_layers;  ///< MoE layers with choices of their own
  double alpha = 1;  ///< zipf, power_law: exponent; dirichlet: concentration
  std::int64_t power_law_tokens = 4096;
  std::string trace;  ///< trace, counts: file, relative to the scenario file
  ReplayOrder replay = ReplayOrder::shuffled;
  bool group_limited = true;  ///< respect the card's expert groups
  LocalityConfig locality;
  std::vector<DomainConfig> domains;      ///< kind domains
  std::vector<DomainPhaseConfig> phases;  ///< kind domains; empty: equal shares for ever
  std::vector<DomainBurstConfig> bursts;
  double time_s = 0;  ///< kind domains: when the step happens; serving: when the run begins
};

enum class Overflow : std::uint8_t { dropless, drop, next_best };
std::span<const Choice<Overflow>> choices_of(Overflow);

struct CapacityConfig {
  std::optional<double>
      factor;  ///< places an expert = ceil(factor * top_k * tokens / experts); absent: no limit
  Overflow overflow = Overflow::dropless;
  bool padding = false;     ///< experts compute all their places, filled or not
  bool evaluating = false;  ///< capacity from eval_token_fraction instead of factor
  double eval_token_fraction = 0.25;
};

enum class PlacementKind : std::uint8_t {
  contiguous,
  round_robin,
  lpt,
  eplb,
  best,
  activated,
  speed_aware,
  coactivation,
  file,
  program
};
std::span<const Choice<PlacementKind>> choices_of(PlacementKind);

enum class DispatchRule : std::uint8_t { even, random, nearest, lp };
std::span<const Choice<DispatchRule>> choices_of(DispatchRule);

enum class RebalanceRule : std::uint8_t { never, interval, threshold };
std::span<const Choice<RebalanceRule>> choices_of(RebalanceRule);

/// Placement over time, from 0 to /routing/time_s; serving: on through the run.
struct RebalanceConfig {
  RebalanceRule trigger = RebalanceRule::never;
  double window_s = 300;               ///< loads are observed so long before they count
  std::int64_t interval_windows = 12;  ///< interval
  double balancedness = 0.9;           ///< threshold
  std::int64_t history_windows = 3;    ///< a plan averages so many
  double hidden_fraction = 0;          ///< of the moving that runs behind compute
};

struct PlacementConfig {
  PlacementKind policy = PlacementKind::contiguous;
  std::optional<std::int64_t>
      slots;  ///< expert slots over all GPUs, replicas included; absent: one an expert
  DispatchRule dispatch = DispatchRule::even;
  bool same_gpu_replicas = false;
  std::string file;                    ///< policy file: a placement (ours, SGLang's, vLLM's)
  std::vector<std::string> command;    ///< policy program
  std::string planned_on;              ///< counts or trace whose loads the plan knows
  std::optional<double> planned_at_s;  ///< kind domains: the plan knows the mixture of that time
  RebalanceConfig rebalance;
};

enum class ExpertHome : std::uint8_t { gpu, host, nvme };
std::span<const Choice<ExpertHome>> choices_of(ExpertHome);

enum class CachePolicy : std::uint8_t { lru, fifo, lfu, slru, lfru, cyclic, static_set, belady };
std::span<const Choice<CachePolicy>> choices_of(CachePolicy);

enum class CacheScope { per_layer, global };
std::span<const Choice<CacheScope>> choices_of(CacheScope);

enum class MissHandling { transfer, cpu };
std::span<const Choice<MissHandling>> choices_of(MissHandling);

/// Experts that live below the GPU's memory, behind a cache in it.
struct OffloadConfig {
  ExpertHome experts = ExpertHome::gpu;
  CachePolicy policy = CachePolicy::lru;
  CacheScope scope = CacheScope::per_layer;
  std::optional<std::int64_t> slots;  ///< a GPU, over all layers; absent: as many as fit
  bool preloaded = true;
  std::int64_t prefetch_layers = 0;
  double prefetch_accuracy = 0.8;
  MissHandling on_miss = MissHandling::transfer;
  bool host_managed = true;  ///< the CPU decides: no captured graph around offloaded layers
  bool pageable = false;     ///< host memory is not pinned
  double transfer_latency_s = 1e-5;
  double opposite_bytes_per_s = 0;  ///< other traffic from each GPU to its host meanwhile
  std::optional<double> cpu_bytes_per_s;
  std::optional<double> host_memory_bytes;  ///< a node; absent: the cluster profile's
  std::optional<double> nvme_bytes_per_s;   ///< absent: the cluster profile's
  bool reordered = false;                   ///< requests in an order that swaps less
  std::int64_t steps = 200;                 ///< simulated, after the warm-up
  std::int64_t warm_up_steps = 50;
};

const Fields<LocalityConfig>& fields_of(const LocalityConfig*);
const Fields<DomainConfig>& fields_of(const DomainConfig*);
const Fields<DomainPhaseConfig>& fields_of(const DomainPhaseConfig*);
const Fields<DomainBurstConfig>& fields_of(const DomainBurstConfig*);
const Fields<RoutingConfig>& fields_of(const RoutingConfig*);
const Fields<CapacityConfig>& fields_of(const CapacityConfig*);
const Fields<RebalanceConfig>& fields_of(const RebalanceConfig*);
const Fields<PlacementConfig>& fields_of(const PlacementConfig*);
const Fields<OffloadConfig>& fields_of(const OffloadConfig*);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/input/expert_config.h"

namespace moesim {

std::span<const Choice<RoutingModel>> choices_of(RoutingModel) {
  static constexpr Choice<RoutingModel> kChoices[] = {
      {RoutingModel::uniform, "uniform",
       "every token picks its experts at random, all equally likely"},
      {RoutingModel::typical, "typical",
       "gumbel as uneven as the model's card says of it in service (expert_use), else sigma 0.7"},
      {RoutingModel::gumbel, "gumbel",
       "Gumbel-top-k: expert logits sigma * N(0,1) fixed per layer plus Gumbel noise per token; "
       "sigma 0 is exact balance"},
      {RoutingModel::zipf, "zipf",
       "the r-th most popular expert has weight r^-alpha; ranks shuffled per layer"},
      {RoutingModel::dirichlet, "dirichlet",
       "expected loads from a symmetric Dirichlet of concentration alpha"},
      {RoutingModel::lognormal, "lognormal", "expected loads exp(sigma * N(0, 1))"},
      {RoutingModel::power_law, "power_law",
       "loads from a density ~ x^-alpha, as measured MoE kernel tables draw them"},
      {RoutingModel::counts, "counts", "a recorded histogram of selections, layer by layer"},
      {RoutingModel::trace, "trace", "a recorded token trace, replayed"},
      {RoutingModel::domains, "domains",
       "a mixture of domains whose shares switch, drift and burst over time"},
  };
  return kChoices;
}

std::span<const Choice<ReplayOrder>> choices_of(ReplayOrder) {
  static constexpr Choice<ReplayOrder> kChoices[] = {
      {ReplayOrder::shuffled, "shuffled", "at random without repeats"},
      {ReplayOrder::token, "token", "consecutive tokens, batch after batch"},
      {ReplayOrder::window, "window", "consecutive tokens from a random place"},
      {ReplayOrder::sequence, "sequence", "whole sequences in random order"},
  };
  return kChoices;
}

std::span<const Choice<Overflow>> choices_of(Overflow) {
  static constexpr Choice<Overflow> kChoices[] = {
      {Overflow::dropless, "dropless", "full experts take every token"},
      {Overflow::drop, "drop",
       "selections beyond an expert's places are dropped (residual pass-through)"},
      {Overflow::next_best, "next_best",
       "selections beyond an expert's places go to the next best expert with a place"},
  };
  return kChoices;
}

std::span<const Choice<PlacementKind>> choices_of(PlacementKind) {
  static constexpr Choice<PlacementKind> kChoices[] = {
      {PlacementKind::contiguous, "contiguous",
       "experts in index order, spare slots filled from the first expert on"},
      {PlacementKind::round_robin, "round_robin", "expert e on GPU e mod GPUs"},
      {PlacementKind::lpt, "lpt",
       "longest processing time: heaviest replica first onto the least-loaded GPU"},
      {PlacementKind::eplb, "eplb", "the published expert-parallel load balancer, slot for slot"},
      {PlacementKind::best, "best", "local search on the busiest GPU; no busier than eplb"},
      {PlacementKind::activated, "activated",
       "balances activated experts, which memory-bound decode waits for"},
      {PlacementKind::speed_aware, "speed_aware", "local search on load/speed of unlike GPUs"},
      {PlacementKind::coactivation, "coactivation",
       "experts that serve the same tokens share a GPU or node (graph partitioning)"},
      {PlacementKind::file, "file", "slots from /placement/file (ours, SGLang's or vLLM's format)"},
      {PlacementKind::program, "program",
       "slots from a program of yours, /placement/command: loads as a line of JSON in, slots out"},
  };
  return kChoices;
}

std::span<const Choice<DispatchRule>> choices_of(DispatchRule) {
  static constexpr Choice<DispatchRule> kChoices[] = {
      {DispatchRule::even, "even", "every replica takes the same share"},
      {DispatchRule::random, "random", "each selection draws a replica"},
      {DispatchRule::nearest, "nearest",
       "a replica on the own GPU, else in the own node, else any"},
      {DispatchRule::lp, "lp", "shares that make the busiest GPU as little busy as any can"},
  };
  return kChoices;
}

std::span<const Choice<RebalanceRule>> choices_of(RebalanceRule) {
  static constexpr Choice<RebalanceRule> kChoices[] = {
      {RebalanceRule::never, "never", "the first plan stays"},
      {RebalanceRule::interval, "interval", "a new plan every interval_windows"},
      {RebalanceRule::threshold, "threshold",
       "a new plan when the last window's balancedness fell below the threshold"},
  };
  return kChoices;
}

std::span<const Choice<ExpertHome>> choices_of(ExpertHome) {
  static constexpr Choice<ExpertHome> kChoices[] = {
      {ExpertHome::gpu, "gpu", "every expert stays in GPU memory"},
      {ExpertHome::host, "host", "experts live in host memory, a cache of them on the GPU"},
      {ExpertHome::nvme, "nvme",
       "experts live on NVMe, as many as fit in host memory, a cache on the GPU"},
  };
  return kChoices;
}

std::span<const Choice<CachePolicy>> choices_of(CachePolicy) {
  static constexpr Choice<CachePolicy> kChoices[] = {
      {CachePolicy::lru, "lru", "gives up the least recently used"},
      {CachePolicy::fifo, "fifo", "gives up the one that came first"},
      {CachePolicy::lfu, "lfu", "gives up the least often used while resident"},
      {CachePolicy::slru, "slru", "segmented: experts used twice are protected"},
      {CachePolicy::lfru, "lfru", "gives up the one with the fewest uses for its age"},
      {CachePolicy::cyclic, "cyclic", "gives up experts of the layer whose turn comes last"},
      {CachePolicy::static_set, "static", "the most popular experts, never changed"},
      {CachePolicy::belady, "belady", "the clairvoyant bound: gives up what is needed last"},
  };
  return kChoices;
}

std::span<const Choice<CacheScope>> choices_of(CacheScope) {
  static constexpr Choice<CacheScope> kChoices[] = {
      {CacheScope::per_layer, "per_layer", "every layer has slots of its own"},
      {CacheScope::global, "global", "all layers share the slots"},
  };
  return kChoices;
}

std::span<const Choice<MissHandling>> choices_of(MissHandling) {
  static constexpr Choice<MissHandling> kChoices[] = {
      {MissHandling::transfer, "transfer", "moves a missed expert to the GPU"},
      {MissHandling::cpu, "cpu", "computes a missed expert on the CPU"},
  };
  return kChoices;
}

const Fields<LocalityConfig>& fields_of(const LocalityConfig*) {
  static const Fields<LocalityConfig> table =
      Fields<LocalityConfig>("locality", "how a token resembles the one before (expert caches)")
          .add("repeat_fraction", &LocalityConfig::repeat_fraction,
               {.doc = "of picks that repeat an expert of the token before; absent: as recorded "
                       "in prefill or published of decode",
                .unit = "fraction",
                .min = 0,
                .max = 0.99})
          .add("affinity_fraction", &LocalityConfig::affinity_fraction,
               {.doc = "of picks that follow an expert of the layer before",
                .unit = "fraction",
                .min = 0,
                .max = 0.99})
          .add("segment_sigma", &LocalityConfig::segment_sigma,
               {.doc = "spread by which a stretch of text tilts the logits", .min = 0, .max = 10})
          .add("segment_tokens", &LocalityConfig::segment_tokens,
               {.doc = "mean length of such a stretch", .min = 1, .max = 1e6});
  return table;
}

const Fields<DomainConfig>& fields_of(const DomainConfig*) {
  static const Fields<DomainConfig> table =
      Fields<DomainConfig>("domain", "one kind of traffic")
          .add("name", &DomainConfig::name, {.doc = "for bursts and reports", .required = true})
          .add("kind", &DomainConfig::kind, {.doc = "the law of its choices; any but domains"})
          .add("sigma", &DomainConfig::sigma,
               {.doc = "gumbel, lognormal: spread of popularity", .min = 0, .max = 10})
          .add("alpha", &DomainConfig::alpha,
               {.doc = "zipf, power_law: exponent; dirichlet: concentration", .min = 0, .max = 1e6})
          .add("trace", &DomainConfig::trace,
               {.doc = "trace, counts: recorded file, relative to the scenario file"});
  return table;
}

const Fields<DomainPhaseConfig>& fields_of(const DomainPhaseConfig*) {
  static const Fields<DomainPhaseConfig> table =
      Fields<DomainPhaseConfig>("phase", "shares of the domains from a time on")
          .add("start_s", &DomainPhaseConfig::start_s,
               {.doc = "when it begins", .unit = "s", .min = 0, .max = 1e9})
          .add("shares", &DomainPhaseConfig::shares,
               {.doc = "one number a domain, any scale", .required = true, .min = 0})
          .add("drift_s", &DomainPhaseConfig::drift_s,
               {.doc = "the shares drift here over so long before the start",
                .unit = "s",
                .min = 0,
                .max = 1e9});
  return table;
}

const Fields<DomainBurstConfig>& fields_of(const DomainBurstConfig*) {
  static const Fields<DomainBurstConfig> table =
      Fields<DomainBurstConfig>("burst", "a domain that takes over for a while")
          .add("domain", &DomainBurstConfig::domain, {.doc = "its name", .required = true})
          .add("share", &DomainBurstConfig::share,
               {.doc = "of all traffic meanwhile",
                .unit = "fraction",
                .min = 0,
                .max = 1,
                .min_exclusive = true})
          .add("first_s", &DomainBurstConfig::first_s,
               {.doc = "start of the first", .unit = "s", .min = 0, .max = 1e9})
          .add("period_s", &DomainBurstConfig::period_s,
               {.doc = "from one to the next; 0: once", .unit = "s", .min = 0, .max = 1e9})
          .add("length_s", &DomainBurstConfig::length_s,
               {.doc = "how long it lasts",
                .unit = "s",
                .min = 0,
                .max = 1e9,
                .min_exclusive = true});
  return table;
}

const Fields<RoutingConfig>& fields_of(const RoutingConfig*) {
  static const Fields<RoutingConfig> table =
      Fields<RoutingConfig>("routing", "which experts the tokens choose")
          .add("kind", &RoutingConfig::kind, {.doc = "the law of the choices"})
          .add("sigma", &RoutingConfig::sigma,
               {.doc = "gumbel: spread of expert popularity; .15 balanced, .6-.75 a typical "
                       "domain, 1.1 DeepSeek-R1; lognormal: of ln load",
                .min = 0,
                .max = 10})
          .add("layer_sigma", &RoutingConfig::layer_sigma,
               {.doc = "gumbel: a spread for each MoE layer instead, repeated when shorter",
                .min = 0,
                .max = 10})
          .add("distinct_layers", &RoutingConfig::distinct_layers,
               {.doc = "MoE layers whose choices are worked out, evenly spaced; each also stands "
                       "for those up to the next: faster and noisier; absent: all",
                .min = 1,
                .max = 65536})
          .add("alpha", &RoutingConfig::alpha,
               {.doc = "zipf, power_law: exponent; dirichlet: concentration", .min = 0, .max = 1e6})
          .add("power_law_tokens", &RoutingConfig::power_law_tokens,
               {.doc = "power_law: batch that its loads are drawn for", .min = 1, .max = 1e9})
          .add("trace", &RoutingConfig::trace,
               {.doc = "trace, counts: recorded file, relative to the scenario file"})
          .add("replay", &RoutingConfig::replay, {.doc = "trace: which tokens make up a batch"})
          .add("group_limited", &RoutingConfig::group_limited,
               {.doc = "respect the model's expert groups (DeepSeek: 4 of 8)"})
          .add("locality", &RoutingConfig::locality,
               {.doc = "how a token resembles the one before (expert caches)"})
          .add("domains", &RoutingConfig::domains, {.doc = "domains: the kinds of traffic"})
          .add("phases", &RoutingConfig::phases,
               {.doc = "domains: their shares over time; absent: equal shares"})
          .add("bursts", &RoutingConfig::bursts,
               {.doc = "domains: stretches in which one takes over"})
          .add("time_s", &RoutingConfig::time_s,
               {.doc = "domains: when the step happens; serving: when the run begins",
                .unit = "s",
                .min = 0,
                .max = 1e9});
  return table;
}

const Fields<CapacityConfig>& fields_of(const CapacityConfig*) {
  static const Fields<CapacityConfig> table =
      Fields<CapacityConfig>("capacity", "places per expert")
          .add("factor", &CapacityConfig::factor,
               {.doc =
                    "places an expert = ceil(factor * top_k * tokens / experts); absent: no limit",
                .min = 0,
                .max = 1e6,
                .min_exclusive = true})
          .add("overflow", &CapacityConfig::overflow,
               {.doc = "what happens to selections beyond the places"})
          .add("padding", &CapacityConfig::padding,
               {.doc = "experts compute all their places, filled or not (batched products)"})
          .add("evaluating", &CapacityConfig::evaluating,
               {.doc = "places an expert = ceil(eval_token_fraction * tokens) instead"})
          .add("eval_token_fraction", &CapacityConfig::eval_token_fraction,
               {.doc = "evaluation capacity as a share of the batch "
                       "(fairseq --moe-eval-capacity-token-fraction)",
                .unit = "fraction",
                .min = 0,
                .max = 1,
                .min_exclusive = true});
  return table;
}

const Fields<RebalanceConfig>& fields_of(const RebalanceConfig*) {
  static const Fields<RebalanceConfig> table =
      Fields<RebalanceConfig>("rebalance",
                              "new plans over time, from 0 to /routing/time_s; serving: on through "
                              "the run")
          .add("trigger", &RebalanceConfig::trigger, {.doc = "when a new plan is made"})
          .add("window_s", &RebalanceConfig::window_s,
               {.doc = "loads are observed so long at a time",
                .unit = "s",
                .min = 0,
                .max = 1e7,
                .min_exclusive = true})
          .add("interval_windows", &RebalanceConfig::interval_windows,
               {.doc = "interval: windows from plan to plan", .min = 1, .max = 1e6})
          .add("balancedness", &RebalanceConfig::balancedness,
               {.doc = "threshold: mean / max GPU load below which a plan is made anew",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("history_windows", &RebalanceConfig::history_windows,
               {.doc = "windows whose loads a plan averages", .min = 1, .max = 1e6})
          .add("hidden_fraction", &RebalanceConfig::hidden_fraction,
               {.doc = "of the moving that runs behind compute",
                .unit = "fraction",
                .min = 0,
                .max = 1});
  return table;
}

const Fields<PlacementConfig>& fields_of(const PlacementConfig*) {
  static const Fields<PlacementConfig> table =
      Fields<PlacementConfig>("placement", "where experts live")
          .add("policy", &PlacementConfig::policy, {.doc = "how slots are filled"})
          .add("slots", &PlacementConfig::slots,
               {.doc = "expert slots over all GPUs, replicas included; absent: one an expert",
                .min = 1,
                .max = 1048576})
          .add("dispatch", &PlacementConfig::dispatch,
               {.doc = "which replica of an expert a selection goes to"})
          .add("same_gpu_replicas", &PlacementConfig::same_gpu_replicas,
               {.doc = "two replicas of an expert may share a GPU"})
          .add("file", &PlacementConfig::file,
               {.doc = "policy file: a placement, relative to the scenario file"})
          .add("command", &PlacementConfig::command,
               {.doc = "policy program: executable and arguments"})
          .add("planned_on", &PlacementConfig::planned_on,
               {.doc = "counts or trace file whose loads the plan knows; absent: those served"})
          .add("planned_at_s", &PlacementConfig::planned_at_s,
               {.doc = "routing of kind domains: the plan knows the mixture of that time; absent: "
                       "of /routing/time_s",
                .unit = "s",
                .min = 0,
                .max = 1e9})
          .add("rebalance", &PlacementConfig::rebalance,
               {.doc = "new plans over time (routing of kind domains)"});
  return table;
}

const Fields<OffloadConfig>& fields_of(const OffloadConfig*) {
  static const Fields<OffloadConfig> table =
      Fields<OffloadConfig>("offload", "experts below GPU memory, behind a cache")
          .add("experts", &OffloadConfig::experts, {.doc = "where the routed experts live"})
          .add("policy", &OffloadConfig::policy, {.doc = "which expert a full cache gives up"})
          .add("scope", &OffloadConfig::scope, {.doc = "what shares the slots"})
          .add("slots", &OffloadConfig::slots,
               {.doc = "experts that a GPU's cache holds, all layers together; absent: as many as "
                       "fit",
                .min = 0,
                .max = 1e7})
          .add("preloaded", &OffloadConfig::preloaded,
               {.doc = "the cache starts with the most popular experts"})
          .add("prefetch_layers", &OffloadConfig::prefetch_layers,
               {.doc = "experts are guessed and fetched so many layers ahead; 0: none",
                .min = 0,
                .max = 1000})
          .add("prefetch_accuracy", &OffloadConfig::prefetch_accuracy,
               {.doc = "share of a layer's experts that the guess names (.52-.62 from the layer "
                       "before, .8-.9 by running the next gate early)",
                .unit = "fraction",
                .min = 0,
                .max = 1})
          .add("on_miss", &OffloadConfig::on_miss, {.doc = "what a missed expert costs"})
          .add("host_managed", &OffloadConfig::host_managed,
               {.doc = "the CPU looks experts up: offloaded layers are launched kernel by kernel "
                       "after a round trip"})
          .add("pageable", &OffloadConfig::pageable,
               {.doc = "host memory is not pinned: copies pass a staging buffer"})
          .add("transfer_latency_s", &OffloadConfig::transfer_latency_s,
               {.doc = "of one expert's copy: launch and first byte",
                .unit = "s",
                .min = 0,
                .max = 1})
          .add("opposite_bytes_per_s", &OffloadConfig::opposite_bytes_per_s,
               {.doc = "other traffic of each GPU to its host that shares the link's far side",
                .unit = "bytes_per_s",
                .min = 0,
                .max = 1e12})
          .add("cpu_bytes_per_s", &OffloadConfig::cpu_bytes_per_s,
               {.doc = "weights that the CPU reads while it computes experts; absent: 0.6 of the "
                       "host's memory bandwidth, shared by the node's GPUs",
                .unit = "bytes_per_s",
                .min = 0,
                .max = 1e14,
                .min_exclusive = true})
          .add("host_memory_bytes", &OffloadConfig::host_memory_bytes,
               {.doc = "of a node, for experts; absent: 0.9 of the cluster profile's",
                .unit = "bytes",
                .min = 0,
                .max = 1e15})
          .add("nvme_bytes_per_s", &OffloadConfig::nvme_bytes_per_s,
               {.doc = "read rate of a node; absent: the cluster profile's",
                .unit = "bytes_per_s",
                .min = 0,
                .max = 1e13,
                .min_exclusive = true})
          .add("reordered", &OffloadConfig::reordered,
               {.doc = "requests are served in an order in which neighbours share experts"})
          .add("steps", &OffloadConfig::steps,
               {.doc = "steps of the cache that are simulated", .min = 2, .max = 100000})
          .add("warm_up_steps", &OffloadConfig::warm_up_steps,
               {.doc = "steps before them that are not counted", .min = 0, .max = 100000});
  return table;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// How a serving engine forms a step: the rules of the known engines as one table, and one attention
// replica's queue, prompts being read, and sequences that generate.
//
// A replica holds three sets. `waiting`: first come, first served; a preempted request goes to the
// front. `reading`: prompts that are being read, in order of admission, each by what the token
// budget leaves. Generating sequences: all advance by one step at a time, so that nothing need be
// touched between events: with s the steps taken so far,
//     sum of contexts = base + count * tokens_per_step * s,
// and a heap holds the step at which each ends.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "sim/base/random.h"
#include "sim/input/scenario.h"
#include "sim/serving/kv_cache.h"
#include "sim/serving/speculation.h"

namespace moesim {

/// An engine's behaviour, every key resolved. Counts are per attention replica.
struct EngineRules {
  double token_budget = 8192;
  double max_sequences = 256;
  bool chunks = true;  ///< prompts may be read in parts
  bool mixes = true;   ///< prompts and decode in one step
  /// Replicas that step together: prompts wait until every replica has one, at most so many steps,
  /// so that one replica's prompts do not hold up all others again and again.
  std::int64_t prompt_wait_steps = 0;
  bool prompts_first = false;  ///< prompts are read as soon as they are admitted; decode waits
  double block_tokens = 16;
  double watermark_fraction = 0.01;
  double output_reserve = 0;  ///< of outstanding output that admission keeps room for
  PreemptionMode preemption = PreemptionMode::recompute;
  bool graphs = true;
  std::vector<double> graph_sizes;
  double host_overhead_s = 0;
  double host_overhead_per_sequence_s = 0;
  /// Host time to start one kernel outside a graph, from Python through the framework to the
  /// driver; a step without a graph takes at least this for each of its kernels.
  double host_kernel_s = 5e-5;
};

EngineRules engine_rules(const Scenario& scenario);

/// One request of a run; what happened to it is written here.
struct RequestState {
  double arrival_s = 0;
  double first_token_s = -1;
  double finish_s = -1;
  double admitted_s = -1;
  std::int32_t prompt = 0;
  std::int32_t output = 0;
  std::int32_t generated = 0;  ///< kept over a preemption
  std::int32_t cached = 0;     ///< prompt tokens found in the prefix cache
  std::int32_t preemptions = 0;
  bool swapped = false;         ///< its cache waits in host memory
  std::uint32_t trace_row = 0;  ///< for its prefix blocks
  std::uint32_t prefix_group = 0;
};

using RequestId = std::uint32_t;

/// What a replica will do in the next step.
struct StepPlan {
  bool decodes = false;
  double prompts = 0;
  double prompt_tokens = 0;
  double pair_sum = 0;     ///< sum over prompts of new * (before + new / 2)
  double swap_tokens = 0;  ///< cache entries that cross PCIe with this step

  bool is_empty() const { return !decodes && prompts == 0; }
};

/// What came out of a step of a replica.
struct StepEvents {
  std::vector<RequestId> first_tokens;  ///< prompts read; their first token is out
  std::vector<RequestId> finished;
};

class Replica {
 public:
  /// `only_reads`: a request whose prompt is read keeps its cache until `release_read`.
  /// `luck` draws how many steps a request's speculation takes. `requests` outlives the replica.
  Replica(const EngineRules& rules, double cache_tokens, const Speculation& speculation,
          const PrefixSource& prefixes, RandomStream luck, std::vector<RequestState>& requests,
          bool only_reads = false);

  void enqueue(RequestId id) { waiting_.push_back(id); }
  /// Keeps room for a request whose prompt was read elsewhere and whose cache is on its way.
  void reserve_read(RequestId id);
  /// Its cache has arrived.
  void enqueue_read(RequestId id) { arrived_.push_back(id); }
  /// The cache of a request has left for another pool.
  void release_read(RequestId id);
  /// A request that was read elsewhere could start here now.
  bool has_room_for_read(RequestId id);

  /// Admits what fits at `now` and says what the next step does. Prompt chunks are fixed until
  /// `complete`.
  StepPlan plan(double now);
  /// Takes the prompts out of a plan: the step only generates.
  void hold_prompts(StepPlan& plan);
  /// Steps of decode after which a sequence ends; 0 when none generates.
  std::int64_t steps_to_finish() const;
  /// Steps of decode that the cache has room for.
  std::int64_t steps_with_room() const;
  /// Carries out `steps` steps of the plan (more than one only without prompts).
  void complete(const StepPlan& plan, std::int64_t steps, StepEvents& events);

  double decoding() const { return static_cast<double>(decoding_); }
  double mean_context() const;
  double outstanding() const {
    return static_cast<double>(waiting_.size() + arrived_.size() + reading_.size()) + decoding();
  }
  double waiting() const { return static_cast<double>(waiting_.size() + arrived_.size()); }
  double running() const { return static_cast<double>(reading_.size()) + decoding(); }
  double used_tokens() const;
  double cache_tokens() const { return cache_tokens_; }
  /// True when a request of these lengths could ever run here.
  bool could_serve(double prompt, double output) const;
  /// Takes every request out (the instance failed); they start anew.
  std::vector<RequestId> drop_all();
  std::int64_t preemptions() const { return preemptions_; }

 private:
  struct Reading {
    RequestId id = 0;
    double done = 0;
    double target = 0;
    double chunk = 0;  ///< of the step being planned
    std::uint64_t admission = 0;
  };
  struct Generating {
    RequestId id = 0;
    double first_context = 0;  ///< when it began to generate
    double last_context = 0;
    std::int64_t first_step = 0;
    std::int64_t last_step = 0;
    std::uint64_t admission = 0;
    bool live = false;
  };
  struct Ending {
    std::int64_t step = 0;
    std::uint32_t slot = 0;
  };

  bool has_room_for(RequestId id, double context, double output);
  void admit(RequestId id, double now, StepPlan& plan);
  void give_chunk(Reading& reading, double& budget, StepPlan& plan) const;
  void start_generating(RequestId id, double context);
  void stop_generating(std::uint32_t slot);
  double context_of(const Generating& sequence) const;
  void preempt_youngest(StepPlan& plan);
  void leave(RequestId id);

  EngineRules rules_;
  double cache_tokens_ = 0;
  Speculation speculation_;
  std::vector<RequestState>& requests_;
  std::deque<RequestId> waiting_;
  std::deque<RequestId> arrived_;
  std::vector<Reading> reading_;
  std::vector<Generating> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<Ending> endings_;  ///< heap by step
  std::int64_t steps_ = 0;
  std::int64_t decoding_ = 0;
  double context_base_ = 0;
  double output_end_ = 0;      ///< sum of the contexts at which generating sequences end
  double reading_tokens_ = 0;  ///< room held by prompts being read
  double reading_output_ = 0;
  bool only_reads_ = false;
  double held_tokens_ = 0;  ///< read and waiting to leave
  std::int64_t held_ = 0;
  double arriving_tokens_ = 0;  ///< reserved for caches on their way and in `arrived_`
  std::int64_t arriving_ = 0;
  double shared_tokens_ = 0;  ///< of these, held in prefix blocks
  std::uint64_t admissions_ = 0;
  std::int64_t preemptions_ = 0;
  std::optional<PrefixCache> prefixes_;
  RandomStream luck_;
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The cache of keys and values of one attention replica: how many tokens it holds beside weights,
// activations, graphs and buffers, and which prompt prefixes it still knows.
//
// Pages: a sequence wastes on average (block - 1) / 2 tokens in its last page; that mean stands for
// every sequence. Prefixes: prompts are chains of blocks with ids; an equal leading chain is read
// once and held once, by reference counts; blocks nobody uses leave in order of last use when room
// is needed (vLLM's automatic prefix caching, SGLang's radix cache).
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "sim/cost/step_cost.h"
#include "sim/input/request_trace.h"
#include "sim/workload/memory_budget.h"

namespace moesim {

struct EngineRules;

/// Room for the cache on one replica, and what takes the rest.
struct CacheRoom {
  double tokens = 0;      ///< whole blocks; 0: nothing fits
  MemoryBudget memory;    ///< of the fullest GPU in the largest step, its cache full
  Bytes bytes_per_token;  ///< of a replica's GPU, at the mean context of the workload
};

/// `decode_sequences`: most sequences that generate on a replica at a time (buffers follow it).
CacheRoom cache_room(const Scenario& scenario, const StepTemplate& step, const EngineRules& rules,
                     double decode_sequences, double mean_context);

/// Where a request's prefix blocks come from: a trace's block ids, or one block for its group.
struct PrefixSource {
  const RequestTrace* trace = nullptr;
  double shared_tokens = 0;  ///< without a trace: length of the group's one block

  bool is_used() const { return trace != nullptr || shared_tokens > 0; }
};

class PrefixCache {
 public:
  explicit PrefixCache(PrefixSource source) : source_(source) {}

  /// Takes hold of the blocks of `request` (`row` of the trace, or `group`) and returns how many of
  /// its leading `prompt` tokens are already there (at most prompt - 1).
  double acquire(std::uint32_t request, std::uint32_t row, std::uint32_t group, double prompt);
  /// Tokens of the blocks that a request holds; 0 when it holds none.
  double held_by(std::uint32_t request) const;
  void release(std::uint32_t request);
  /// Forgets unused blocks, oldest first, until at most `tokens` are resident (or none is unused).
  void shrink_to(double tokens);
  /// Tokens that `acquire` would find and that no other request holds alive are counted as room.
  double leading_hit(std::uint32_t row, std::uint32_t group, double prompt) const;

  double referenced_tokens() const { return referenced_; }
  double resident_tokens() const { return resident_; }
  void clear();

 private:
  struct Block {
    double tokens = 0;
    std::int64_t users = 0;
    std::list<std::uint32_t>::iterator unused;  ///< valid while users == 0
  };
  struct Chain {
    std::vector<std::uint32_t> ids;
    double tokens = 0;
  };
  /// (id, tokens) of the blocks of a prompt.
  template <class Visit>
  void each_block(std::uint32_t row, std::uint32_t group, double prompt, Visit visit) const;

  PrefixSource source_;
  std::unordered_map<std::uint32_t, Block> blocks_;
  std::list<std::uint32_t> unused_;  ///< oldest first
  std::unordered_map<std::uint32_t, Chain> held_;
  double referenced_ = 0;
  double resident_ = 0;
};

}  // namespace moesim

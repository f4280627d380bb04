// SPDX-License-Identifier: Apache-2.0
// A GPU's cache of experts whose weights live in host memory: which stay, which go.
//
// Slots hold one expert each, per layer or all layers together. An access to an expert in the cache
// is a hit; a miss brings it in, in the place of the one that the eviction policy gives up (a
// policy may also let it pass through without keeping it). Layers come in a fixed cycle, so a
// *global* LRU with fewer slots than one token needs never hits: the cyclic cliff. Times, links and
// prefetch are expert_cache_timing.h's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sim/input/expert_config.h"
#include "sim/moe/expert_cache_trace.h"

namespace moesim {

struct CacheSpec {
  std::string_view policy = "lru";  ///< a row of eviction_policies()
  CacheScope scope = CacheScope::per_layer;
  int slots = 0;  ///< per layer or in all, as `scope` says; >= 0
  /// Starts filled, free of charge, with the most popular experts; otherwise empty. A `static`
  /// cache always does.
  bool is_preloaded = false;
  /// [layers * experts] for preloading; empty: counted over the trace itself (the best a static set
  /// can know).
  std::vector<double> popularity;
};

/// What a policy may know when it is made; it lives as long as the policy.
struct EvictionContext {
  const ExpertTrace* trace = nullptr;  ///< the future too: only `belady` looks
  int slots = 0;                       ///< that this instance manages
};

/// Decides for one pool of slots. `now` is the index of the current access in the trace.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void insert(int key, std::int64_t now) = 0;
  virtual void use(int key, std::int64_t now) = 0;
  /// The key to give up for `incoming` when the pool is full; `incoming` itself: do not keep it.
  virtual int victim(int incoming, std::int64_t now) = 0;
  virtual void remove(int key) = 0;
};

struct EvictionPolicyRow {
  std::string_view name;
  std::string_view doc;
  std::unique_ptr<EvictionPolicy> (*make)(const EvictionContext&);
};

/// lru, fifo, lfu, slru, lfru, cyclic, static, belady.
std::span<const EvictionPolicyRow> eviction_policies();

/// The cache's content; never more keys than slots.
class ExpertCache {
 public:
  /// `trace` must outlive the cache. Throws InputError for an unknown policy or negative slots.
  ExpertCache(const ExpertTrace& trace, const CacheSpec& spec);
  ~ExpertCache();
  ExpertCache(ExpertCache&&) noexcept;

  bool holds(int key) const { return is_held_[static_cast<std::size_t>(key)]; }
  int size() const { return size_; }

  /// One access; true when it hits. A miss brings the expert in as the policy decides.
  bool access(int key, std::int64_t now);
  /// Brings `key` in ahead of its use (no effect if held). Returns the key given up, `key` itself
  /// when the policy would not keep it, or -1.
  int prefetch(int key, std::int64_t now);

 private:
  struct Pool;
  Pool& pool_of(int key);
  int bring_in(int key, std::int64_t now);

  std::vector<bool> is_held_;
  std::vector<Pool> pools_;
  int keys_per_pool_ = 1;
  int size_ = 0;
};

struct CacheReport {
  std::int64_t accesses = 0;
  std::int64_t hits = 0;
  std::int64_t misses = 0;
  std::vector<double> layer_hit_rate;  ///< [layers]
  double hit_rate() const {
    return accesses > 0 ? static_cast<double>(hits) / static_cast<double>(accesses) : 0.0;
  }
};

/// Replays the trace; statistics leave out the first `warm_up_steps`.
CacheReport replay_expert_cache(const ExpertTrace& trace, const CacheSpec& spec,
                                int warm_up_steps = 0);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_cache.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "sim/base/error.h"

namespace moesim {
namespace {

const EvictionPolicyRow& policy_row(std::string_view name) {
  std::string allowed;
  for (const EvictionPolicyRow& row : eviction_policies()) {
    if (row.name == name) {
      return row;
    }
    allowed += (allowed.empty() ? "" : ", ") + std::string(row.name);
  }
  throw InputError("", "/expert_cache/policy", "unknown policy \"" + std::string(name) + "\"",
                   allowed);
}

}  // namespace

struct ExpertCache::Pool {
  std::unique_ptr<EvictionPolicy> policy;
  int slots = 0;
  int used = 0;
  int free_insertions = 0;  // that stand for preloading by a clairvoyant
};

ExpertCache::ExpertCache(const ExpertTrace& trace, const CacheSpec& spec)
    : is_held_(static_cast<std::size_t>(trace.num_keys()), false) {
  if (spec.slots < 0) {
    throw InputError("", "/expert_cache/slots", std::to_string(spec.slots), "0 or more");
  }
  const bool is_global = spec.scope == CacheScope::global;
  keys_per_pool_ = is_global ? trace.num_keys() : trace.experts();
  const int slots = std::min(spec.slots, keys_per_pool_);
  for (int p = 0; p < (is_global ? 1 : trace.layers()); ++p) {
    pools_.emplace_back();
    pools_.back().policy = policy_row(spec.policy).make({&trace, slots});
    pools_.back().slots = slots;
  }
  if (!spec.is_preloaded && spec.policy != "static") {
    return;
  }
  if (spec.policy == "belady") {
    // A clairvoyant preloads what it would bring in first, so its first misses into empty slots are
    // free.
    for (Pool& pool : pools_) {
      pool.free_insertions = slots;
    }
    return;
  }
  const std::vector<double> popularity =
      spec.popularity.empty() ? trace.popularity(0, trace.steps()) : spec.popularity;
  for (std::size_t p = 0; p < pools_.size(); ++p) {
    std::vector<int> keys(static_cast<std::size_t>(keys_per_pool_));
    std::iota(keys.begin(), keys.end(), static_cast<int>(p) * keys_per_pool_);
    std::stable_sort(keys.begin(), keys.end(), [&](int a, int b) {
      return popularity[static_cast<std::size_t>(a)] > popularity[static_cast<std::size_t>(b)];
    });
    keys.resize(static_cast<std::size_t>(slots));
    for (auto key = keys.rbegin(); key != keys.rend();
         ++key) {  // the most popular last, so it stays longest
      pools_[p].policy->insert(*key, -1);
      is_held_[static_cast<std::size_t>(*key)] = true;
    }
    pools_[p].used = slots;
    size_ += slots;
  }
}

ExpertCache::~ExpertCache() = default;
ExpertCache::ExpertCache(ExpertCache&&) noexcept = default;

ExpertCache::Pool& ExpertCache::pool_of(int key) {
  return pools_[static_cast<std::size_t>(key / keys_per_pool_)];
}

bool ExpertCache::access(int key, std::int64_t now) {
  if (holds(key)) {
    pool_of(key).policy->use(key, now);
    return true;
  }
  const int given_up = bring_in(key, now);
  Pool& pool = pool_of(key);
  if (given_up == -1 && pool.free_insertions > 0) {
    --pool.free_insertions;
    return true;
  }
  return false;
}

int ExpertCache::prefetch(int key, std::int64_t now) {
  return holds(key) ? -1 : bring_in(key, now);
}

int ExpertCache::bring_in(int key, std::int64_t now) {
  Pool& pool = pool_of(key);
  int given_up = -1;
  if (pool.used == pool.slots) {
    given_up = pool.slots == 0 ? key : pool.policy->victim(key, now);
    if (given_up == key) {
      return key;
    }
    pool.policy->remove(given_up);
    is_held_[static_cast<std::size_t>(given_up)] = false;
    --pool.used;
    --size_;
  }
  pool.policy->insert(key, now);
  is_held_[static_cast<std::size_t>(key)] = true;
  ++pool.used;
  ++size_;
  return given_up;
}

CacheReport replay_expert_cache(const ExpertTrace& trace, const CacheSpec& spec,
                                int warm_up_steps) {
  ExpertCache cache(trace, spec);
  CacheReport report;
  std::vector<std::int64_t> layer_hits(static_cast<std::size_t>(trace.layers()), 0);
  std::vector<std::int64_t> layer_accesses(static_cast<std::size_t>(trace.layers()), 0);
  std::int64_t now = 0;
  for (int step = 0; step < trace.steps(); ++step) {
    for (int layer = 0; layer < trace.layers(); ++layer) {
      for (const std::int16_t expert : trace.at(step, layer)) {
        const bool is_hit = cache.access(trace.key(layer, expert), now++);
        if (step >= warm_up_steps) {
          ++layer_accesses[static_cast<std::size_t>(layer)];
          layer_hits[static_cast<std::size_t>(layer)] += is_hit ? 1 : 0;
        }
      }
    }
  }
  for (std::size_t l = 0; l < layer_hits.size(); ++l) {
    report.accesses += layer_accesses[l];
    report.hits += layer_hits[l];
    report.layer_hit_rate.push_back(layer_accesses[l] > 0
                                        ? static_cast<double>(layer_hits[l]) /
                                              static_cast<double>(layer_accesses[l])
                                        : 0.0);
  }
  report.misses = report.accesses - report.hits;
  return report;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The eviction policies of expert_cache.h and their table. All but lfru work in O(log slots) an
// access; lfru scans its slots on a miss.
#include <algorithm>
#include <limits>
#include <list>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "sim/base/error.h"
#include "sim/moe/expert_cache.h"

namespace moesim {
namespace {

/// Keys from least to most recently moved to the back.
class RecencyList {
 public:
  void push_back(int key) { where_[key] = order_.insert(order_.end(), key); }
  void move_to_back(int key) { order_.splice(order_.end(), order_, where_.at(key)); }
  void erase(int key) {
    order_.erase(where_.at(key));
    where_.erase(key);
  }
  bool contains(int key) const { return where_.count(key) > 0; }
  int front() const { return order_.front(); }
  int size() const { return static_cast<int>(order_.size()); }
  bool empty() const { return order_.empty(); }

 private:
  std::list<int> order_;
  std::unordered_map<int, std::list<int>::iterator> where_;
};

class LeastRecentlyUsed : public EvictionPolicy {
 public:
  explicit LeastRecentlyUsed(const EvictionContext&) {}
  void insert(int key, std::int64_t) override { list_.push_back(key); }
  void use(int key, std::int64_t) override { list_.move_to_back(key); }
  int victim(int, std::int64_t) override { return list_.front(); }
  void remove(int key) override { list_.erase(key); }

 private:
  RecencyList list_;
};

class FirstInFirstOut : public EvictionPolicy {
 public:
  explicit FirstInFirstOut(const EvictionContext&) {}
  void insert(int key, std::int64_t) override { list_.push_back(key); }
  void use(int, std::int64_t) override {}
  int victim(int, std::int64_t) override { return list_.front(); }
  void remove(int key) override { list_.erase(key); }

 private:
  RecencyList list_;
};

/// Keys ordered by (uses while resident, last use).
class UseCounts {
 public:
  void insert(int key, std::int64_t count) {
    entries_[key] = {count, ++clock_};
    order_.insert({count, clock_, key});
  }
  void use(int key) {
    const std::int64_t count = entries_.at(key).first;
    erase(key);
    insert(key, count + 1);
  }
  int least() const { return std::get<2>(*order_.begin()); }
  void erase(int key) {
    const auto found = entries_.find(key);
    order_.erase({found->second.first, found->second.second, key});
    entries_.erase(found);
  }

 private:
  std::unordered_map<int, std::pair<std::int64_t, std::int64_t>> entries_;
  std::set<std::tuple<std::int64_t, std::int64_t, int>> order_;
  std::int64_t clock_ = 0;
};

class LeastFrequentlyUsed : public EvictionPolicy {
 public:
  explicit LeastFrequentlyUsed(const EvictionContext&) {}
  void insert(int key, std::int64_t) override { counts_.insert(key, 1); }
  void use(int key, std::int64_t) override { counts_.use(key); }
  int victim(int, std::int64_t) override { return counts_.least(); }
  void remove(int key) override { counts_.erase(key); }

 private:
  UseCounts counts_;
};

/// Segmented LRU: a key used again moves from probation to the protected segment (at most 4/5 of
/// the slots), whose oldest falls back [Karedla, Love & Wherry 1994].
class SegmentedRecency : public EvictionPolicy {
 public:
  explicit SegmentedRecency(const EvictionContext& context) : protected_slots_(context.slots / 2) {}
  void insert(int key, std::int64_t) override { probation_.push_back(key); }
  void use(int key, std::int64_t) override {
    if (protected_.contains(key)) {
      protected_.move_to_back(key);
      return;
    }
    if (protected_slots_ == 0) {
      probation_.move_to_back(key);
      return;
    }
    probation_.erase(key);
    if (protected_.size() == protected_slots_) {
      const int oldest = protected_.front();
      protected_.erase(oldest);
      probation_.push_back(oldest);
    }
    protected_.push_back(key);
  }
  int victim(int, std::int64_t) override {
    return probation_.empty() ? protected_.front() : probation_.front();
  }
  void remove(int key) override { (probation_.contains(key) ? probation_ : protected_).erase(key); }

 private:
  int protected_slots_;
  RecencyList probation_, protected_;
};

/// Gives up the key with the fewest uses per step of age: uses are remembered over evictions, age
/// is the time since the last use [frequency over recency, as LFRU in Bilal & Kang 2017 and expert
/// caches after it].
class LeastFrequentRecentlyUsed : public EvictionPolicy {
 public:
  explicit LeastFrequentRecentlyUsed(const EvictionContext& context)
      : accesses_per_step_(static_cast<double>(context.trace->num_accesses()) /
                           std::max(1, context.trace->steps())),
        uses_(static_cast<std::size_t>(context.trace->num_keys())) {}
  void insert(int key, std::int64_t now) override {
    place_[key] = resident_.size();
    resident_.push_back(key);
    touch(key, now);
  }
  void use(int key, std::int64_t now) override { touch(key, now); }
  int victim(int, std::int64_t now) override {
    int least = -1;
    double least_score = 0.0;
    std::int64_t least_last = 0;
    for (const int key : resident_) {
      const Uses& uses = uses_[static_cast<std::size_t>(key)];
      const double age = static_cast<double>(now - uses.last) / accesses_per_step_ + 1.0;
      const double score = static_cast<double>(uses.count) / age;
      if (least < 0 || score < least_score || (score == least_score && uses.last < least_last)) {
        least = key;
        least_score = score;
        least_last = uses.last;
      }
    }
    return least;
  }
  void remove(int key) override {
    const std::size_t place = place_.at(key);
    resident_[place] = resident_.back();
    place_[resident_[place]] = place;
    resident_.pop_back();
    place_.erase(key);
  }

 private:
  struct Uses {
    std::int64_t count = 0;
    std::int64_t last = -1;
  };

  void touch(int key, std::int64_t now) {
    Uses& uses = uses_[static_cast<std::size_t>(key)];
    ++uses.count;
    uses.last = now;
  }

  double accesses_per_step_;
  std::vector<int> resident_;
  std::unordered_map<int, std::size_t> place_;
  std::vector<Uses> uses_;  // [keys] of evicted ones too
};

/// Gives up an expert of the layer whose turn comes last - the one just served, or the nearest
/// before it - and there the least recently used: what LRU gets wrong about a cycle.
class CyclicAware : public EvictionPolicy {
 public:
  explicit CyclicAware(const EvictionContext& context)
      : experts_(context.trace->experts()),
        by_layer_(static_cast<std::size_t>(context.trace->layers())) {}
  void insert(int key, std::int64_t) override { layer(key).push_back(key); }
  void use(int key, std::int64_t) override { layer(key).move_to_back(key); }
  int victim(int incoming, std::int64_t) override {
    const int layers = static_cast<int>(by_layer_.size());
    const int current = incoming / experts_;
    // The current layer itself comes last of all but its own set is still in use: look before it
    // first.
    for (int back = 1; back <= layers; ++back) {
      const RecencyList& list =
          by_layer_[static_cast<std::size_t>((current - back + layers) % layers)];
      if (!list.empty()) {
        return list.front();
      }
    }
    return incoming;
  }
  void remove(int key) override { layer(key).erase(key); }

 private:
  RecencyList& layer(int key) { return by_layer_[static_cast<std::size_t>(key / experts_)]; }

  int experts_;
  std::vector<RecencyList> by_layer_;
};

/// Keeps what was preloaded.
class StaticSet : public EvictionPolicy {
 public:
  explicit StaticSet(const EvictionContext&) {}
  void insert(int, std::int64_t) override {}
  void use(int, std::int64_t) override {}
  int victim(int incoming, std::int64_t) override { return incoming; }
  void remove(int) override {}
};

/// Gives up the key whose next use lies farthest ahead, the incoming one included: no policy that
/// brings experts in on a miss can hit more often [Belady 1966; with bypass, Michaud 2016].
class Clairvoyant : public EvictionPolicy {
 public:
  explicit Clairvoyant(const EvictionContext& context)
      : positions_(static_cast<std::size_t>(context.trace->num_keys())) {
    std::int64_t now = 0;
    for (int step = 0; step < context.trace->steps(); ++step) {
      for (int layer = 0; layer < context.trace->layers(); ++layer) {
        for (const std::int16_t expert : context.trace->at(step, layer)) {
          positions_[static_cast<std::size_t>(context.trace->key(layer, expert))].push_back(now++);
        }
      }
    }
  }
  void insert(int key, std::int64_t now) override {
    const std::int64_t next = next_use(key, now);
    next_[key] = next;
    order_.insert({next, key});
  }
  void use(int key, std::int64_t now) override {
    remove(key);
    insert(key, now);
  }
  int victim(int incoming, std::int64_t now) override {
    const auto& [next, key] = *order_.rbegin();
    return next_use(incoming, now) >= next ? incoming : key;
  }
  void remove(int key) override {
    const auto found = next_.find(key);
    order_.erase({found->second, key});
    next_.erase(found);
  }

 private:
  std::int64_t next_use(int key, std::int64_t now) const {
    const std::vector<std::int64_t>& positions = positions_[static_cast<std::size_t>(key)];
    const auto next = std::upper_bound(positions.begin(), positions.end(), now);
    return next == positions.end() ? std::numeric_limits<std::int64_t>::max() : *next;
  }

  std::vector<std::vector<std::int64_t>> positions_;  // [keys] accesses
  std::unordered_map<int, std::int64_t> next_;
  std::set<std::pair<std::int64_t, int>> order_;
};

template <class Policy>
std::unique_ptr<EvictionPolicy> make(const EvictionContext& context) {
  return std::make_unique<Policy>(context);
}

constexpr EvictionPolicyRow kPolicies[] = {
    {"lru", "gives up the least recently used", make<LeastRecentlyUsed>},
    {"fifo", "gives up the one that came first", make<FirstInFirstOut>},
    {"lfu", "gives up the least often used while resident", make<LeastFrequentlyUsed>},
    {"slru", "segmented: experts used twice are protected", make<SegmentedRecency>},
    {"lfru", "gives up the one with the fewest uses for its age", make<LeastFrequentRecentlyUsed>},
    {"cyclic", "gives up experts of the layer whose turn comes last", make<CyclicAware>},
    {"static", "the most popular experts, never changed", make<StaticSet>},
    {"belady", "the clairvoyant bound: gives up what is needed last", make<Clairvoyant>},
};

}  // namespace

std::span<const EvictionPolicyRow> eviction_policies() { return kPolicies; }

}  // namespace moesim

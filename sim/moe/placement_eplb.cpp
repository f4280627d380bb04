// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_eplb.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>
#include <utility>

namespace moesim {
namespace {

// The bits of a float >= 0 order as the float does, so (value, index) packs into one integer that
// compares by value, then by index.
std::uint32_t float_bits(float value) { return std::bit_cast<std::uint32_t>(value + 0.0f); }
float bits_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// Indices of `values` (>= 0) in descending order, equal values in index order: radix sort, 3 x 11
/// bits.
class DescendingOrder {
 public:
  const std::vector<int>& of(const std::vector<float>& values) {
    constexpr int kDigitBits = 8;
    constexpr std::uint64_t kDigitMask = (1u << kDigitBits) - 1;
    const std::size_t count = values.size();
    items_.resize(count);
    scratch_.resize(count);
    for (auto& counts : digit_counts_) {
      counts.fill(0);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t key = ~float_bits(values[i]);
      items_[i] = (static_cast<std::uint64_t>(key) << 32) | i;
      for (int pass = 0; pass < 4; ++pass) {
        ++digit_counts_[pass][(key >> (pass * kDigitBits)) & kDigitMask];
      }
    }
    for (int pass = 0; pass < 4; ++pass) {
      const int shift = 32 + pass * kDigitBits;
      if (digit_counts_[pass][(items_[0] >> shift) & kDigitMask] == count) {
        continue;  // whole numbers below 2^16 leave the lowest byte empty
      }
      std::uint32_t position = 0;
      for (std::uint32_t& digit_count : digit_counts_[pass]) {
        position += std::exchange(digit_count, position);
      }
      for (const std::uint64_t item : items_) {
        scratch_[digit_counts_[pass][(item >> shift) & kDigitMask]++] = item;
      }
      items_.swap(scratch_);
    }
    order_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      order_[i] = static_cast<int>(items_[i] & 0xffffffffu);
    }
    return order_;
  }

 private:
  std::vector<std::uint64_t> items_;
  std::vector<std::uint64_t> scratch_;
  std::array<std::array<std::uint32_t, 256>, 4> digit_counts_;
  std::vector<int> order_;
};

/// A complete binary tree over keys whose root is the smallest; changing a leaf costs log2(leaves).
class MinimumTree {
 public:
  static constexpr std::uint64_t kClosed = ~std::uint64_t{0};

  void assign(int leaves) {
    first_leaf_ = static_cast<int>(std::bit_ceil(static_cast<unsigned>(leaves)));
    nodes_.assign(static_cast<std::size_t>(2 * first_leaf_), kClosed);
  }
  std::uint64_t& leaf(int index) { return nodes_[static_cast<std::size_t>(first_leaf_ + index)]; }
  void build() {
    for (int node = first_leaf_ - 1; node >= 1; --node) {
      update(node);
    }
  }
  void set(int index, std::uint64_t key) {
    auto node = static_cast<std::size_t>(first_leaf_ + index);
    nodes_[node] = key;
    for (; node > 1; node >>= 1) {
      key = std::min(key, nodes_[node ^ 1]);  // kept in a register: no wait for the store below
      nodes_[node >> 1] = key;
    }
  }
  std::uint64_t smallest() const { return nodes_[1]; }

 private:
  void update(int node) {
    const auto left = static_cast<std::size_t>(2 * node);
    nodes_[left / 2] = std::min(nodes_[left], nodes_[left + 1]);
  }

  int first_leaf_ = 1;
  std::vector<std::uint64_t> nodes_;
};

struct Packing {
  std::vector<int> pack;  ///< [items]
  std::vector<int> rank;  ///< [items] position inside its pack
};

class Balancer {
 public:
  explicit Balancer(const PlacementRequest& request)
      : experts_(request.experts()),
        slots_(request.slots),
        gpus_(request.gpus),
        nodes_(request.groups % request.nodes == 0 ? request.nodes : 1),
        groups_(request.groups % request.nodes == 0 ? request.groups : 1) {}

  std::vector<int> layer(const std::vector<double>& weights) {
    const int group_size = experts_ / groups_;
    const int node_experts = experts_ / nodes_;
    const int node_slots = slots_ / nodes_;
    const int node_gpus = gpus_ / nodes_;
    weights_.assign(weights.begin(), weights.end());
    group_weights_.assign(static_cast<std::size_t>(groups_), 0.0f);
    for (int e = 0; e < experts_; ++e) {
      group_weights_[static_cast<std::size_t>(e / group_size)] +=
          weights_[static_cast<std::size_t>(e)];
    }
    pack_balanced(group_weights_, nodes_, groups_packing_);
    // Experts in node order: node by node, group by group as packed.
    ordered_experts_.resize(static_cast<std::size_t>(experts_));
    for (int e = 0; e < experts_; ++e) {
      const auto group = static_cast<std::size_t>(e / group_size);
      const int place =
          groups_packing_.pack[group] * (groups_ / nodes_) + groups_packing_.rank[group];
      ordered_experts_[static_cast<std::size_t>(place * group_size + e % group_size)] = e;
    }
    std::vector<int> slot_to_expert(static_cast<std::size_t>(slots_));
    for (int node = 0; node < nodes_; ++node) {
      replicate(node * node_experts, node_experts, node_slots);
      pack_balanced(slot_weights_, node_gpus, slots_packing_);
      for (int s = 0; s < node_slots; ++s) {
        const auto from = static_cast<std::size_t>(s);
        const int to = node * node_slots + slots_packing_.pack[from] * (node_slots / node_gpus) +
                       slots_packing_.rank[from];
        slot_to_expert[static_cast<std::size_t>(to)] =
            ordered_experts_[static_cast<std::size_t>(slot_sources_[from])];
      }
    }
    return slot_to_expert;
  }

 private:
  // Steps 1 and 3: each item in descending order to the least-loaded pack with room.
  void pack_balanced(const std::vector<float>& weights, int packs, Packing& packing) {
    const int items = static_cast<int>(weights.size());
    const int items_per_pack = items / packs;
    packing.pack.resize(weights.size());
    packing.rank.resize(weights.size());
    if (items_per_pack == 1) {
      std::iota(packing.pack.begin(), packing.pack.end(), 0);
      std::fill(packing.rank.begin(), packing.rank.end(), 0);
      return;
    }
    open_packs_.assign(packs);
    for (int p = 0; p < packs; ++p) {
      open_packs_.leaf(p) = static_cast<std::uint64_t>(p);  // load 0
    }
    open_packs_.build();
    pack_items_.assign(static_cast<std::size_t>(packs), 0);
    for (const int item : descending_.of(weights)) {
      const std::uint64_t key = open_packs_.smallest();
      const int pack = static_cast<int>(key & 0xffffffffu);
      const float load = bits_float(static_cast<std::uint32_t>(key >> 32)) +
                         weights[static_cast<std::size_t>(item)];
      packing.pack[static_cast<std::size_t>(item)] = pack;
      packing.rank[static_cast<std::size_t>(item)] = pack_items_[static_cast<std::size_t>(pack)]++;
      open_packs_.set(pack, packing.rank[static_cast<std::size_t>(item)] + 1 == items_per_pack
                                ? MinimumTree::kClosed
                                : (static_cast<std::uint64_t>(float_bits(load)) << 32) |
                                      static_cast<std::uint64_t>(pack));
    }
  }

  // Step 2, for the ordered experts [first, first + count): sets slot_sources_ and slot_weights_.
  void replicate(int first, int count, int slots) {
    slot_sources_.resize(static_cast<std::size_t>(slots));
    replica_counts_.assign(static_cast<std::size_t>(count), 1);
    node_weights_.resize(static_cast<std::size_t>(count));
    shares_.assign(count);
    for (int i = 0; i < count; ++i) {
      const auto ordered = static_cast<std::size_t>(first + i);
      const float weight = weights_[static_cast<std::size_t>(ordered_experts_[ordered])];
      node_weights_[static_cast<std::size_t>(i)] = weight;
      slot_sources_[static_cast<std::size_t>(i)] = first + i;
      shares_.leaf(i) = share_key(weight, i);
    }
    shares_.build();
    for (int s = count; s < slots; ++s) {
      const auto most = static_cast<std::size_t>(shares_.smallest() & 0xffffffffu);
      slot_sources_[static_cast<std::size_t>(s)] = first + static_cast<int>(most);
      const int replicas = ++replica_counts_[most];
      shares_.set(
          static_cast<int>(most),
          share_key(node_weights_[most] / static_cast<float>(replicas), static_cast<int>(most)));
    }
    slot_weights_.resize(static_cast<std::size_t>(slots));
    for (int s = 0; s < slots; ++s) {
      const auto i = static_cast<std::size_t>(slot_sources_[static_cast<std::size_t>(s)] - first);
      slot_weights_[static_cast<std::size_t>(s)] =
          node_weights_[i] / static_cast<float>(replica_counts_[i]);
    }
  }

  // The smallest key is the largest share, the first of equals.
  static std::uint64_t share_key(float share, int index) {
    return (static_cast<std::uint64_t>(~float_bits(share)) << 32) |
           static_cast<std::uint64_t>(index);
  }

  int experts_, slots_, gpus_, nodes_, groups_;
  std::vector<float> weights_, group_weights_, node_weights_, slot_weights_;
  std::vector<int> ordered_experts_, slot_sources_, replica_counts_, pack_items_;
  Packing groups_packing_, slots_packing_;
  DescendingOrder descending_;
  MinimumTree open_packs_, shares_;
};

}  // namespace

SlotTable eplb_slots(const PlacementRequest& request) {
  Balancer balancer(request);
  SlotTable table;
  table.reserve(request.weights.size());
  for (const std::vector<double>& weights : request.weights) {
    table.push_back(balancer.layer(weights));
  }
  return table;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Estimates that a thread made lately: the points of a sweep and the layouts of a plan share most
// of their ops (the same product at the same number of tokens), and looking one up costs a fiftieth
// of evaluating its curve.
//
// A direct-mapped table a thread. Keys are 128 bits mixed from everything that an estimate depends
// on; two ops that meet in a place are told apart by them, so results never depend on what the
// table holds.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "sim/cost/cost_model.h"

namespace moesim {

/// Two hashes with constants of their own.
class MemoKey {
 public:
  MemoKey& add(std::uint64_t word) {
    first_ = (first_ ^ word) * 0x9e3779b97f4a7c15ULL;
    first_ ^= first_ >> 32;
    second_ = (second_ + word) * 0xd6e8feb86659fd93ULL;
    second_ ^= second_ >> 29;
    return *this;
  }
  MemoKey& add(double value) { return add(std::bit_cast<std::uint64_t>(value)); }
  /// Every member of an op.
  MemoKey& add(const Op& op);
  /// Which curve predicts an op and how; `peaks` of the device that runs it.
  MemoKey& add(const CurvePick& pick, const DevicePeaks& peaks);

  std::size_t place(int bits) const {
    return static_cast<std::size_t>((first_ * 0x9e3779b97f4a7c15ULL) >> (64 - bits));
  }
  bool operator==(const MemoKey&) const = default;

 private:
  std::uint64_t first_ = 0x243f6a8885a308d3ULL;
  std::uint64_t second_ = 0x13198a2e03707344ULL;
};

/// An op's estimate and the work that goes with it.
struct RememberedCost {
  CostEstimate cost;
  double flops = 0;
};

class CostMemo {
 public:
  CostMemo() : entries_(std::make_unique<Entry[]>(std::size_t{1} << kBits)) {}
  /// What `make` returns, from the table if this thread made it lately.
  template <class Make>
  const RememberedCost& get(const MemoKey& key, const Make& make) {
    Entry& entry = entries_[key.place(kBits)];
    if (!entry.is_taken || entry.key != key) {
      entry.value = make();
      entry.key = key;
      entry.is_taken = true;
    }
    return entry.value;
  }
  /// Fetches the entry of a key that get() will ask for soon: the table is larger than the nearer
  /// caches, and the entries of a step's ops arrive together instead of one after the other.
  void expect(const MemoKey& key) const {
#if defined(__GNUC__)
    __builtin_prefetch(&entries_[key.place(kBits)]);
#endif
  }
  /// Of the calling thread.
  static CostMemo& of_thread();

 private:
  struct alignas(64) Entry {  // one line of the processor's cache
    MemoKey key;
    RememberedCost value;
    bool is_taken = false;
  };
  static constexpr int kBits = 15;  // 2 MB
  std::unique_ptr<Entry[]> entries_;
};

}  // namespace moesim

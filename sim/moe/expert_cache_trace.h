// SPDX-License-Identifier: Apache-2.0
// Which experts a GPU needs, step by step and layer by layer: what an expert cache sees.
//
// A step is one forward pass (a decode token, or a batch). Inside it layers come in order, each
// with the set of experts that its tokens take. `sticky_trace` makes such traces from two published
// kinds of figures: how popular experts are, and which share of a token's experts its predecessor
// had too.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

class ExpertTrace {
 public:
  /// `layers` MoE layers of `experts` experts each, no step yet.
  ExpertTrace(int layers, int experts);

  /// Adds the next layer of the current step (a new step after the last layer); `set` holds
  /// distinct ids.
  void add_layer(std::span<const std::int16_t> set);

  int layers() const { return layers_; }
  int experts() const { return experts_; }
  /// Complete steps.
  int steps() const {
    return static_cast<int>((begins_.size() - 1) / static_cast<std::size_t>(layers_));
  }
  std::int64_t num_accesses() const { return static_cast<std::int64_t>(ids_.size()); }
  std::span<const std::int16_t> at(int step, int layer) const;
  /// Cache key of an expert: layer * experts + expert.
  int key(int layer, int expert) const { return layer * experts_ + expert; }
  int num_keys() const { return layers_ * experts_; }

  /// Accesses per key [layers * experts] over steps [first, last).
  std::vector<double> popularity(int first_step, int last_step) const;
  /// Steps [first, last) as a trace.
  ExpertTrace slice(int first_step, int last_step) const;
  /// Steps merged into batches of `tokens` (the last may be smaller): each layer needs the union.
  ExpertTrace batched(int tokens) const;
  /// Steps in another order; `order` is a permutation.
  ExpertTrace reordered(std::span<const int> order) const;

 private:
  int layers_, experts_;
  std::vector<std::int64_t> begins_;  // [steps * layers + 1]
  std::vector<std::int16_t> ids_;
};

struct StickyTraceSpec {
  int layers = 1;
  int experts = 1;
  int top_k = 1;
  int steps = 1;
  /// [layers][experts] or one row for all: relative chance to be drawn; empty: uniform.
  std::vector<std::vector<double>> popularity;
  double repeat_fraction =
      0.0;  ///< chance that an expert of the last token is kept before others are drawn
  std::uint64_t seed = 0;
};

/// Each token keeps every expert of its predecessor with chance `repeat_fraction`, then draws the
/// rest without replacement by popularity. With 0 tokens are independent. The overlap of neighbours
/// is a little above `repeat_fraction`, since drawn experts may repeat by chance.
ExpertTrace sticky_trace(const StickyTraceSpec& spec);

/// An order of the steps (each a request or token) in which neighbours share experts, so that a
/// small cache swaps less: nearest neighbour from step 0 by shared experts (ties: lower index),
/// then segment reversals (2-opt) while they help. O(steps^2) time per pass; for batches up to some
/// thousand.
std::vector<int> swap_minimising_order(const ExpertTrace& trace);

}  // namespace moesim

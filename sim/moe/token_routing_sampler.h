// SPDX-License-Identifier: Apache-2.0
// Draws the set of experts of one token: the k largest of log w_e + Gumbel noise, without drawing
// the noise.
//
// Adding Gumbel noise to log-weights and taking the top k is the Plackett-Luce law [Yellott 1977]:
// experts are drawn one after another with probability proportional to weight, those already drawn
// left out. An alias table [Vose 1991] and rejection of repeats gives that law exactly at a few
// nanoseconds a selection. With expert groups (DeepSeek's gate) the noise matters between groups:
// exp(-score) are arrival times of independent exponential clocks with rates w_e, so each group's
// first arrivals are drawn in order and the group score, a sum of its best scores, is minus the log
// of a product of arrival times.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/base/random.h"

namespace moesim {

/// What the gate may choose: `top_k` of `experts`, which lie in `groups` equal consecutive groups
/// of which a token may use `groups_chosen`, those with the largest sum of their
/// `group_score_terms` best scores (DeepSeek-V3: 256, 8, 8 groups, 4 chosen, 2 terms; DeepSeek-V2
/// takes 1 term).
struct GateShape {
  std::int32_t experts = 1;
  std::int32_t top_k = 1;
  std::int32_t groups = 1;
  std::int32_t groups_chosen = 1;
  std::int32_t group_score_terms = 2;

  /// The group limit binds, so sets are not plain top-k.
  bool is_group_limited() const { return groups > 1 && groups_chosen < groups; }
  friend bool operator==(const GateShape&, const GateShape&) = default;
};

/// "" or what is wrong with the shape, for a message.
const char* problem_of(const GateShape& gate);

class TokenSetSampler {
 public:
  /// `weights` [experts] >= 0, finite; at least `top_k` of them (and, with groups, of any
  /// `groups_chosen` groups) above 0.
  TokenSetSampler(const GateShape& gate, std::span<const double> weights);

  /// Writes `tokens` sets to `out` [tokens, top_k], each in order of falling score, drawing from
  /// `stream`.
  void draw(RandomStream& stream, std::int64_t tokens, std::int16_t* out) const;

  /// Estimates P(expert is chosen) [experts] from `tokens` tokens under a group limit, where no
  /// closed form is known. Every selection counts not as one expert but as its distribution given
  /// the arrival times and the token's other experts (Rao-Blackwell), which leaves the noise of how
  /// many selections a group gets: about 1.3 / sqrt(tokens), the same for a whole group. `out`,
  /// unless null, receives the tokens' sets as `draw` writes them.
  std::vector<double> estimate_inclusion(RandomStream& stream, std::int64_t tokens,
                                         std::int16_t* out = nullptr) const;

 private:
  struct AliasCell {
    std::uint32_t threshold;  ///< keep the cell's own index when the fraction is below this
    std::uint16_t own;
    std::uint16_t other;
  };
  struct Group {
    std::int32_t first = 0;     ///< first cell, and first expert
    std::int32_t size = 0;      ///< experts in the group
    std::int32_t positive = 0;  ///< experts with a positive weight
    double total = 0.0;         ///< sum of weights
  };
  struct Scratch;
  class InclusionSums;

  void build_alias(const Group& group);
  void draw_plain(RandomStream& stream, std::int64_t tokens, std::int16_t* out) const;
  /// Calls `selected(scratch)` after each token with what is known of every group's arrivals.
  template <class Selected>
  void draw_grouped(RandomStream& stream, std::int64_t tokens, Selected selected) const;
  std::int32_t draw_unseen(const Group& group, RandomStream& stream,
                           std::span<const std::uint32_t> seen, std::uint32_t stamp) const;
  std::int32_t draw_remaining(const Group& group, RandomStream& stream,
                              std::span<const std::uint32_t> seen, std::uint32_t stamp) const;

  GateShape gate_;
  std::vector<double> weights_;
  std::vector<AliasCell> cells_;
  std::vector<Group> groups_;
};

}  // namespace moesim

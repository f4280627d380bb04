// SPDX-License-Identifier: Apache-2.0
#include "kernels/router_gate.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

/// Maps floats to unsigned integers of the same order; NaN and -0 count as -infinity and 0.
MOESIM_DEVICE std::uint32_t ordered_bits(float value) {
  const std::uint32_t bits = bits_of(fmaxf(value, -INFINITY) + 0.0f);
  return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000u);
}
MOESIM_DEVICE float float_of_ordered(std::uint32_t ordered) {
  return float_of_bits((ordered & 0x80000000u) != 0 ? ordered & 0x7FFFFFFFu : ~ordered);
}

/// One warp per token; lane l holds the experts l, l + W, l + 2W ... in registers. kItems bounds
/// ceil(experts / W), so that loops unroll and nothing spills; kIsExact says that it is experts /
/// W, so that nothing needs a check. Loops count items, not experts, where they can: an item's
/// number is a constant.
template <int kItems, bool kIsExact>
struct RouterGateBody {
  static constexpr int kThreads = 256;
  /// Up to 8 items fit the 32 registers with which a processor holds all the warps that it can.
  static constexpr int kMinBlocks = kItems <= 8 ? 8 : 1;
  static constexpr std::uint32_t kNone = 0;  ///< below the image of every float: cannot be chosen
  RouterGateCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const int width = thread.warp_size();
    const int token = thread.block_x() * (kThreads / width) + thread.warp();
    if (token >= call.shape.num_tokens) {
      return;  // the whole warp leaves
    }
    const int experts = call.shape.num_experts;
    const float* logits = call.logits + static_cast<std::int64_t>(token) * experts;
    const auto exists = [&](int item) {
      return kIsExact || item * width + thread.lane() < experts;
    };
    float score[kItems];
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      score[i] = exists(i) ? logits[i * width + thread.lane()] : -INFINITY;
    }
    const Scale scale = scale_of(thread, score);

    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      score[i] = score_of(score[i], scale);
    }
    if (call.bias != nullptr) {
      MOESIM_UNROLL
      for (int i = 0; i < kItems; ++i) {
        score[i] += exists(i) ? call.bias[i * width + thread.lane()] : 0.0f;
      }
    }
    if (call.selection != nullptr) {
      float* selection = call.selection + static_cast<std::int64_t>(token) * experts;
      MOESIM_UNROLL
      for (int i = 0; i < kItems; ++i) {
        if (exists(i)) {
          selection[i * width + thread.lane()] = score[i];
        }
      }
    }
    std::uint32_t key[kItems];
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      key[i] = exists(i) ? ordered_bits(score[i]) : kNone;
    }
    if (call.shape.groups_kept < call.shape.num_groups) {
      keep_best_groups(thread, key);
    }
    choose(thread, token, logits, scale, key);
  }

 private:
  /// What softmax needs of a whole row: score = exp(logit - largest) * inverse.
  struct Scale {
    float largest;
    float inverse;
  };
  MOESIM_DEVICE Scale scale_of(const Thread& thread, const float (&logit)[kItems]) const {
    if (call.shape.score == GateScore::sigmoid) {
      return {0.0f, 1.0f};
    }
    float largest = -INFINITY;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      largest = fmaxf(largest, logit[i]);
    }
    largest = thread.warp_max(largest);
    float sum = 0.0f;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      sum += fast_exp(logit[i] - largest);
    }
    return {largest, 1.0f / thread.warp_sum(sum)};
  }
  MOESIM_DEVICE float score_of(float logit, const Scale& scale) const {
    return call.shape.score == GateScore::sigmoid ? reciprocal(1.0f + fast_exp(-logit))
                                                  : fast_exp(logit - scale.largest) * scale.inverse;
  }

  /// The two best keys that a lane, then a warp, has seen.
  struct TwoBest {
    std::uint32_t first = kNone;
    std::uint32_t second = kNone;
    MOESIM_DEVICE void add(std::uint32_t key) {
      const std::uint32_t lower = key < first ? key : first;
      first = key > first ? key : first;
      second = lower > second ? lower : second;
    }
  };
  /// A group's rank: the sum of its two best scores (of its only one, for a group of one).
  MOESIM_DEVICE std::uint32_t group_rank(const Thread& thread, const TwoBest& mine,
                                         int group_size) const {
    const std::uint32_t first = thread.warp_max(mine.first);
    if (group_size == 1) {
      return first;
    }
    const bool is_owner = thread.lane() == thread.first_lane(mine.first == first);
    const std::uint32_t second = thread.warp_max(is_owner ? mine.second : mine.first);
    return ordered_bits(float_of_ordered(first) + float_of_ordered(second));
  }

  /// Group ranks live one per lane (two when groups outnumber lanes).
  MOESIM_DEVICE void keep_best_groups(const Thread& thread, std::uint32_t (&key)[kItems]) const {
    const int groups = call.shape.num_groups;
    const int group_size = call.shape.num_experts / groups;
    const int width = thread.warp_size();
    std::uint32_t rank[2] = {kNone, kNone};
    if (group_size == width && kIsExact) {
      keep_best_items(thread, key);
      return;
    }
    for (int group = 0; group < groups; ++group) {
      TwoBest mine;
      MOESIM_UNROLL
      for (int i = 0; i < kItems; ++i) {
        const int within = i * width + thread.lane() - group * group_size;
        mine.add(within >= 0 && within < group_size ? key[i] : kNone);
      }
      const std::uint32_t value = group_rank(thread, mine, group_size);
      rank[0] = group == thread.lane() ? value : rank[0];  // no index: it would go to memory
      rank[1] = group == thread.lane() + width ? value : rank[1];
    }
    std::uint32_t kept[2] = {0, 0};
    for (int round = 0; round < call.shape.groups_kept; ++round) {
      const std::uint32_t mine = rank[0] >= rank[1] ? rank[0] : rank[1];
      const std::uint32_t top = thread.warp_max(mine);
      const std::uint32_t mine_group =
          static_cast<std::uint32_t>(rank[0] == top ? thread.lane() : thread.lane() + width);
      const std::uint32_t group = thread.warp_min(mine == top ? mine_group : 0xFFFFFFFFu);
      kept[0] |= group < 32 ? 1u << group : 0u;
      kept[1] |= group < 32 ? 0u : 1u << (group - 32);
      rank[0] = static_cast<int>(group) == thread.lane() ? kNone : rank[0];
      rank[1] = static_cast<int>(group) == thread.lane() + width ? kNone : rank[1];
    }
    int group = thread.lane() / group_size;  // of item i; no division for each
    int within = thread.lane() % group_size;
    const int groups_an_item = width / group_size;
    const int rest_an_item = width % group_size;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const std::uint32_t word = group < 32 ? kept[0] : kept[1];
      key[i] = (word >> (group % 32) & 1) != 0 ? key[i] : kNone;
      group += groups_an_item;
      within += rest_an_item;
      if (within >= group_size) {
        within -= group_size;
        ++group;
      }
    }
  }

  /// The same when item i of all lanes is group i, as for DeepSeek-V3's 8 groups of 32 experts: no
  /// lane has to ask which group an expert is in. Lane i keeps the rank of group i.
  MOESIM_DEVICE void keep_best_items(const Thread& thread, std::uint32_t (&key)[kItems]) const {
    std::uint32_t first = kNone;
    std::uint32_t second = kNone;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const std::uint32_t top = thread.warp_max(key[i]);
      const bool is_top = thread.lane() == thread.first_lane(key[i] == top);
      const std::uint32_t next = thread.warp_max(is_top ? kNone : key[i]);
      first = thread.lane() == i ? top : first;
      second = thread.lane() == i ? next : second;
    }
    const float sum = float_of_ordered(first) + float_of_ordered(second);
    std::uint32_t rank = thread.lane() < kItems ? ordered_bits(sum) : kNone;
    std::uint32_t kept = 0;
    for (int round = 0; round < call.shape.groups_kept; ++round) {
      const int group = thread.first_lane(rank == thread.warp_max(rank));
      kept |= 1u << group;
      rank = thread.lane() == group ? kNone : rank;
    }
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      key[i] = (kept >> i & 1) != 0 ? key[i] : kNone;
    }
  }

  /// Each lane knows the best that it still holds; a round takes the warp's best of these, and the
  /// lane that held it looks for its next (all lanes look: a branch costs more). Weights come from
  /// the logits once more at the end: to keep the scores in registers, indexed by what was chosen,
  /// would cost a pass over them each round.
  MOESIM_DEVICE void choose(const Thread& thread, int token, const float* logits,
                            const Scale& scale, std::uint32_t (&key)[kItems]) const {
    const int width = thread.warp_size();
    std::uint32_t chosen = 0;  // lane r keeps the choice of round r
    std::uint32_t best = kNone;
    int best_item = 0;
    const auto look = [&] {
      best = kNone;
      MOESIM_UNROLL
      for (int i = 0; i < kItems; ++i) {
        best_item = key[i] > best ? i : best_item;
        best = key[i] > best ? key[i] : best;
      }
    };
    look();
    for (int round = 0; round < call.shape.top_k; ++round) {
      const std::uint32_t mine = static_cast<std::uint32_t>(best_item * width + thread.lane());
      const std::uint32_t top = thread.warp_max(best);
      const std::uint32_t expert = thread.warp_min(best == top ? mine : 0xFFFFFFFFu);
      chosen = thread.lane() == round ? expert : chosen;
      const std::uint32_t taken = expert == mine ? 1u << best_item : 0u;
      MOESIM_UNROLL
      for (int i = 0; i < kItems; ++i) {
        key[i] = (taken >> i & 1) != 0 ? kNone : key[i];
      }
      look();
    }
    const bool is_mine = thread.lane() < call.shape.top_k;
    const float weight = is_mine ? score_of(logits[chosen], scale) : 0.0f;
    const float sum = call.shape.normalise ? thread.warp_sum(weight) : 1.0f;
    if (is_mine) {
      const std::int64_t at = static_cast<std::int64_t>(token) * call.shape.top_k + thread.lane();
      call.chosen[at] = static_cast<std::int32_t>(chosen);
      call.weights[at] = weight * call.shape.scale / sum;
    }
  }
};

template <int kItems>
void launch_gate(StreamHandle stream, const RouterGateCall& call, int warp_size) {
  const int tokens_per_block = RouterGateBody<kItems, true>::kThreads / warp_size;
  const Grid grid{(call.shape.num_tokens + tokens_per_block - 1) / tokens_per_block, 1, 0};
  if (call.shape.num_experts == kItems * warp_size) {
    launch(stream, grid, RouterGateBody<kItems, true>{call});
  } else {
    launch(stream, grid, RouterGateBody<kItems, false>{call});
  }
}

}  // namespace

void router_gate(StreamHandle stream, const RouterGateCall& call) {
  const int warp_size = warp_size_of(stream);
  const int items = (call.shape.num_experts + warp_size - 1) / warp_size;
  if (items <= 1) {
    launch_gate<1>(stream, call, warp_size);
  } else if (items <= 2) {
    launch_gate<2>(stream, call, warp_size);
  } else if (items <= 4) {
    launch_gate<4>(stream, call, warp_size);
  } else if (items <= 8) {
    launch_gate<8>(stream, call, warp_size);
  } else {
    launch_gate<16>(stream, call, warp_size);
  }
}

}  // namespace moesim::gpu::MOESIM_BACKEND

// SPDX-License-Identifier: Apache-2.0
#include "kernels/router_gate.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

/// Maps floats to unsigned integers of the same order; NaN and -0 count as -infinity and 0.
MOESIM_DEVICE std::uint32_t ordered_bits(float value) {
  if (value != value) {
    return 0x007FFFFFu;  // the image of -infinity
  }
  const std::uint32_t bits = bits_of(value == 0.0f ? 0.0f : value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
MOESIM_DEVICE float float_of_ordered(std::uint32_t ordered) {
  return float_of_bits((ordered & 0x80000000u) != 0 ? ordered & 0x7FFFFFFFu : ~ordered);
}

/// One warp per token; lane l holds the experts l, l + W, l + 2W ... in registers. kItems bounds
/// ceil(experts / W), so that loops unroll and nothing spills.
template <int kItems>
struct RouterGateBody {
  static constexpr int kThreads = 256;
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
    float score[kItems];
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const int expert = i * width + thread.lane();
      score[i] = expert < experts ? logits[expert] : -INFINITY;
    }
    logits_to_scores(thread, score);

    std::uint32_t key[kItems];
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const int expert = i * width + thread.lane();
      key[i] = kNone;
      if (expert < experts) {
        const float selection = score[i] + (call.bias != nullptr ? call.bias[expert] : 0.0f);
        key[i] = ordered_bits(selection);
        if (call.selection != nullptr) {
          call.selection[static_cast<std::int64_t>(token) * experts + expert] = selection;
        }
      }
    }
    if (call.shape.groups_kept < call.shape.num_groups) {
      keep_best_groups(thread, key);
    }
    choose(thread, token, score, key);
  }

 private:
  MOESIM_DEVICE void logits_to_scores(const Thread& thread, float (&score)[kItems]) const {
    if (call.shape.score == GateScore::sigmoid) {
      MOESIM_UNROLL
      for (int i = 0; i < kItems; ++i) {
        score[i] = 1.0f / (1.0f + expf(-score[i]));
      }
      return;
    }
    float largest = -INFINITY;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      largest = fmaxf(largest, score[i]);
    }
    largest = thread.warp_max(largest);
    float sum = 0.0f;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      score[i] = expf(score[i] - largest);
      sum += score[i];
    }
    const float inverse = 1.0f / thread.warp_sum(sum);
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      score[i] *= inverse;
    }
  }

  /// The best key among experts [first, last), and its lowest expert; the same on all lanes.
  MOESIM_DEVICE std::uint32_t best(const Thread& thread, const std::uint32_t (&key)[kItems],
                                   int first, int last, std::uint32_t* expert) const {
    std::uint32_t mine = kNone;
    std::uint32_t mine_expert = 0xFFFFFFFFu;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const int candidate = i * thread.warp_size() + thread.lane();
      if (candidate >= first && candidate < last && key[i] > mine) {
        mine = key[i];
        mine_expert = static_cast<std::uint32_t>(candidate);
      }
    }
    const std::uint32_t top = thread.warp_max(mine);
    *expert = thread.warp_min(mine == top ? mine_expert : 0xFFFFFFFFu);
    return top;
  }

  MOESIM_DEVICE void erase(const Thread& thread, std::uint32_t (&key)[kItems],
                           std::uint32_t expert) const {
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      if (static_cast<std::uint32_t>(i * thread.warp_size() + thread.lane()) == expert) {
        key[i] = kNone;
      }
    }
  }

  /// Erases `expert` and gives its score to all lanes. A sum over all items instead of an indexed
  /// read: an index would move the array from registers to memory.
  MOESIM_DEVICE float take(const Thread& thread, std::uint32_t (&key)[kItems],
                           const float (&score)[kItems], std::uint32_t expert) const {
    float held = 0.0f;
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const bool is_taken =
          static_cast<std::uint32_t>(i * thread.warp_size() + thread.lane()) == expert;
      key[i] = is_taken ? kNone : key[i];
      held += is_taken ? score[i] : 0.0f;
    }
    return thread.shuffle(held, static_cast<int>(expert) % thread.warp_size());
  }

  /// Group scores live one per lane (two when groups outnumber lanes).
  MOESIM_DEVICE void keep_best_groups(const Thread& thread, std::uint32_t (&key)[kItems]) const {
    const int groups = call.shape.num_groups;
    const int group_size = call.shape.num_experts / groups;
    const int width = thread.warp_size();
    std::uint32_t group_key[2] = {kNone, kNone};
    for (int group = 0; group < groups; ++group) {
      const int first = group * group_size;
      std::uint32_t expert = 0;
      float sum = float_of_ordered(best(thread, key, first, first + group_size, &expert));
      if (group_size > 1) {
        std::uint32_t rest[kItems];
        MOESIM_UNROLL
        for (int i = 0; i < kItems; ++i) {
          rest[i] = key[i];
        }
        erase(thread, rest, expert);
        sum += float_of_ordered(best(thread, rest, first, first + group_size, &expert));
      }
      if (group % width == thread.lane()) {
        group_key[group / width == 0 ? 0 : 1] = ordered_bits(sum);
      }
    }
    std::uint64_t kept = 0;
    for (int round = 0; round < call.shape.groups_kept; ++round) {
      const std::uint32_t mine = group_key[0] >= group_key[1] ? group_key[0] : group_key[1];
      const std::uint32_t top = thread.warp_max(mine);
      const std::uint32_t mine_group =
          static_cast<std::uint32_t>(group_key[0] == top ? thread.lane() : thread.lane() + width);
      const std::uint32_t group = thread.warp_min(mine == top ? mine_group : 0xFFFFFFFFu);
      kept |= std::uint64_t{1} << group;
      if (static_cast<int>(group) == thread.lane()) {
        group_key[0] = kNone;
      } else if (static_cast<int>(group) == thread.lane() + width) {
        group_key[1] = kNone;
      }
    }
    MOESIM_UNROLL
    for (int i = 0; i < kItems; ++i) {
      const int expert = i * width + thread.lane();
      if (expert < call.shape.num_experts && (kept >> (expert / group_size) & 1) == 0) {
        key[i] = kNone;
      }
    }
  }

  MOESIM_DEVICE void choose(const Thread& thread, int token, const float (&score)[kItems],
                            std::uint32_t (&key)[kItems]) const {
    std::uint32_t my_expert = 0;  // lane r keeps the choice of round r
    float my_weight = 0.0f;
    float sum = 0.0f;
    for (int round = 0; round < call.shape.top_k; ++round) {
      std::uint32_t expert = 0;
      best(thread, key, 0, call.shape.num_experts, &expert);
      const float weight = take(thread, key, score, expert);
      sum += weight;
      if (thread.lane() == round) {
        my_expert = expert;
        my_weight = weight;
      }
    }
    if (thread.lane() < call.shape.top_k) {
      const std::int64_t at = static_cast<std::int64_t>(token) * call.shape.top_k + thread.lane();
      call.chosen[at] = static_cast<std::int32_t>(my_expert);
      call.weights[at] = my_weight * call.shape.scale / (call.shape.normalise ? sum : 1.0f);
    }
  }
};

template <int kItems>
void launch_gate(StreamHandle stream, const RouterGateCall& call, int warp_size) {
  const int tokens_per_block = RouterGateBody<kItems>::kThreads / warp_size;
  const int blocks = (call.shape.num_tokens + tokens_per_block - 1) / tokens_per_block;
  launch(stream, {blocks, 1, 0}, RouterGateBody<kItems>{call});
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

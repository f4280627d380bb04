// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention_decode.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

/// One block per (sequence, KV head, split). Tiles of kTile tokens: keys go to shared memory, each
/// thread scores one token for half of the query heads; then each thread sums two columns of V over
/// every R-th token. kGroup is the number of query heads that share this KV head.
template <int kGroup>
struct AttentionBody {
  static constexpr int kThreads = 128;
  static constexpr int kTile = 64;
  AttentionCall call;

  /// Shared floats: keys [tile, size/2 + 1 pairs], queries, scores [group, tile], sums.
  static int shared_bytes(int size) {
    const int keys = kTile * (size / 2 + 1) * 4;
    const int merge = kThreads * 2 * kGroup * 4;  // reuses the keys' place
    return (keys > merge ? keys : merge) + kGroup * size * 4 + kGroup * kTile * 4 + kGroup * 3 * 4;
  }

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const AttentionShape& shape = call.shape;
    const int size = shape.head_size;
    const int pairs = size / 2;
    const int keys_words = kTile * (pairs + 1);
    const int merge_words = kThreads * 2 * kGroup;
    std::uint32_t* keys = thread.shared<std::uint32_t>();
    float* merge = thread.shared<float>();
    float* queries = merge + (keys_words > merge_words ? keys_words : merge_words);
    float* scores = queries + kGroup * size;
    float* largest = scores + kGroup * kTile;  // running maximum per query head
    float* total = largest + kGroup;           // running sum of exponentials
    float* rescale = total + kGroup;           // of what was summed before this tile

    const int split = thread.block_x();
    const std::int64_t kv_head = thread.block_y();  // of all sequences
    const std::int64_t first_query = kv_head * kGroup;
    const int per_split = (shape.context + call.num_splits - 1) / call.num_splits;
    const int first = split * per_split;
    const int last = first + per_split < shape.context ? first + per_split : shape.context;
    const std::int64_t cache = kv_head * shape.context * pairs;
    const auto* k = reinterpret_cast<const std::uint32_t*>(call.k) + cache;
    const auto* v = reinterpret_cast<const std::uint32_t*>(call.v) + cache;

    for (int i = thread.index(); i < kGroup * size; i += kThreads) {
      queries[i] = to_float(call.q[first_query * size + i]) * rsqrt_of(size);
    }
    for (int i = thread.index(); i < kGroup; i += kThreads) {
      largest[i] = -INFINITY;
      total[i] = 0.0f;
    }
    float sum[kGroup][2] = {};
    const int column = thread.index() % pairs;
    const int residue = thread.index() / pairs;  // this thread takes tokens residue, + R, + 2R ...
    const int residues = kThreads / pairs;
    for (int tile = first; tile < last; tile += kTile) {
      const int tokens = last - tile < kTile ? last - tile : kTile;
      for (int i = thread.index(); i < tokens * pairs; i += kThreads) {
        keys[i / pairs * (pairs + 1) + i % pairs] = k[static_cast<std::int64_t>(tile) * pairs + i];
      }
      thread.barrier();
      score(thread, keys, queries, scores, tokens, pairs);
      thread.barrier();
      for (int g = thread.warp(); g < kGroup; g += kThreads / thread.warp_size()) {
        advance(thread, scores + g * kTile, tokens, &largest[g], &total[g], &rescale[g]);
      }
      thread.barrier();
      MOESIM_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        sum[g][0] *= rescale[g];
        sum[g][1] *= rescale[g];
      }
      for (int token = residue; token < tokens; token += residues) {
        const std::uint32_t pair = v[static_cast<std::int64_t>(tile + token) * pairs + column];
        const float low = float_of_bits(pair << 16);
        const float high = float_of_bits(pair & 0xFFFF0000u);
        MOESIM_UNROLL
        for (int g = 0; g < kGroup; ++g) {
          sum[g][0] += scores[g * kTile + token] * low;
          sum[g][1] += scores[g * kTile + token] * high;
        }
      }
      thread.barrier();  // the next tile overwrites keys and scores
    }
    MOESIM_UNROLL
    for (int g = 0; g < kGroup; ++g) {
      merge[(g * kThreads + thread.index()) * 2] = sum[g][0];
      merge[(g * kThreads + thread.index()) * 2 + 1] = sum[g][1];
    }
    thread.barrier();
    for (int i = thread.index(); i < kGroup * size; i += kThreads) {
      const int g = i / size;
      const int d = i % size;
      float value = 0.0f;
      for (int r = 0; r < residues; ++r) {
        value += merge[(g * kThreads + r * pairs + d / 2) * 2 + d % 2];
      }
      float* out = call.partial + ((first_query + g) * call.num_splits + split) *
                                      static_cast<std::int64_t>(size + 2);
      out[2 + d] = value;
      if (d == 0) {
        out[0] = largest[g];
        out[1] = total[g];
      }
    }
  }

 private:
  static MOESIM_DEVICE float rsqrt_of(int size) { return 1.0f / sqrtf(static_cast<float>(size)); }

  /// scores[g, token] = queries[g] . keys[token]
  MOESIM_DEVICE void score(const Thread& thread, const std::uint32_t* keys, const float* queries,
                           float* scores, int tokens, int pairs) const {
    constexpr int kHalf = kGroup > 1 ? kGroup / 2 : 1;
    const int token = thread.index() % kTile;
    const int first_head = thread.index() / kTile * kHalf;
    if (token >= tokens || first_head >= kGroup) {
      return;
    }
    float dot[kHalf] = {};
    for (int p = 0; p < pairs; ++p) {
      const std::uint32_t pair = keys[token * (pairs + 1) + p];
      const float low = float_of_bits(pair << 16);
      const float high = float_of_bits(pair & 0xFFFF0000u);
      MOESIM_UNROLL
      for (int h = 0; h < kHalf; ++h) {
        const float* query = queries + (first_head + h) * pairs * 2 + p * 2;
        dot[h] += query[0] * low + query[1] * high;
      }
    }
    MOESIM_UNROLL
    for (int h = 0; h < kHalf; ++h) {
      scores[(first_head + h) * kTile + token] = dot[h];
    }
  }

  /// Online softmax of one head by one warp: scores become exponentials relative to the new
  /// maximum.
  MOESIM_DEVICE void advance(const Thread& thread, float* scores, int tokens, float* largest,
                             float* total, float* rescale) const {
    const float before = *largest;
    float top = before;
    for (int i = thread.lane(); i < tokens; i += thread.warp_size()) {
      top = fmaxf(top, scores[i]);
    }
    top = thread.warp_max(top);
    float sum = 0.0f;
    for (int i = thread.lane(); i < tokens; i += thread.warp_size()) {
      scores[i] = expf(scores[i] - top);
      sum += scores[i];
    }
    sum = thread.warp_sum(sum);
    if (thread.lane() == 0) {
      *rescale = expf(before - top);
      *total = *total * *rescale + sum;
      *largest = top;
    }
  }
};

/// One block per query head: merges the splits.
struct MergeBody {
  static constexpr int kThreads = 64;
  AttentionCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const int size = call.shape.head_size;
    const std::int64_t head = thread.block_x();
    const float* partial = call.partial + head * call.num_splits * (size + 2);
    float top = -INFINITY;
    for (int s = 0; s < call.num_splits; ++s) {
      top = fmaxf(top, partial[s * (size + 2)]);
    }
    for (int d = thread.index(); d < size; d += kThreads) {
      float sum = 0.0f;
      float total = 0.0f;
      for (int s = 0; s < call.num_splits; ++s) {
        const float* part = partial + s * (size + 2);
        const float weight = expf(part[0] - top);  // 0 for a split without tokens
        total += weight * part[1];
        sum += weight * part[2 + d];
      }
      call.out[head * size + d] = from_float<Bfloat16>(sum / total);
    }
  }
};

template <int kGroup>
void launch_attention(StreamHandle stream, const AttentionCall& call) {
  const AttentionShape& s = call.shape;
  using Body = AttentionBody<kGroup>;
  launch(stream,
         {call.num_splits, s.num_sequences * s.num_kv_heads, Body::shared_bytes(s.head_size)},
         Body{call});
}

}  // namespace

void attention_decode(StreamHandle stream, const AttentionCall& call) {
  switch (call.shape.num_query_heads / call.shape.num_kv_heads) {
    case 1:
      launch_attention<1>(stream, call);
      break;
    case 2:
      launch_attention<2>(stream, call);
      break;
    case 4:
      launch_attention<4>(stream, call);
      break;
    case 8:
      launch_attention<8>(stream, call);
      break;
    case 16:
      launch_attention<16>(stream, call);
      break;
    default:
      MOESIM_CHECK(false, "query heads are 1, 2, 4, 8 or 16 times the KV heads");
  }
  launch(stream, {call.shape.num_sequences * call.shape.num_query_heads, 1, 0}, MergeBody{call});
}

}  // namespace moesim::gpu::MOESIM_BACKEND

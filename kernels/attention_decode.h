// SPDX-License-Identifier: Apache-2.0
// Attention of one new token per sequence over its key-value cache: the memory stream of decode.
//
//   out[b, h] = softmax(scale * q[b, h] . K[b, g]) V[b, g],  g = h / (q_heads / kv_heads)
// The context is cut into `num_splits` pieces, one block each (per sequence and KV head); a second
// kernel merges their partial softmaxes. Source: Dao et al., "Flash-Decoding" (2023),
// https://crfm.stanford.edu/2023/10/12/flashdecoding.html; grouped heads: arXiv:2305.13245.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "kernels/numbers.h"
#include "sim/base/units.h"

namespace moesim::gpu {

struct AttentionShape {
  int num_sequences = 0;
  int num_query_heads = 1;  ///< a multiple of num_kv_heads, 1, 2, 4, 8 or 16 times as many
  int num_kv_heads = 1;
  int head_size = 64;  ///< 32, 64, 128 or 256
  int context = 1;     ///< tokens in the cache, >= 1
};

struct AttentionCall {
  AttentionShape shape;
  int num_splits = 1;           ///< at least 1; more than the context leaves blocks idle
  const Bfloat16* q = nullptr;  ///< [sequences, query heads, head size]
  const Bfloat16* k = nullptr;  ///< [sequences, kv heads, context, head size]
  const Bfloat16* v = nullptr;  ///< as k
  float* partial = nullptr;     ///< scratch [attention_partial_size]
  Bfloat16* out = nullptr;      ///< out [sequences, query heads, head size]
};

/// Floats of scratch: per query head and split the sum of exponentials, their maximum and a vector.
inline std::size_t attention_partial_size(const AttentionShape& s, int num_splits) {
  return static_cast<std::size_t>(s.num_sequences) * s.num_query_heads * num_splits *
         (s.head_size + 2);
}
/// Splits that give every processor of the device about four blocks, of 256 tokens at least.
int attention_splits(const AttentionShape& shape, const DeviceInfo& info);

/// The cache once, queries and outputs once.
inline Bytes attention_bytes(const AttentionShape& s) {
  return Bytes(2.0 * s.num_sequences * s.head_size *
               (2.0 * s.num_kv_heads * s.context + 2.0 * s.num_query_heads));
}
/// Two products of length head_size per query head and cached token.
inline Flops attention_flops(const AttentionShape& s) {
  return Flops(4.0 * s.num_sequences * s.num_query_heads * s.context * s.head_size);
}

/// Output in double of sequence `sequence`: [query heads, head size]. q, k, v as in the call.
std::vector<double> attention_reference(const AttentionShape& shape, int sequence,
                                        const std::vector<Bfloat16>& q,
                                        const std::vector<Bfloat16>& k,
                                        const std::vector<Bfloat16>& v);

}  // namespace moesim::gpu

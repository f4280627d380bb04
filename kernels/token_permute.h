// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine packing: tokens to rows ordered by expert, and back.
//
//   plan:    counts per expert (histogram); rows of expert e are offsets[e] .. offsets[e+1], in
//            (token, slot) order; beyond `capacity` rows an expert drops the later ones
//   permute: packed[row_of[t, i]] = x[t]
//   combine: out[t] = sum over i of weight[t, i] * packed[row_of[t, i]], dropped ones left out
// A chosen expert outside [0, experts) (padding) counts as dropped. Source: Lepikhin et al. 2020,
// GShard (arXiv:2006.16668), section 2.2, for capacity.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "kernels/numbers.h"
#include "sim/base/units.h"

namespace moesim::gpu {

struct PermuteShape {
  int num_tokens = 0;
  int top_k = 1;
  int num_experts = 1;  ///< 1 to 512
  int hidden = 8;
  int capacity = -1;  ///< most rows of one expert; negative: no limit
};

/// Assignments that one block of the plan kernels counts.
inline constexpr int kPermuteChunk = 256;

struct PermutePlanCall {
  PermuteShape shape;
  const std::int32_t* chosen = nullptr;   ///< [tokens, k]
  std::int32_t* chunk_counts = nullptr;   ///< scratch [permute_chunks(shape), experts]
  std::int32_t* offsets = nullptr;        ///< out [experts + 1]
  std::int32_t* row_of = nullptr;         ///< out [tokens, k]; -1: dropped
  std::int32_t* assignment_of = nullptr;  ///< out [tokens * k]: which t * k + i a row holds; rows
                                          ///< above offsets[experts] are left alone
};

struct PermuteRowsCall {
  PermuteShape shape;
  const std::int32_t* row_of = nullptr;  ///< [tokens, k]
  const Bfloat16* x = nullptr;           ///< [tokens, hidden]
  Bfloat16* packed = nullptr;            ///< out [rows, hidden]
};

struct CombineRowsCall {
  PermuteShape shape;
  const std::int32_t* row_of = nullptr;  ///< [tokens, k]
  const float* weights = nullptr;        ///< [tokens, k]
  const Bfloat16* packed = nullptr;      ///< [rows, hidden]
  Bfloat16* out = nullptr;               ///< out [tokens, hidden]
};

inline int permute_chunks(const PermuteShape& s) {
  return static_cast<int>((static_cast<std::int64_t>(s.num_tokens) * s.top_k + kPermuteChunk - 1) /
                          kPermuteChunk);
}
/// The plan reads the choice twice and writes two index lists; the counts are small.
inline Bytes permute_plan_bytes(const PermuteShape& s) {
  return Bytes(16.0 * s.num_tokens * s.top_k + 12.0 * permute_chunks(s) * s.num_experts);
}
/// Each token is read once and written once per row kept (`num_rows`).
inline Bytes permute_rows_bytes(const PermuteShape& s, double num_rows) {
  return Bytes((s.num_tokens + num_rows) * s.hidden * 2.0 + 4.0 * s.num_tokens * s.top_k);
}
/// Each row kept is read once, each token written once.
inline Bytes combine_rows_bytes(const PermuteShape& s, double num_rows) {
  return Bytes((s.num_tokens + num_rows) * s.hidden * 2.0 + 8.0 * s.num_tokens * s.top_k);
}
inline Flops combine_rows_flops(const PermuteShape& s, double num_rows) {
  return Flops(2.0 * num_rows * s.hidden);
}

struct PermutePlan {
  std::vector<std::int32_t> offsets;        ///< [experts + 1]
  std::vector<std::int32_t> row_of;         ///< [tokens, k]
  std::vector<std::int32_t> assignment_of;  ///< [offsets[experts]]
};
PermutePlan permute_plan_reference(const PermuteShape& shape,
                                   const std::vector<std::int32_t>& chosen);
/// Packed rows [rows, hidden]; exact: nothing is computed.
std::vector<Bfloat16> permute_rows_reference(const PermuteShape& shape, const PermutePlan& plan,
                                             const std::vector<Bfloat16>& x);
/// Output [tokens, hidden] in double.
std::vector<double> combine_rows_reference(const PermuteShape& shape, const PermutePlan& plan,
                                           const std::vector<float>& weights,
                                           const std::vector<Bfloat16>& packed);

}  // namespace moesim::gpu

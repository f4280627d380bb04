// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_permute.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

/// Expert of `assignment`, -1 when there is none.
MOESIM_DEVICE int expert_of(const PermutePlanCall& call, int assignment) {
  if (assignment >= call.shape.num_tokens * call.shape.top_k) {
    return -1;
  }
  const int expert = call.chosen[assignment];
  return expert >= 0 && expert < call.shape.num_experts ? expert : -1;
}

/// chunk_counts[block, expert] = assignments of this block's chunk that chose the expert.
struct CountBody {
  static constexpr int kThreads = kPermuteChunk;
  PermutePlanCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    int* counts = thread.shared<int>();
    for (int e = thread.index(); e < call.shape.num_experts; e += kThreads) {
      counts[e] = 0;
    }
    thread.barrier();
    const int expert = expert_of(call, thread.block_x() * kThreads + thread.index());
    if (expert >= 0) {
      atomic_add(&counts[expert], 1);
    }
    thread.barrier();
    for (int e = thread.index(); e < call.shape.num_experts; e += kThreads) {
      call.chunk_counts[thread.block_x() * call.shape.num_experts + e] = counts[e];
    }
  }
};

/// One block: turns chunk_counts into ranks within the expert and writes offsets.
struct ScanBody {
  static constexpr int kThreads = 512;
  PermutePlanCall call;
  int num_chunks;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const int experts = call.shape.num_experts;
    int* kept = thread.shared<int>();
    const int expert = thread.index();
    if (expert < experts) {
      int total = 0;
      for (int chunk = 0; chunk < num_chunks; ++chunk) {
        int* count = &call.chunk_counts[chunk * experts + expert];
        const int here = *count;
        *count = total;
        total += here;
      }
      const int capacity = call.shape.capacity;
      kept[expert] = capacity >= 0 && total > capacity ? capacity : total;
    }
    thread.barrier();
    if (expert < experts) {
      // Each thread sums all before it: more additions than a scan, but no further barrier.
      int offset = 0;
      for (int e = 0; e < expert; ++e) {
        offset += kept[e];
      }
      call.offsets[expert] = offset;
      if (expert == experts - 1) {
        call.offsets[experts] = offset + kept[expert];
      }
    }
  }
};

/// Writes row_of and assignment_of; equal experts of a chunk keep their order.
struct PlaceBody {
  static constexpr int kThreads = kPermuteChunk;
  PermutePlanCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    int* experts = thread.shared<int>();
    const int assignment = thread.block_x() * kThreads + thread.index();
    const int expert = expert_of(call, assignment);
    experts[thread.index()] = expert;
    thread.barrier();
    if (assignment >= call.shape.num_tokens * call.shape.top_k) {
      return;
    }
    int row = -1;
    if (expert >= 0) {
      int rank = call.chunk_counts[thread.block_x() * call.shape.num_experts + expert];
      for (int i = 0; i < thread.index(); ++i) {
        rank += experts[i] == expert ? 1 : 0;
      }
      if (call.shape.capacity < 0 || rank < call.shape.capacity) {
        row = call.offsets[expert] + rank;
        call.assignment_of[row] = assignment;
      }
    }
    call.row_of[assignment] = row;
  }
};

/// Numbers in one access: 8 (16 bytes) where the row length allows, else 1.
template <int kWidth>
struct Vector {
  alignas(kWidth * 2) Bfloat16 number[kWidth];
};

/// One block per token: reads its row once, writes it to each place.
template <int kWidth>
struct PermuteRowsBody {
  static constexpr int kThreads = 256;
  PermuteRowsCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const int top_k = call.shape.top_k;
    const std::int64_t token = thread.block_x();
    const std::int64_t vectors = call.shape.hidden / kWidth;
    const auto* from = reinterpret_cast<const Vector<kWidth>*>(call.x) + token * vectors;
    auto* packed = reinterpret_cast<Vector<kWidth>*>(call.packed);
    for (std::int64_t v = thread.index(); v < vectors; v += kThreads) {
      const Vector<kWidth> value = from[v];
      for (int i = 0; i < top_k; ++i) {
        const std::int64_t row = call.row_of[token * top_k + i];
        if (row >= 0) {
          packed[row * vectors + v] = value;
        }
      }
    }
  }
};

/// One block per token: weighted sum of its rows in fp32, slots in order.
template <int kWidth>
struct CombineRowsBody {
  static constexpr int kThreads = 256;
  CombineRowsCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const int top_k = call.shape.top_k;
    const std::int64_t token = thread.block_x();
    const std::int64_t vectors = call.shape.hidden / kWidth;
    const auto* packed = reinterpret_cast<const Vector<kWidth>*>(call.packed);
    auto* out = reinterpret_cast<Vector<kWidth>*>(call.out) + token * vectors;
    for (std::int64_t v = thread.index(); v < vectors; v += kThreads) {
      float sum[kWidth] = {};
      for (int i = 0; i < top_k; ++i) {
        const std::int64_t row = call.row_of[token * top_k + i];
        if (row < 0) {
          continue;
        }
        const float weight = call.weights[token * top_k + i];
        const Vector<kWidth> value = packed[row * vectors + v];
        MOESIM_UNROLL
        for (int n = 0; n < kWidth; ++n) {
          sum[n] += weight * to_float(value.number[n]);
        }
      }
      Vector<kWidth> result;
      MOESIM_UNROLL
      for (int n = 0; n < kWidth; ++n) {
        result.number[n] = from_float<Bfloat16>(sum[n]);
      }
      out[v] = result;
    }
  }
};

}  // namespace

void permute_plan(StreamHandle stream, const PermutePlanCall& call) {
  const int chunks = permute_chunks(call.shape);
  const int expert_bytes = call.shape.num_experts * 4;
  launch(stream, {chunks, 1, expert_bytes}, CountBody{call});
  launch(stream, {1, 1, expert_bytes}, ScanBody{call, chunks});
  launch(stream, {chunks, 1, kPermuteChunk * 4}, PlaceBody{call});
}

void permute_rows(StreamHandle stream, const PermuteRowsCall& call) {
  if (call.shape.hidden % 8 == 0) {
    launch(stream, {call.shape.num_tokens, 1, 0}, PermuteRowsBody<8>{call});
  } else {
    launch(stream, {call.shape.num_tokens, 1, 0}, PermuteRowsBody<1>{call});
  }
}

void combine_rows(StreamHandle stream, const CombineRowsCall& call) {
  if (call.shape.hidden % 8 == 0) {
    launch(stream, {call.shape.num_tokens, 1, 0}, CombineRowsBody<8>{call});
  } else {
    launch(stream, {call.shape.num_tokens, 1, 0}, CombineRowsBody<1>{call});
  }
}

}  // namespace moesim::gpu::MOESIM_BACKEND

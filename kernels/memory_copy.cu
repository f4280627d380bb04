// SPDX-License-Identifier: Apache-2.0
#include "kernels/memory_copy.h"

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

/// Each block moves one contiguous piece; each thread has kEach loads in flight at once.
struct MemoryCopyBody {
  static constexpr int kThreads = 256;
  static constexpr int kEach = 8;
  static constexpr std::int64_t kBlockVectors = kThreads * kEach;
  MemoryCopyCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const auto vectors = static_cast<std::int64_t>(call.bytes / 16);
    const auto* from = static_cast<const Bytes16*>(call.from);
    auto* to = static_cast<Bytes16*>(call.to);
    const std::int64_t first = thread.block_x() * kBlockVectors + thread.index();
    if ((thread.block_x() + 1) * kBlockVectors <= vectors) {
      Bytes16 value[kEach];
      MOESIM_UNROLL
      for (int i = 0; i < kEach; ++i) {
        value[i] = from[first + i * kThreads];
      }
      MOESIM_UNROLL
      for (int i = 0; i < kEach; ++i) {
        to[first + i * kThreads] = value[i];
      }
      return;
    }
    for (std::int64_t i = first; i < vectors; i += kThreads) {
      to[i] = from[i];
    }
  }
};

struct TouchBody {
  static constexpr int kThreads = 256;
  TouchCall call;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const std::size_t at = static_cast<std::size_t>(thread.block_x()) * kThreads + thread.index();
    if (at < call.words) {
      call.to[at] = call.value;
    }
  }
};

/// Blocks for `count` pieces; at least one, so that a launch without work is still a launch.
int blocks_for(std::size_t count, std::size_t each) {
  return static_cast<int>(count == 0 ? 1 : (count + each - 1) / each);
}

}  // namespace

void memory_copy(StreamHandle stream, const MemoryCopyCall& call) {
  launch(stream, {blocks_for(call.bytes / 16, MemoryCopyBody::kBlockVectors), 1, 0},
         MemoryCopyBody{call});
}

void touch(StreamHandle stream, const TouchCall& call) {
  launch(stream, {blocks_for(call.words, TouchBody::kThreads), 1, 0}, TouchBody{call});
}

}  // namespace moesim::gpu::MOESIM_BACKEND

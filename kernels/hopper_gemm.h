// SPDX-License-Identifier: Apache-2.0
// The matrix products of gemm and grouped_gemm at Hopper's full rate; bf16 and fp8.
//
// One block per processor works through tiles (tile_walk.h). One warp copies slices of A and B
// ahead into a ring of stages; two warpgroups multiply, 64 rows each. Both wait for each other
// through two barriers a stage: `full` (the bytes came) and `free` (everybody has read them).
// Blocks in a cluster of two take row tiles below each other and share the columns: each copies
// half of B to both.
//
// fp8 sums in the matrix unit have about 14 bits (DeepSeek-V3, arXiv 2412.19437, section 3.3.2), so
// these are added to fp32 registers after each stage, 128 products. Not compiled for the host: the
// tests with label device compare it with the same references.
#pragma once

#include "kernels/hopper_ptx.h"
#include "kernels/tile_walk.h"

#if defined(__CUDACC__)

namespace moesim::gpu::on_cuda {

template <class T, int kTileCols, int kBlocks>
struct HopperGemm {
  static constexpr int kCols = kTileCols;
  static constexpr int kCluster = kBlocks;
  static constexpr int kRows = 128;  ///< of a block: 64 for each multiplying warpgroup
  static constexpr int kThreads = 384;
  static constexpr int kLineBytes = 128;  ///< of one row in a stage: what the swizzle spans
  static constexpr int kLine = kLineBytes / static_cast<int>(sizeof(T));
  static constexpr int kBytesA = kRows * kLineBytes;
  static constexpr int kBytesB = kCols * kLineBytes;
  static constexpr int kStageBytes = kBytesA + kBytesB;
  static constexpr int kStages = 200 * 1024 / kStageBytes < 8 ? 200 * 1024 / kStageBytes : 8;
  /// Stages start at a multiple of 1024, which the swizzle asks for; dynamic memory may not.
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024 + 2 * kStages * 8;
  static constexpr bool kAddsInRegisters = sizeof(T) == 1;
  /// 40 + 2 * 232 registers for 128 threads each are what 384 threads with 168 each have.
  static constexpr int kCopyRegisters = 40;
  static constexpr int kMultiplyRegisters = 232;
  using Walk = TileWalk<kRows * kCluster, kCols>;

#if MOESIM_HOPPER
  const CUtensorMap* map_a;
  const CUtensorMap* map_b;
  const GemmProblem& problem;
  unsigned char* stages;
  std::uint64_t* full;
  std::uint64_t* free;

  __device__ HopperGemm(const CUtensorMap* a, const CUtensorMap* b, const GemmProblem& p)
      : map_a(a), map_b(b), problem(p) {
    unsigned char* shared = Thread{}.shared<unsigned char>();
    stages = shared + (1024 - hopper::shared_address(shared) % 1024) % 1024;
    full = reinterpret_cast<std::uint64_t*>(stages + kStages * kStageBytes);
    free = full + kStages;
  }

  __device__ void run() const {
    if (threadIdx.x == 0) {
      hopper::fetch_map(map_a);
      hopper::fetch_map(map_b);
      for (int stage = 0; stage < kStages; ++stage) {
        hopper::barrier_init(full + stage, 1);
        hopper::barrier_init(free + stage, 8 * kCluster);  // each multiplying warp
      }
      hopper::barrier_init_fence();
    }
    if constexpr (kCluster > 1) {
      hopper::cluster_barrier();
    } else {
      __syncthreads();
    }
    if (threadIdx.x < 128) {
      hopper::give_registers<kCopyRegisters>();
      if (threadIdx.x == 0) {
        copy_all();
      }
    } else {
      hopper::take_registers<kMultiplyRegisters>();
      multiply_all(static_cast<int>(threadIdx.x) / 128 - 1);
    }
    if constexpr (kCluster > 1) {
      hopper::cluster_barrier();  // nobody ends while another may still write to its memory
    }
  }

 private:
  __device__ static int rank() {
    if constexpr (kCluster > 1) {
      return hopper::cluster_rank();
    }
    return 0;
  }
  __device__ int num_steps() const { return (problem.k + kLine - 1) / kLine; }

  __device__ void copy_all() const {
    Walk walk(problem);
    const int my_rank = rank();
    std::uint32_t count = 0;
    for (int tile = blockIdx.x / kCluster; walk.find(tile); tile += gridDim.x / kCluster) {
      const int row_a = walk.first_row() + my_rank * kRows;
      const int part = my_rank * (kCols / kCluster);
      const int row_b = walk.group() * problem.n + walk.first_col() + part;
      for (int step = 0; step < num_steps(); ++step, ++count) {
        const int stage = static_cast<int>(count % kStages);
        unsigned char* a = stages + stage * kStageBytes;
        unsigned char* b = a + kBytesA + part * kLineBytes;
        hopper::barrier_wait(free + stage, (count / kStages + 1) % 2);
        hopper::barrier_expect(full + stage, kStageBytes);
        hopper::load_box(a, map_a, full + stage, step * kLine, row_a);
        if constexpr (kCluster > 1) {
          hopper::load_box_multicast(b, map_b, full + stage, step * kLine, row_b,
                                     static_cast<std::uint16_t>((1 << kCluster) - 1));
        } else {
          hopper::load_box(b, map_b, full + stage, step * kLine, row_b);
        }
      }
    }
  }

  __device__ void multiply_all(int half) const {
    Walk walk(problem);
    const int row_offset = rank() * kRows + half * 64;
    std::uint32_t count = 0;
    for (int tile = blockIdx.x / kCluster; walk.find(tile); tile += gridDim.x / kCluster) {
      float c[kCols / 2];
      if constexpr (kAddsInRegisters) {
        add_in_registers(half, &count, c);
      } else {
        add_in_matrix_unit(half, &count, c);
      }
      store(walk, walk.first_row() + row_offset, c);
    }
  }

  /// Starts the products of one stage: 32 bytes of the summed index each.
  __device__ void multiply_stage(int half, int stage, int add, float (&c)[kCols / 2]) const {
    const unsigned char* tile = stages + stage * kStageBytes;
    const std::uint64_t a = hopper::describe_tile(tile + half * 64 * kLineBytes);
    const std::uint64_t b = hopper::describe_tile(tile + kBytesA);
    hopper::products_begin();
    MOESIM_UNROLL
    for (int part = 0; part < kLineBytes / 32; ++part) {
      hopper::multiply<T, kCols>(c, a + part * 2, b + part * 2, part == 0 ? add : 1);
    }
    hopper::products_commit();
  }
  __device__ void release(int stage) const {
    if (threadIdx.x % 32 < kCluster) {
      hopper::barrier_arrive(free + stage, static_cast<int>(threadIdx.x % 32));
    }
  }

  /// One batch of products stays in flight while the stage before it is given back.
  __device__ void add_in_matrix_unit(int half, std::uint32_t* count, float (&c)[kCols / 2]) const {
    int previous = 0;
    for (int step = 0; step < num_steps(); ++step, ++*count) {
      const int stage = static_cast<int>(*count % kStages);
      hopper::barrier_wait(full + stage, *count / kStages % 2);
      multiply_stage(half, stage, step > 0 ? 1 : 0, c);
      if (step > 0) {
        hopper::products_wait<1>();
        release(previous);
      }
      previous = stage;
    }
    hopper::products_wait<0>();
    hopper::keep_registers(c);
    release(previous);
  }

  __device__ void add_in_registers(int half, std::uint32_t* count, float (&sum)[kCols / 2]) const {
    MOESIM_UNROLL
    for (int i = 0; i < kCols / 2; ++i) {
      sum[i] = 0.0f;
    }
    for (int step = 0; step < num_steps(); ++step, ++*count) {
      const int stage = static_cast<int>(*count % kStages);
      float c[kCols / 2];
      hopper::barrier_wait(full + stage, *count / kStages % 2);
      multiply_stage(half, stage, 0, c);
      hopper::products_wait<0>();
      hopper::keep_registers(c);
      release(stage);
      MOESIM_UNROLL
      for (int i = 0; i < kCols / 2; ++i) {
        sum[i] += c[i];
      }
    }
  }

  /// Four lanes hold pairs of columns of a row: they trade them, so that each stores 16 bytes.
  __device__ void store(const Walk& walk, int first_row, const float (&c)[kCols / 2]) const {
    const Thread thread;
    const int lane = thread.lane();
    const int row = first_row + thread.warp() % 4 * 16 + lane / 4;
    const bool is_wide = problem.n % 8 == 0;
    auto* out = static_cast<Bfloat16*>(problem.c);
    MOESIM_UNROLL
    for (int j = 0; j < kCols / 8; j += 4) {
      MOESIM_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int at = row + half * 8;
        std::uint32_t pair[4];
        MOESIM_UNROLL
        for (int i = 0; i < 4; ++i) {
          pair[i] = two_of(c[(j + i) * 4 + half * 2], c[(j + i) * 4 + half * 2 + 1]);
        }
        const std::int64_t line = static_cast<std::int64_t>(at) * problem.n;
        if (is_wide) {
          transpose(thread, pair);
          const int col = walk.first_col() + (j + lane % 4) * 8;
          if (at < walk.last_row() && col < problem.n) {
            *reinterpret_cast<Bytes16*>(out + line + col) = {pair[0], pair[1], pair[2], pair[3]};
          }
        } else {
          MOESIM_UNROLL
          for (int i = 0; i < 8; ++i) {
            const int col = walk.first_col() + (j + i / 2) * 8 + lane % 4 * 2 + i % 2;
            if (at < walk.last_row() && col < problem.n) {
              out[line + col].bits = static_cast<std::uint16_t>(pair[i / 2] >> (i % 2 * 16));
            }
          }
        }
      }
    }
  }
  __device__ static std::uint32_t two_of(float low, float high) {
    std::uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
  }
  /// word[i] of lane q of four becomes word[q] of lane i.
  __device__ static void transpose(const Thread& thread, std::uint32_t (&word)[4]) {
    const int q = thread.lane() % 4;
    MOESIM_UNROLL
    for (int mask = 1; mask <= 2; mask *= 2) {
      MOESIM_UNROLL
      for (int i = 0; i < 4; ++i) {
        if ((i & mask) == 0) {
          const bool is_upper = (q & mask) != 0;
          const std::uint32_t got = thread.shuffle_xor(is_upper ? word[i] : word[i + mask], mask);
          word[i] = is_upper ? got : word[i];
          word[i + mask] = is_upper ? word[i + mask] : got;
        }
      }
    }
  }
#endif
};

template <class T, int kCols, int kCluster>
__global__ void __launch_bounds__(384, 1)
    run_hopper_gemm(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                    const __grid_constant__ GemmProblem problem) {
#if MOESIM_HOPPER
  HopperGemm<T, kCols, kCluster>(&a, &b, problem).run();
#endif
}

/// Whether the current device takes these kernels: compute capability 9.0.
bool has_hopper_gemm();
/// The product of `problem` in bf16 or fp8, with rows of whole 16-byte pieces. Throws DeviceError.
void launch_hopper_gemm(StreamHandle stream, const GemmProblem& problem, NumberFormat format);

}  // namespace moesim::gpu::on_cuda
#endif

// SPDX-License-Identifier: Apache-2.0
// The tile bodies behind gemm and grouped_gemm: one output tile per block.
//
// TiledGemmBody feeds the matrix unit from shared memory, filled two stages ahead by background
// copies; rows are padded to 80 bytes, so that the lanes of a fragment load hit different banks.
// PlainGemmBody multiplies and adds in registers and takes any shape and format.
#pragma once

#include "kernels/gemm.h"
#include "kernels/gpu.h"
#include "kernels/matrix_unit.h"

namespace moesim::gpu::MOESIM_BACKEND {

/// Groups of rows that share a B; without offsets there is one group of all rows.
struct GemmProblem {
  const std::int32_t* offsets;
  const void* a;
  const void* b;
  void* c;
  int num_rows;
  int num_groups;
  int n;
  int k;
};

/// Where a block works: rows [first_row, last_row) of `group`; an empty range has nothing to do.
struct GemmTile {
  int group;
  int first_row;
  int last_row;
};

/// The `index`-th row tile of all groups in order.
MOESIM_DEVICE GemmTile find_tile(const GemmProblem& problem, int index, int tile_rows) {
  int begin = 0;
  for (int group = 0; group < problem.num_groups; ++group) {
    const int end = problem.offsets == nullptr ? problem.num_rows : problem.offsets[group + 1];
    if (problem.offsets != nullptr) {
      begin = problem.offsets[group];
    }
    const int tiles = (end - begin + tile_rows - 1) / tile_rows;
    if (index < tiles) {
      return {group, begin + index * tile_rows, end};
    }
    index -= tiles;
  }
  return {0, 0, 0};
}

/// At most this many row tiles exist: each group can have one that is not full.
inline int max_row_tiles(const GemmProblem& problem, int tile_rows) {
  return problem.num_rows / tile_rows + problem.num_groups;
}

template <class T>
struct GemmOutput {
  using type = Bfloat16;
};
template <>
struct GemmOutput<float> {
  using type = float;
};

template <class T, class Unit>
struct TiledGemmBody {
  static constexpr int kThreads = 256;
  static constexpr int kRows = 128;
  static constexpr int kCols = 128;
  static constexpr int kStepBytes = 64;  ///< of the summed index per stage
  static constexpr int kStride = 80;
  static constexpr int kStages = 3;
  static constexpr int kStageBytes = (kRows + kCols) * kStride;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static constexpr int kWarpsAcross = kThreads / Unit::kWarpSize / 2;
  static constexpr int kTilesDown = kRows / 2 / Unit::kRows;
  static constexpr int kTilesAcross = kCols / kWarpsAcross / Unit::kCols;
  GemmProblem problem;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    const GemmTile tile = find_tile(problem, thread.block_y(), kRows);
    if (tile.first_row >= tile.last_row) {
      return;
    }
    unsigned char* shared = thread.shared<unsigned char>();
    const int steps = (problem.k * static_cast<int>(sizeof(T)) + kStepBytes - 1) / kStepBytes;
    float c[kTilesDown][kTilesAcross][Unit::kRegistersC] = {};
    MOESIM_UNROLL
    for (int step = 0; step < kStages - 1; ++step) {
      if (step < steps) {
        load(thread, tile, step, shared + step * kStageBytes);
      }
      copies_commit();
    }
    for (int step = 0; step < steps; ++step) {
      copies_wait<kStages - 2>();
      thread.barrier();  // this stage is filled, and nobody still reads the one filled next
      const int ahead = step + kStages - 1;
      if (ahead < steps) {
        load(thread, tile, ahead, shared + ahead % kStages * kStageBytes);
      }
      copies_commit();
      multiply(thread, shared + step % kStages * kStageBytes, c);
    }
    store(thread, tile, c);
  }

 private:
  /// One stage: kRows rows of A, then kCols rows of B, zero beyond the edges.
  MOESIM_DEVICE void load(const Thread& thread, const GemmTile& tile, int step,
                          unsigned char* stage) const {
    const int row_bytes = problem.k * static_cast<int>(sizeof(T));
    const auto* a = static_cast<const unsigned char*>(problem.a);
    const auto* b = static_cast<const unsigned char*>(problem.b) +
                    static_cast<std::int64_t>(tile.group) * problem.n * row_bytes;
    constexpr int kPieces = kStepBytes / 16;
    MOESIM_UNROLL
    for (int i = 0; i < (kRows + kCols) * kPieces / kThreads; ++i) {
      const int piece = i * kThreads + thread.index();
      const int line = piece / kPieces;
      const int byte = step * kStepBytes + piece % kPieces * 16;
      const bool is_a = line < kRows;
      const int row = is_a ? tile.first_row + line : thread.block_x() * kCols + line - kRows;
      const bool is_inside = row < (is_a ? tile.last_row : problem.n) && byte < row_bytes;
      const unsigned char* from =
          (is_a ? a : b) + (is_inside ? static_cast<std::int64_t>(row) * row_bytes + byte : 0);
      copy16_async(stage + line * kStride + piece % kPieces * 16, from, is_inside ? 16 : 0);
    }
  }

  MOESIM_DEVICE void multiply(const Thread& thread, const unsigned char* stage,
                              float (&c)[kTilesDown][kTilesAcross][Unit::kRegistersC]) const {
    const int lane = thread.lane();
    const int first_row = thread.warp() / kWarpsAcross * (kRows / 2);
    const int first_col = kRows + thread.warp() % kWarpsAcross * (kCols / kWarpsAcross);
    MOESIM_UNROLL
    for (int part = 0; part < kStepBytes / 32; ++part) {
      std::uint32_t a[kTilesDown][Unit::kRegistersA];
      std::uint32_t b[kTilesAcross][Unit::kRegistersB];
      MOESIM_UNROLL
      for (int i = 0; i < kTilesDown; ++i) {
        MOESIM_UNROLL
        for (int r = 0; r < Unit::kRegistersA; ++r) {
          const int row = first_row + i * Unit::kRows + Unit::a_row(lane, r);
          a[i][r] = *reinterpret_cast<const std::uint32_t*>(stage + row * kStride + part * 32 +
                                                            Unit::a_word(lane, r) * 4);
        }
      }
      MOESIM_UNROLL
      for (int j = 0; j < kTilesAcross; ++j) {
        MOESIM_UNROLL
        for (int r = 0; r < Unit::kRegistersB; ++r) {
          const int col = first_col + j * Unit::kCols + Unit::b_col(lane);
          b[j][r] = *reinterpret_cast<const std::uint32_t*>(stage + col * kStride + part * 32 +
                                                            Unit::b_word(lane, r) * 4);
        }
      }
      MOESIM_UNROLL
      for (int i = 0; i < kTilesDown; ++i) {
        MOESIM_UNROLL
        for (int j = 0; j < kTilesAcross; ++j) {
          Unit::template multiply<T>(thread, c[i][j], a[i], b[j]);
        }
      }
    }
  }

  MOESIM_DEVICE void store(const Thread& thread, const GemmTile& tile,
                           const float (&c)[kTilesDown][kTilesAcross][Unit::kRegistersC]) const {
    const int lane = thread.lane();
    auto* out = static_cast<Bfloat16*>(problem.c);
    MOESIM_UNROLL
    for (int i = 0; i < kTilesDown; ++i) {
      MOESIM_UNROLL
      for (int j = 0; j < kTilesAcross; ++j) {
        MOESIM_UNROLL
        for (int r = 0; r < Unit::kRegistersC; ++r) {
          const int row = tile.first_row + thread.warp() / kWarpsAcross * (kRows / 2) +
                          i * Unit::kRows + Unit::c_row(lane, r);
          const int col = thread.block_x() * kCols +
                          thread.warp() % kWarpsAcross * (kCols / kWarpsAcross) + j * Unit::kCols +
                          Unit::c_col(lane, r);
          if (row < tile.last_row && col < problem.n) {
            out[static_cast<std::int64_t>(row) * problem.n + col] =
                from_float<Bfloat16>(c[i][j][r]);
          }
        }
      }
    }
  }
};

template <class T>
struct PlainGemmBody {
  static constexpr int kThreads = 256;
  static constexpr int kTile = 64;  ///< rows and columns of a block
  static constexpr int kStep = 16;  ///< of the summed index per stage
  static constexpr int kEach = 4;   ///< rows and columns of a thread
  static constexpr int kStride = kTile + 4;
  static constexpr int kSharedBytes = 2 * kStep * kStride * 4;
  GemmProblem problem;

  MOESIM_DEVICE void operator()(const Thread& thread) const {
    using Output = typename GemmOutput<T>::type;
    const GemmTile tile = find_tile(problem, thread.block_y(), kTile);
    if (tile.first_row >= tile.last_row) {
      return;
    }
    float* a_stage = thread.shared<float>();  // [step, row]
    float* b_stage = a_stage + kStep * kStride;
    const T* a = static_cast<const T*>(problem.a);
    const T* b = static_cast<const T*>(problem.b) +
                 static_cast<std::int64_t>(tile.group) * problem.n * problem.k;
    const int my_row = thread.index() / (kTile / kEach) * kEach;
    const int my_col = thread.index() % (kTile / kEach) * kEach;
    float c[kEach][kEach] = {};
    for (int step = 0; step < problem.k; step += kStep) {
      thread.barrier();
      MOESIM_UNROLL
      for (int i = 0; i < kTile * kStep / kThreads; ++i) {
        const int piece = i * kThreads + thread.index();
        const int line = piece / kStep;
        const int at = step + piece % kStep;
        const int row = tile.first_row + line;
        const int col = thread.block_x() * kTile + line;
        a_stage[piece % kStep * kStride + line] =
            row < tile.last_row && at < problem.k
                ? to_float(a[static_cast<std::int64_t>(row) * problem.k + at])
                : 0.0f;
        b_stage[piece % kStep * kStride + line] =
            col < problem.n && at < problem.k
                ? to_float(b[static_cast<std::int64_t>(col) * problem.k + at])
                : 0.0f;
      }
      thread.barrier();
      // A sum of its own for each stage: rounding errors grow with sqrt(k / 16), not sqrt(k).
      float part[kEach][kEach] = {};
      MOESIM_UNROLL
      for (int s = 0; s < kStep; ++s) {
        float x[kEach];
        float y[kEach];
        MOESIM_UNROLL
        for (int i = 0; i < kEach; ++i) {
          x[i] = a_stage[s * kStride + my_row + i];
          y[i] = b_stage[s * kStride + my_col + i];
        }
        MOESIM_UNROLL
        for (int i = 0; i < kEach; ++i) {
          MOESIM_UNROLL
          for (int j = 0; j < kEach; ++j) {
            part[i][j] += x[i] * y[j];
          }
        }
      }
      MOESIM_UNROLL
      for (int i = 0; i < kEach; ++i) {
        MOESIM_UNROLL
        for (int j = 0; j < kEach; ++j) {
          c[i][j] += part[i][j];
        }
      }
    }
    auto* out = static_cast<Output*>(problem.c);
    MOESIM_UNROLL
    for (int i = 0; i < kEach; ++i) {
      MOESIM_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const int row = tile.first_row + my_row + i;
        const int col = thread.block_x() * kTile + my_col + j;
        if (row < tile.last_row && col < problem.n) {
          out[static_cast<std::int64_t>(row) * problem.n + col] = from_float<Output>(c[i][j]);
        }
      }
    }
  }
};

template <class Body>
void launch_tiles(StreamHandle stream, const GemmProblem& problem, int tile_rows, int tile_cols) {
  if (problem.num_rows == 0) {
    return;
  }
  const Grid grid{(problem.n + tile_cols - 1) / tile_cols, max_row_tiles(problem, tile_rows),
                  Body::kSharedBytes};
  launch(stream, grid, Body{problem});
}

template <class T, class Unit>
void launch_tiled(StreamHandle stream, const GemmProblem& problem) {
  using Body = TiledGemmBody<T, Unit>;
  launch_tiles<Body>(stream, problem, Body::kRows, Body::kCols);
}

template <class T>
void launch_plain(StreamHandle stream, const GemmProblem& problem) {
  using Body = PlainGemmBody<T>;
  launch_tiles<Body>(stream, problem, Body::kTile, Body::kTile);
}

/// The product of `problem` in `format`: what both launchers share.
void launch_gemm(StreamHandle stream, const GemmProblem& problem, NumberFormat format,
                 bool use_matrix_unit);

}  // namespace moesim::gpu::MOESIM_BACKEND

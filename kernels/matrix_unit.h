// SPDX-License-Identifier: Apache-2.0
// Matrix instructions behind one shape: C[rows, cols] += A[rows, 32 bytes] * B[cols, 32 bytes]^T.
//
// Both operands have their summed index contiguous, so that bf16 (16 numbers) and fp8 (32) differ
// in the instruction only. A unit says which element each lane's registers hold; the host back end
// follows the same maps to the same registers of its emulated lanes, which proves the maps that the
// tile kernel uses. Sources: PTX ISA 8.8, section "Matrix fragments for mma.m16n8k16" and
// "...m16n8k32"; AMD CDNA2 ISA guide, section "Matrix arithmetic", V_MFMA_F32_16X16X16_BF16_1K.
#pragma once

#include "kernels/gpu.h"

namespace moesim::gpu::MOESIM_BACKEND {

#if !MOESIM_GPU
/// What the instruction does, with lanes reading each other's registers.
template <class Unit, class T>
void emulate_multiply(const Thread& thread, float (&c)[Unit::kRegistersC],
                      const std::uint32_t (&a)[Unit::kRegistersA],
                      const std::uint32_t (&b)[Unit::kRegistersB]) {
  struct Registers {
    const std::uint32_t* a;
    const std::uint32_t* b;
  };
  const Registers mine{a, b};
  const std::uint64_t* lanes = thread.warp_gather(reinterpret_cast<std::uintptr_t>(&mine));
  const auto registers_of = [lanes](int lane) {
    return *reinterpret_cast<const Registers*>(static_cast<std::uintptr_t>(lanes[lane]));
  };
  for (int r = 0; r < Unit::kRegistersC; ++r) {
    const int row = Unit::c_row(thread.lane(), r);
    const int col = Unit::c_col(thread.lane(), r);
    float sum = 0.0f;
    for (int word = 0; word < 8; ++word) {
      T x[4 / sizeof(T)];
      T y[4 / sizeof(T)];
      std::memcpy(x, &registers_of(Unit::a_lane(row, word)).a[Unit::a_register(row, word)], 4);
      std::memcpy(y, &registers_of(Unit::b_lane(col, word)).b[Unit::b_register(word)], 4);
      for (std::size_t i = 0; i < 4 / sizeof(T); ++i) {
        sum += to_float(x[i]) * to_float(y[i]);
      }
    }
    c[r] += sum;
  }
  thread.warp_barrier();  // until all have read, nobody's registers may change
}
#endif

/// NVIDIA mma.sync: bf16 on sm_80 and later, fp8 on sm_89 and later.
struct MmaM16N8 {
  static constexpr int kWarpSize = 32;
  static constexpr int kRows = 16;
  static constexpr int kCols = 8;
  static constexpr int kRegistersA = 4;
  static constexpr int kRegistersB = 2;
  static constexpr int kRegistersC = 4;
  static MOESIM_DEVICE int a_row(int lane, int r) { return lane / 4 + 8 * (r % 2); }
  static MOESIM_DEVICE int a_word(int lane, int r) { return lane % 4 + 4 * (r / 2); }
  static MOESIM_DEVICE int b_col(int lane) { return lane / 4; }
  static MOESIM_DEVICE int b_word(int lane, int r) { return lane % 4 + 4 * r; }
  static MOESIM_DEVICE int c_row(int lane, int r) { return lane / 4 + 8 * (r / 2); }
  static MOESIM_DEVICE int c_col(int lane, int r) { return lane % 4 * 2 + r % 2; }
#if !MOESIM_GPU
  static int a_lane(int row, int word) { return row % 8 * 4 + word % 4; }
  static int a_register(int row, int word) { return row / 8 + word / 4 * 2; }
  static int b_lane(int col, int word) { return col * 4 + word % 4; }
  static int b_register(int word) { return word / 4; }
#endif

  template <class T>
  static MOESIM_DEVICE void multiply([[maybe_unused]] const Thread& thread, float (&c)[4],
                                     const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#if !MOESIM_GPU
    emulate_multiply<MmaM16N8, T>(thread, c, a, b);
#elif defined(__CUDA_ARCH__)
    if constexpr (sizeof(T) == 2) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
          "{%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
#if __CUDA_ARCH__ >= 890
      asm volatile(
          "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
          "{%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
      __trap();  // DeviceInfo::has_fp8 is false here, so the launcher never comes
#endif
    }
#endif
  }
};

/// AMD v_mfma on gfx90a and later, bf16 only.
struct MfmaM16N16 {
  static constexpr int kWarpSize = 64;
  static constexpr int kRows = 16;
  static constexpr int kCols = 16;
  static constexpr int kRegistersA = 2;
  static constexpr int kRegistersB = 2;
  static constexpr int kRegistersC = 4;
  static MOESIM_DEVICE int a_row(int lane, int) { return lane % 16; }
  static MOESIM_DEVICE int a_word(int lane, int r) { return lane / 16 * 2 + r; }
  static MOESIM_DEVICE int b_col(int lane) { return lane % 16; }
  static MOESIM_DEVICE int b_word(int lane, int r) { return lane / 16 * 2 + r; }
  static MOESIM_DEVICE int c_row(int lane, int r) { return lane / 16 * 4 + r; }
  static MOESIM_DEVICE int c_col(int lane, int) { return lane % 16; }
#if !MOESIM_GPU
  static int a_lane(int row, int word) { return word / 2 * 16 + row; }
  static int a_register(int, int word) { return word % 2; }
  static int b_lane(int col, int word) { return word / 2 * 16 + col; }
  static int b_register(int word) { return word % 2; }
#endif

  template <class T>
  static MOESIM_DEVICE void multiply([[maybe_unused]] const Thread& thread, float (&c)[4],
                                     const std::uint32_t (&a)[2], const std::uint32_t (&b)[2]) {
    static_assert(sizeof(T) == 2, "bf16 only");
#if !MOESIM_GPU
    emulate_multiply<MfmaM16N16, T>(thread, c, a, b);
#elif defined(__gfx90a__) || defined(__gfx940__) || defined(__gfx941__) || defined(__gfx942__)
    using Short4 = __attribute__((__vector_size__(8))) short;
    using Float4 = __attribute__((__vector_size__(16))) float;
    Short4 x;
    Short4 y;
    Float4 sum = {c[0], c[1], c[2], c[3]};
    __builtin_memcpy(&x, a, sizeof x);
    __builtin_memcpy(&y, b, sizeof y);
    sum = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(x, y, sum, 0, 0, 0);
    c[0] = sum[0];
    c[1] = sum[1];
    c[2] = sum[2];
    c[3] = sum[3];
#endif
  }
};

}  // namespace moesim::gpu::MOESIM_BACKEND

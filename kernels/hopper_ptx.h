// SPDX-License-Identifier: Apache-2.0
// The instructions of Hopper (sm_90a) that the compiler has no function for: bulk tensor copies,
// barriers that count bytes, and products of a whole warpgroup from shared memory (wgmma).
//
// CUDA only. Names and operand orders: NVIDIA PTX ISA 9.0, "mbarrier", "cp.async.bulk.tensor",
// "wgmma.mma_async", https://docs.nvidia.com/cuda/parallel-thread-execution/.
#pragma once

#if defined(__CUDACC__)
#include <cuda.h>

#include <cstdint>

#include "kernels/gpu.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MOESIM_HOPPER 1
#else
#define MOESIM_HOPPER 0
#endif

namespace moesim::gpu::on_cuda::hopper {
#if MOESIM_HOPPER

MOESIM_DEVICE std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- barriers in shared memory: a phase ends when all arrivals and all announced bytes came
//
// All with the default scope, the block: what they order is the copies' and the products' reading
// and writing of shared memory. Cluster scope would add a fence to each call: 0.7 us a stage on an
// H100.

MOESIM_DEVICE void barrier_init(std::uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals));
}
MOESIM_DEVICE void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// One arrival, and `bytes` that copies will bring.
MOESIM_DEVICE void barrier_expect(std::uint64_t* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
/// One arrival at the barrier that block `rank` of this cluster has at the same place.
MOESIM_DEVICE void barrier_arrive(std::uint64_t* barrier, int rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}
/// Waits for the end of the phase of this parity.
MOESIM_DEVICE void barrier_wait(std::uint64_t* barrier, std::uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nagain:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

MOESIM_DEVICE int cluster_rank() {
  std::uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
MOESIM_DEVICE void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

// --- bulk tensor copies: a box of a matrix into shared memory, swizzled, zeros beyond its edges

MOESIM_DEVICE void fetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
/// Element (row, column) of the matrix becomes the first of the box.
MOESIM_DEVICE void load_box(void* to, const CUtensorMap* map, std::uint64_t* barrier, int column,
                            int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
/// The same into every block of the cluster that `mask` names, at the same place in each, and
/// counted at the barrier of each.
MOESIM_DEVICE void load_box_multicast(void* to, const CUtensorMap* map, std::uint64_t* barrier,
                                      int column, int row, std::uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(mask)
      : "memory");
}

// --- registers move from the warpgroup that copies to those that multiply

template <int kRegisters>
MOESIM_DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
MOESIM_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// --- products of a warpgroup: 64 rows of A times kCols rows of B, both in shared memory

/// Describes rows of 128 bytes with the 128-byte swizzle: the address in units of 16 bytes, 1024
/// bytes from one group of 8 rows to the next, swizzle mode 1 in bits 62-63 (PTX ISA, "matrix
/// descriptor"). `tile` is a multiple of 1024 bytes; the next 32 bytes of all rows are `+ 2`.
MOESIM_DEVICE std::uint64_t describe_tile(const void* tile) {
  return (shared_address(tile) & 0x3FFFFu) >> 4 | std::uint64_t{1} << 16 |
         std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}
MOESIM_DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
MOESIM_DEVICE void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// All but the newest kPending batches are done.
template <int kPending>
MOESIM_DEVICE void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// Tells the compiler that products in flight write these registers.
template <int kCount>
MOESIM_DEVICE void keep_registers(float (&c)[kCount]) {
  MOESIM_UNROLL
  for (int i = 0; i < kCount; ++i) {
    asm volatile("" : "+f"(c[i])::"memory");
  }
}

#define MOESIM_C8(i)                                                                          \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define MOESIM_C32(i) MOESIM_C8(i), MOESIM_C8(i + 8), MOESIM_C8(i + 16), MOESIM_C8(i + 24)
#define MOESIM_P32                                                                         \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31"
#define MOESIM_P64                                                                        \
  MOESIM_P32                                                                              \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52," \
  "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define MOESIM_P128                                                                               \
  MOESIM_P64                                                                                      \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86," \
  "%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,"  \
  "%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,"    \
  "%126,%127"
/// bf16 takes two more operands than fp8: neither A nor B is transposed.
#define MOESIM_WGMMA(name, registers, a_at, b_at, add_at, more, ...)                      \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" add_at                            \
               ", 0;\n"                                                                   \
               "wgmma.mma_async.sync.aligned." name " {" registers "}, %" a_at ", %" b_at \
               ", add, 1, 1" more ";\n}"                                                  \
               : __VA_ARGS__                                                              \
               : "l"(a), "l"(b), "r"(add))

/// c = a * b + (add ? c : 0), in the background; c[4 j + r] of a thread is row lane / 4 + 8 (r / 2)
/// of its warp's 16 rows, column 8 j + 2 (lane % 4) + r % 2.
template <class T, int kCols>
MOESIM_DEVICE void multiply(float (&c)[kCols / 2], std::uint64_t a, std::uint64_t b, int add) {
  static_assert(kCols == 64 || kCols == 128 || kCols == 256);
  if constexpr (sizeof(T) == 2) {
    if constexpr (kCols == 64) {
      MOESIM_WGMMA("m64n64k16.f32.bf16.bf16", MOESIM_P32, "32", "33", "34", ", 0, 0",
                   MOESIM_C32(0));
    } else if constexpr (kCols == 128) {
      MOESIM_WGMMA("m64n128k16.f32.bf16.bf16", MOESIM_P64, "64", "65", "66", ", 0, 0",
                   MOESIM_C32(0), MOESIM_C32(32));
    } else {
      MOESIM_WGMMA("m64n256k16.f32.bf16.bf16", MOESIM_P128, "128", "129", "130", ", 0, 0",
                   MOESIM_C32(0), MOESIM_C32(32), MOESIM_C32(64), MOESIM_C32(96));
    }
  } else {
    if constexpr (kCols == 64) {
      MOESIM_WGMMA("m64n64k32.f32.e4m3.e4m3", MOESIM_P32, "32", "33", "34", "", MOESIM_C32(0));
    } else if constexpr (kCols == 128) {
      MOESIM_WGMMA("m64n128k32.f32.e4m3.e4m3", MOESIM_P64, "64", "65", "66", "", MOESIM_C32(0),
                   MOESIM_C32(32));
    } else {
      MOESIM_WGMMA("m64n256k32.f32.e4m3.e4m3", MOESIM_P128, "128", "129", "130", "", MOESIM_C32(0),
                   MOESIM_C32(32), MOESIM_C32(64), MOESIM_C32(96));
    }
  }
}

#endif
}  // namespace moesim::gpu::on_cuda::hopper
#endif

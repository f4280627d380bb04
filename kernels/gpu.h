// SPDX-License-Identifier: Apache-2.0
// One vocabulary for CUDA, HIP and the host; the only file that names cuda* or hip*.
//
// A kernel is a functor: `struct Body { static constexpr int kThreads; MOESIM_DEVICE void
// operator()(const Thread&) const; }`, started by `launch(stream, grid, body)`. Each .cu is
// compiled once per back end; what differs by back end lives in namespace MOESIM_BACKEND, so that
// one program can hold all three. Bodies ask `thread.warp_size()`; they never assume 32.
// MOESIM_RUNTIME(Malloc) is cudaMalloc or hipMalloc.
#pragma once

#include <math.h>

#include <cstdint>
#include <string>

#include "kernels/device.h"
#include "kernels/numbers.h"
#include "sim/base/error.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define MOESIM_BACKEND on_cuda
#define MOESIM_BACKEND_NAME "cuda"
#define MOESIM_RUNTIME(name) cuda##name
#define MOESIM_GPU 1
#elif defined(__HIP__)
#include <hip/hip_runtime.h>
#define MOESIM_BACKEND on_hip
#define MOESIM_BACKEND_NAME "hip"
#define MOESIM_RUNTIME(name) hip##name
#define MOESIM_GPU 1
#else
#include "kernels/host_runtime.h"
#define MOESIM_BACKEND on_host
#define MOESIM_BACKEND_NAME "host"
#define MOESIM_GPU 0
#endif

#if MOESIM_GPU
#define MOESIM_DEVICE __device__ __forceinline__
#define MOESIM_UNROLL _Pragma("unroll")
#else
#define MOESIM_DEVICE inline
#define MOESIM_UNROLL
#endif

namespace moesim::gpu::MOESIM_BACKEND {

struct Grid {
  int blocks_x = 1;
  int blocks_y = 1;
  int shared_bytes = 0;
};

#if defined(__HIP__)
using Bytes16 = __attribute__((__vector_size__(16))) std::uint32_t;  // a struct would go to memory
#else
struct alignas(16) Bytes16 {
  std::uint32_t word[4];
};
#endif

#if MOESIM_GPU

/// One thread of a block. Warp functions must be called by all lanes of the warp.
struct Thread {
  /// A constant, so that divisions by it are shifts and loops over it unroll; the runtime's
  /// `warpSize` is neither.
#if defined(__CUDACC__)
  static constexpr int kWarpSize = 32;
#elif defined(__AMDGCN_WAVEFRONT_SIZE__)
  static constexpr int kWarpSize = __AMDGCN_WAVEFRONT_SIZE__;
#else
  static constexpr int kWarpSize = 64;  // the host's pass over device code
#endif
  __device__ int index() const { return static_cast<int>(threadIdx.x); }
  __device__ int num_threads() const { return static_cast<int>(blockDim.x); }
  __device__ int block_x() const { return static_cast<int>(blockIdx.x); }
  __device__ int block_y() const { return static_cast<int>(blockIdx.y); }
  __device__ int num_blocks_x() const { return static_cast<int>(gridDim.x); }
  __device__ static constexpr int warp_size() { return kWarpSize; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x % unsigned{kWarpSize}); }
  __device__ int warp() const { return static_cast<int>(threadIdx.x / unsigned{kWarpSize}); }
  __device__ void barrier() const { __syncthreads(); }

  template <class T>
  __device__ T* shared() const {
    extern __shared__ __align__(16) unsigned char shared_memory[];
    return reinterpret_cast<T*>(shared_memory);
  }

#if defined(__CUDACC__)
  __device__ void warp_barrier() const { __syncwarp(); }
  template <class T>
  __device__ T shuffle(T value, int source_lane) const {
    return __shfl_sync(0xFFFFFFFFu, value, source_lane);
  }
  template <class T>
  __device__ T shuffle_xor(T value, int mask) const {
    return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
  }
#else
  __device__ void warp_barrier() const { __builtin_amdgcn_wave_barrier(); }
  template <class T>
  __device__ T shuffle(T value, int source_lane) const {
    return __shfl(value, source_lane);
  }
  template <class T>
  __device__ T shuffle_xor(T value, int mask) const {
    return __shfl_xor(value, mask);
  }
#endif
  __device__ float warp_sum(float value) const {
    MOESIM_UNROLL
    for (int half = warp_size() / 2; half > 0; half /= 2) {
      value += shuffle_xor(value, half);
    }
    return value;
  }
  __device__ float warp_max(float value) const {
    MOESIM_UNROLL
    for (int half = warp_size() / 2; half > 0; half /= 2) {
      value = fmaxf(value, shuffle_xor(value, half));
    }
    return value;
  }
  __device__ std::uint32_t warp_max(std::uint32_t value) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_max_sync(0xFFFFFFFFu, value);
#else
    MOESIM_UNROLL
    for (int half = warp_size() / 2; half > 0; half /= 2) {
      const std::uint32_t other = shuffle_xor(value, half);
      value = other > value ? other : value;
    }
    return value;
#endif
  }
  __device__ std::uint32_t warp_min(std::uint32_t value) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_min_sync(0xFFFFFFFFu, value);
#else
    return ~warp_max(~value);
#endif
  }
  /// The lowest lane whose `condition` holds; -1 when there is none.
  __device__ int first_lane(bool condition) const {
#if defined(__CUDACC__)
    return __ffs(static_cast<int>(__ballot_sync(0xFFFFFFFFu, condition))) - 1;
#else
    return __ffsll(static_cast<unsigned long long>(__ballot(condition))) - 1;
#endif
  }
};

/// Throws DeviceError (OutOfDeviceMemory for lack of memory) with call, code and place.
inline void check_call(MOESIM_RUNTIME(Error_t) code, const char* call, const char* file, int line) {
  if (code == MOESIM_RUNTIME(Success)) {
    return;
  }
  (void)MOESIM_RUNTIME(GetLastError)();  // clear it, so that a retry with a smaller case can work
  const std::string text = std::string(MOESIM_BACKEND_NAME ": ") + call +
                           " failed: " + MOESIM_RUNTIME(GetErrorString)(code) + " (code " +
                           std::to_string(static_cast<int>(code)) + ") at " + file + ":" +
                           std::to_string(line);
#if defined(__CUDACC__)
  const bool is_memory = code == cudaErrorMemoryAllocation;
#else
  const bool is_memory = code == hipErrorOutOfMemory;
#endif
  if (is_memory) {
    throw OutOfDeviceMemory(text);
  }
  throw DeviceError(text);
}
#define MOESIM_CALL(call) \
  ::moesim::gpu::MOESIM_BACKEND::check_call((call), #call, __FILE__, __LINE__)

inline MOESIM_RUNTIME(Stream_t) native(StreamHandle stream) {
  return static_cast<MOESIM_RUNTIME(Stream_t)>(stream.pointer);
}

/// Lanes of a warp of the current device.
inline int warp_size_of(StreamHandle) {
  int device = 0;
  int size = 0;
  MOESIM_CALL(MOESIM_RUNTIME(GetDevice)(&device));
#if defined(__CUDACC__)
  MOESIM_CALL(cudaDeviceGetAttribute(&size, cudaDevAttrWarpSize, device));
#else
  MOESIM_CALL(hipDeviceGetAttribute(&size, hipDeviceAttributeWarpSize, device));
#endif
  return size;
}

/// Blocks that a processor must have room for: Body::kMinBlocks, where a body says so.
template <class Body>
constexpr int min_blocks() {
  if constexpr (requires { Body::kMinBlocks; }) {
    return Body::kMinBlocks;
  }
  return 1;
}
template <class Body>
__global__ void __launch_bounds__(Body::kThreads, min_blocks<Body>()) run_body(Body body) {
  body(Thread{});
}

/// Starts `body` on `stream`; a grid without blocks starts nothing. Throws DeviceError.
template <class Body>
void launch(StreamHandle stream, const Grid& grid, const Body& body) {
  if (grid.blocks_x == 0 || grid.blocks_y == 0) {
    return;
  }
  if (grid.shared_bytes > 48 * 1024) {  // above this a kernel must ask, on CUDA as on HIP
#if defined(__CUDACC__)
    MOESIM_CALL(cudaFuncSetAttribute(run_body<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     grid.shared_bytes));
#else
    MOESIM_CALL(hipFuncSetAttribute(reinterpret_cast<const void*>(&run_body<Body>),
                                    hipFuncAttributeMaxDynamicSharedMemorySize, grid.shared_bytes));
#endif
  }
  const dim3 blocks(static_cast<unsigned>(grid.blocks_x), static_cast<unsigned>(grid.blocks_y));
  run_body<Body>
      <<<blocks, Body::kThreads, static_cast<std::size_t>(grid.shared_bytes), native(stream)>>>(
          body);
  MOESIM_CALL(MOESIM_RUNTIME(GetLastError)());
}

MOESIM_DEVICE int atomic_add(int* address, int value) { return atomicAdd(address, value); }
/// 1 / value for values of at least 1, good to two units in the last place: a tenth of the
/// instructions of a rounded division.
MOESIM_DEVICE float reciprocal(float value) {
#if defined(__CUDA_ARCH__)
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(value));
  return inverse;
#elif defined(__HIP_DEVICE_COMPILE__)
  return __builtin_amdgcn_rcpf(value);
#else
  return 1.0f / value;                  // the host's pass over device code
#endif
}

/// exp(value) with a relative error of 2^-22 + |value| 2^-24: a fifth of the instructions of expf.
MOESIM_DEVICE float fast_exp(float value) {
#if defined(__CUDA_ARCH__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(value * 1.4426950408889634f));
  return power;
#elif defined(__HIP_DEVICE_COMPILE__)
  return __builtin_exp2f(value * 1.4426950408889634f);
#else
  return expf(value);
#endif
}

#else  // the host

using host::Thread;

inline host::Stream& native(StreamHandle stream) {
  return *static_cast<host::Stream*>(stream.pointer);
}
inline int warp_size_of(StreamHandle stream) { return native(stream).warp_size(); }

template <class Body>
void launch(StreamHandle stream, const Grid& grid, const Body& body) {
  if (grid.blocks_x == 0 || grid.blocks_y == 0) {
    return;
  }
  const host::GridShape shape{grid.blocks_x, grid.blocks_y, Body::kThreads, grid.shared_bytes,
                              native(stream).warp_size()};
  native(stream).enqueue(
      [shape, body] { host::run_grid(shape, [&body](const Thread& thread) { body(thread); }); });
}

inline float reciprocal(float value) { return 1.0f / value; }
inline float fast_exp(float value) { return expf(value); }

/// Fibers of one block never run at the same time, so a plain add is atomic.
inline int atomic_add(int* address, int value) {
  const int old = *address;
  *address += value;
  return old;
}

#endif

/// Copies 16 bytes from global to shared memory, in the background where the device can;
/// `valid_bytes` (0 to 16) are copied, the rest becomes zero. Both addresses are multiples of 16.
MOESIM_DEVICE void copy16_async(void* to_shared, const void* from_global, int valid_bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to_shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from_global),
               "r"(valid_bytes)
               : "memory");
#else
  Bytes16 value = {};
  if (valid_bytes == 16) {
    value = *static_cast<const Bytes16*>(from_global);
  } else {
    for (int i = 0; i < valid_bytes; ++i) {
      reinterpret_cast<unsigned char*>(&value)[i] =
          static_cast<const unsigned char*>(from_global)[i];
    }
  }
  *static_cast<Bytes16*>(to_shared) = value;
#endif
}
/// Ends a batch of copy16_async; `copies_wait<N>` returns when all but the newest N batches landed
/// for this thread (others still need a barrier).
MOESIM_DEVICE void copies_commit() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int N>
MOESIM_DEVICE void copies_wait() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

}  // namespace moesim::gpu::MOESIM_BACKEND

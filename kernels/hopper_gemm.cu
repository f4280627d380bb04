// SPDX-License-Identifier: Apache-2.0
// Chooses the tile of a Hopper product and starts it; see hopper_gemm.h.
#include "kernels/hopper_gemm.h"

#if defined(__CUDACC__)
#include <algorithm>

namespace moesim::gpu::on_cuda {
namespace {

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0;
  int value = 0;
  MOESIM_CALL(cudaGetDevice(&device));
  MOESIM_CALL(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

/// cuTensorMapEncodeTiled, asked from the driver when the program runs: no need to link with it.
decltype(&cuTensorMapEncodeTiled) map_encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    MOESIM_CALL(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                 cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess) {
      throw DeviceError(
          "cuda: this driver has no cuTensorMapEncodeTiled; it must be for CUDA 12 "
          "or later");
    }
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encoder;
}

/// Boxes of `box_rows` rows x 128 bytes of a matrix [rows, row_bytes], with the 128-byte swizzle.
CUtensorMap map_of(const void* matrix, std::int64_t rows, std::int64_t row_bytes, int box_rows,
                   NumberFormat format) {
  const auto size = static_cast<cuuint64_t>(bytes_per_number(format));
  CUtensorMap map{};
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(row_bytes) / size,
                              static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(128 / size),
                             static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      map_encoder()(&map,
                    format == NumberFormat::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                 : CU_TENSOR_MAP_DATA_TYPE_UINT8,
                    2, const_cast<void*>(matrix), dims, strides, box, steps,
                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw DeviceError("cuda: cuTensorMapEncodeTiled failed (code " +
                      std::to_string(static_cast<int>(result)) + ") for a matrix of " +
                      std::to_string(rows) + " rows of " + std::to_string(row_bytes) + " bytes");
  }
  return map;
}

template <class T, int kCols, int kCluster>
void start(StreamHandle stream, const GemmProblem& problem, NumberFormat format) {
  using Body = HopperGemm<T, kCols, kCluster>;
  const std::int64_t row_bytes = std::int64_t{problem.k} * static_cast<int>(sizeof(T));
  const CUtensorMap a = map_of(problem.a, problem.num_rows, row_bytes, Body::kRows, format);
  const CUtensorMap b = map_of(problem.b, std::int64_t{problem.num_groups} * problem.n, row_bytes,
                               kCols / kCluster, format);
  const auto kernel = run_hopper_gemm<T, kCols, kCluster>;
  MOESIM_CALL(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   Body::kSharedBytes));
  const std::int64_t tiles = std::int64_t{max_row_tiles(problem, Body::kRows * kCluster)} *
                             ((problem.n + kCols - 1) / kCols);
  const int clusters = static_cast<int>(
      std::min<std::int64_t>(tiles, device_attribute(cudaDevAttrMultiProcessorCount) / kCluster));
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(clusters * kCluster));
  config.blockDim = dim3(Body::kThreads);
  config.dynamicSmemBytes = Body::kSharedBytes;
  config.stream = native(stream);
  config.attrs = &cluster;
  config.numAttrs = 1;
  MOESIM_CALL(cudaLaunchKernelEx(&config, kernel, a, b, problem));
}

/// Processor-columns that a tile width costs when groups are equal: whole rounds over all
/// processors, times what a column costs beside one of the widest tile, whose copies of A serve the
/// most columns.
double cost_of(const GemmProblem& problem, int cols, double cost_per_col, int processors) {
  const int rows = (problem.num_rows + problem.num_groups - 1) / problem.num_groups;
  const std::int64_t tiles = std::int64_t{(rows + 127) / 128} *
                             std::min(problem.num_groups, problem.num_rows) *
                             ((problem.n + cols - 1) / cols);
  return static_cast<double>((tiles + processors - 1) / processors) * cols * cost_per_col;
}

}  // namespace

bool has_hopper_gemm() {
  return device_attribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
         device_attribute(cudaDevAttrComputeCapabilityMinor) == 0;
}

void launch_hopper_gemm(StreamHandle stream, const GemmProblem& problem, NumberFormat format) {
  if (problem.num_rows == 0) {
    return;
  }
  const int processors = device_attribute(cudaDevAttrMultiProcessorCount);
  const double wide = cost_of(problem, 256, 1.0, processors);
  const double middle = cost_of(problem, 128, 1.15, processors);
  const double narrow = cost_of(problem, 64, 1.5, processors);
  const bool is_tall = problem.num_rows / problem.num_groups >= 256;
  if (format == NumberFormat::fp8) {
    if (narrow < middle) {
      start<Float8, 64, 1>(stream, problem, format);
    } else if (is_tall) {
      start<Float8, 128, 2>(stream, problem, format);
    } else {
      start<Float8, 128, 1>(stream, problem, format);
    }
  } else if (narrow < middle && narrow < wide) {
    start<Bfloat16, 64, 1>(stream, problem, format);
  } else if (middle < wide) {
    start<Bfloat16, 128, 1>(stream, problem, format);
  } else if (is_tall) {
    start<Bfloat16, 256, 2>(stream, problem, format);
  } else {
    start<Bfloat16, 256, 1>(stream, problem, format);
  }
}

}  // namespace moesim::gpu::on_cuda
#endif

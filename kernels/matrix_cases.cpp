// SPDX-License-Identifier: Apache-2.0
// Cases of the matrix kernels and of the vendor's library as their baseline.
#include <algorithm>
#include <cstring>
#include <variant>

#include "kernels/gemm.h"
#include "kernels/grouped_gemm.h"
#include "kernels/kernel_table.h"
#include "kernels/operations.h"
#include "sim/base/random.h"

namespace moesim::gpu::cases {
namespace {

bool is_host(const DeviceInfo& info) { return info.backend == "host"; }

/// A pattern in any of the formats.
class Operand {
 public:
  Operand(Device& device, NumberFormat format, std::size_t count, std::uint64_t seed)
      : pattern_(make_pattern(device, format, count, seed)) {}
  const void* data() const {
    return std::visit([](const auto& p) -> const void* { return p.data(); }, pattern_);
  }
  float value(std::size_t index) const {
    return std::visit([index](const auto& p) { return p.value(index); }, pattern_);
  }

 private:
  using Any = std::variant<Pattern<float>, Pattern<Bfloat16>, Pattern<Float8>>;
  static Any make_pattern(Device& device, NumberFormat format, std::size_t count,
                          std::uint64_t seed) {
    switch (format) {
      case NumberFormat::fp32:
        return Any(std::in_place_index<0>, device, count, seed);
      case NumberFormat::bf16:
        return Any(std::in_place_index<1>, device, count, seed);
      case NumberFormat::fp8:
        break;
    }
    return Any(std::in_place_index<2>, device, count, seed);
  }
  Any pattern_;
};

NumberFormat format_of(const Json& params) {
  const std::string name = word(params, "dtype", {"fp32", "bf16", "fp8"});
  return name == "fp32"   ? NumberFormat::fp32
         : name == "bf16" ? NumberFormat::bf16
                          : NumberFormat::fp8;
}

/// Which body runs: plain, matrix_unit, or the vendor's library (then `vendor` is set).
struct ChosenPath {
  bool use_matrix_unit = false;
  std::unique_ptr<VendorGemm> vendor;
};
ChosenPath path_of(Device& device, const Json& params, NumberFormat format, int k) {
  const std::string name = word(params, "path", {"plain", "matrix_unit", "vendor"});
  ChosenPath path;
  if (name == "matrix_unit") {
    if (!gemm_can_use_matrix_unit(format, k, device.info())) {
      throw CaseSkipped("no matrix unit for this format and k");
    }
    path.use_matrix_unit = true;
  } else if (name == "vendor") {
    if (format == NumberFormat::fp8 && !device.info().has_fp8) {
      throw CaseSkipped("this device has no fp8");
    }
    std::string why;
    path.vendor = device.kernels().open_vendor_gemm(&why);
    if (path.vendor == nullptr) {
      throw CaseSkipped(why);
    }
  }
  return path;
}

/// Elements (row, cols...) of an output of `n` columns.
std::vector<double> output_row(const DeviceBuffer<unsigned char>& c, NumberFormat format, int n,
                               int row, const std::vector<int>& cols) {
  const std::size_t size = gemm_output_bytes_per_number(format);
  const std::vector<unsigned char> bytes = c.download(row * n * size, n * size);
  std::vector<double> values;
  for (const int col : cols) {
    float wide = 0;
    Bfloat16 narrow{};
    if (size == 4) {
      std::memcpy(&wide, &bytes[col * size], size);
    } else {
      std::memcpy(&narrow, &bytes[col * size], size);
      wide = to_float(narrow);
    }
    values.push_back(wide);
  }
  return values;
}

/// Products of row `row` of A with the rows `first_col + cols` of B, in double.
std::vector<double> expected_row(const Operand& a, const Operand& b, int k, int row,
                                 std::size_t first_col, const std::vector<int>& cols) {
  std::vector<float> x;
  std::vector<float> y;
  std::vector<int> all;
  for (int i = 0; i < k; ++i) {
    x.push_back(a.value(std::size_t(row) * k + i));
  }
  for (const int col : cols) {
    for (int i = 0; i < k; ++i) {
      y.push_back(b.value((first_col + col) * k + i));
    }
    all.push_back(static_cast<int>(all.size()));
  }
  return gemm_reference({1, static_cast<int>(cols.size()), k, NumberFormat::fp32}, x, y, {0}, all);
}

// --- one product

std::vector<Json> gemm_cases(const DeviceInfo& info, SuiteSize size) {
  struct Weights {
    int n, k;
  };
  const bool is_quick = size == SuiteSize::quick;
  std::vector<Json> list;
  if (is_host(info)) {
    const std::vector<int> rows =
        is_quick ? std::vector<int>{64, 128} : std::vector<int>{32, 64, 96, 128, 192, 256};
    const std::vector<Weights> weights =
        is_quick ? std::vector<Weights>{{128, 256}, {256, 128}}
                 : std::vector<Weights>{{128, 128}, {128, 256}, {256, 128}, {256, 256}, {192, 320}};
    for (const Weights& w : weights) {
      for (const int m : rows) {
        list.push_back(
            make({{"m", m}, {"n", w.n}, {"k", w.k}, {"dtype", "fp32"}, {"path", "plain"}}));
      }
    }
    return list;
  }
  // DeepSeek-V3's expert (gate and up, down), Mixtral 8x7B's, a square one.
  const std::vector<Weights> weights = {{4096, 7168}, {7168, 2048}, {28672, 4096}, {8192, 8192}};
  const std::vector<int> rows = is_quick
                                    ? std::vector<int>{64, 4096}
                                    : std::vector<int>{1, 16, 64, 128, 256, 512, 1024, 4096, 8192};
  for (const Weights& w : weights) {
    for (const int m : rows) {
      for (const char* dtype : {"bf16", "fp8"}) {
        for (const char* path : {"matrix_unit", "vendor"}) {
          list.push_back(
              make({{"m", m}, {"n", w.n}, {"k", w.k}, {"dtype", dtype}, {"path", path}}));
        }
      }
    }
  }
  list.push_back(
      make({{"m", 1024}, {"n", 1024}, {"k", 1024}, {"dtype", "fp32"}, {"path", "plain"}}));
  return list;
}

CaseOutcome run_gemm(CaseContext& context, const Json& params) {
  GemmShape shape;
  shape.m = integer(params, "m", 0, 1 << 24);
  shape.n = integer(params, "n", 1, 1 << 20);
  shape.k = integer(params, "k", 1, 1 << 20);
  shape.format = format_of(params);
  Device& device = context.device;
  const ChosenPath path = path_of(device, params, shape.format, shape.k);
  Operand a(device, shape.format, std::size_t(shape.m) * shape.k, context.seed);
  Operand b(device, shape.format, std::size_t(shape.n) * shape.k, context.seed + 1);
  DeviceBuffer<unsigned char> c(
      device, std::size_t(shape.m) * shape.n * gemm_output_bytes_per_number(shape.format));
  if (path.vendor != nullptr) {
    path.vendor->prepare(shape);
  }
  const auto enqueue = [&] {
    if (path.vendor != nullptr) {
      path.vendor->run(device.default_stream(), a.data(), b.data(), c.data());
    } else {
      device.kernels().gemm(device.default_stream(),
                            {shape, path.use_matrix_unit, a.data(), b.data(), c.data()});
    }
  };
  enqueue();
  CaseOutcome outcome;
  // The vendor's fp32 may keep its sums in another order; its bound is that of any fp32 sum.
  outcome.tolerance = gemm_tolerance(shape) * (path.vendor != nullptr ? 4.0 : 1.0);
  const std::vector<int> cols = some_of(shape.n, 64, context.seed + 2);
  std::vector<double> actual;
  std::vector<double> expected;
  for (const int row : some_of(shape.m, 12, context.seed + 3)) {
    for (const double x : output_row(c, shape.format, shape.n, row, cols)) {
      actual.push_back(x);
    }
    for (const double x : expected_row(a, b, shape.k, row, 0, cols)) {
      expected.push_back(x);
    }
  }
  outcome.max_error = relative_error(actual, expected);
  require(outcome.max_error, outcome.tolerance, "the product");
  outcome.timing = StreamTimer(device, context.timing).measure(enqueue);
  outcome.bytes = gemm_bytes(shape);
  outcome.flops = gemm_flops(shape);
  return outcome;
}

// --- one product per expert

std::vector<Json> grouped_cases(const DeviceInfo& info, SuiteSize size) {
  struct Weights {
    int experts, n, k;
  };
  const bool is_quick = size == SuiteSize::quick;
  std::vector<Json> list;
  const std::vector<const char*> balances =
      is_quick ? std::vector<const char*>{"balanced"}
               : std::vector<const char*>{"balanced", "ragged", "one_expert"};
  if (is_host(info)) {
    for (const char* balance : balances) {
      for (const int rows :
           is_quick ? std::vector<int>{64, 256} : std::vector<int>{32, 64, 128, 256, 384, 512}) {
        list.push_back(make({{"rows", rows},
                             {"experts", 4},
                             {"n", 128},
                             {"k", 128},
                             {"dtype", "fp32"},
                             {"path", "plain"},
                             {"balance", balance}}));
      }
    }
    return list;
  }
  // DeepSeek-V3 on 32 ranks (8 experts each) gate-up and down; Mixtral 8x7B; Qwen3 on 8 ranks.
  const std::vector<Weights> weights = {
      {8, 4096, 7168}, {8, 7168, 2048}, {8, 28672, 4096}, {16, 3072, 4096}};
  for (const Weights& w : weights) {
    for (const int rows : is_quick ? std::vector<int>{256, 4096}
                                   : std::vector<int>{8, 64, 256, 1024, 4096, 8192, 16384}) {
      for (const char* dtype : {"bf16", "fp8"}) {
        for (const char* path : {"matrix_unit", "vendor"}) {
          for (const char* balance : balances) {
            list.push_back(make({{"rows", rows},
                                 {"experts", w.experts},
                                 {"n", w.n},
                                 {"k", w.k},
                                 {"dtype", dtype},
                                 {"path", path},
                                 {"balance", balance}}));
          }
        }
      }
    }
  }
  return list;
}

/// Row offsets: even, drawn from a skewed law (expert below(below(E) + 1)), or all to the first.
std::vector<std::int32_t> group_offsets(const std::string& balance, int rows, int experts,
                                        std::uint64_t seed) {
  RandomStream random(seed, "group sizes");
  std::vector<std::int32_t> counts(experts, 0);
  for (int row = 0; row < rows; ++row) {
    const std::uint64_t expert = balance == "balanced" ? row % experts
                                 : balance == "ragged" ? random.below(random.below(experts) + 1)
                                                       : 0;
    ++counts[expert];
  }
  std::vector<std::int32_t> offsets(1, 0);
  for (const std::int32_t count : counts) {
    offsets.push_back(offsets.back() + count);
  }
  return offsets;
}

CaseOutcome run_grouped(CaseContext& context, const Json& params) {
  GroupedGemmShape shape;
  shape.num_rows = integer(params, "rows", 0, 1 << 24);
  shape.num_experts = integer(params, "experts", 1, 1 << 12);
  shape.n = integer(params, "n", 1, 1 << 20);
  shape.k = integer(params, "k", 1, 1 << 20);
  shape.format = format_of(params);
  Device& device = context.device;
  const ChosenPath path = path_of(device, params, shape.format, shape.k);
  const std::vector<std::int32_t> offsets =
      group_offsets(word(params, "balance", {"balanced", "ragged", "one_expert"}), shape.num_rows,
                    shape.num_experts, context.seed);
  const std::size_t in = bytes_per_number(shape.format);
  const std::size_t out = gemm_output_bytes_per_number(shape.format);
  const std::size_t weights = std::size_t(shape.n) * shape.k;
  DeviceBuffer<std::int32_t> device_offsets(device, offsets);
  Operand a(device, shape.format, std::size_t(shape.num_rows) * shape.k, context.seed);
  Operand b(device, shape.format, shape.num_experts * weights, context.seed + 1);
  DeviceBuffer<unsigned char> c(device, std::size_t(shape.num_rows) * shape.n * out);

  // The vendor's baseline is one product per expert that has rows.
  struct VendorPart {
    std::unique_ptr<VendorGemm> gemm;
    std::size_t a_at, b_at, c_at;
  };
  std::vector<VendorPart> parts;
  double active = 0;
  for (int e = 0; e < shape.num_experts; ++e) {
    const int rows = offsets[e + 1] - offsets[e];
    active += rows > 0 ? 1 : 0;
    if (rows > 0 && path.vendor != nullptr) {
      std::string why;
      parts.push_back({device.kernels().open_vendor_gemm(&why),
                       std::size_t(offsets[e]) * shape.k * in, e * weights * in,
                       std::size_t(offsets[e]) * shape.n * out});
      parts.back().gemm->prepare({rows, shape.n, shape.k, shape.format});
    }
  }
  const auto enqueue = [&] {
    if (path.vendor == nullptr) {
      device.kernels().grouped_gemm(
          device.default_stream(),
          {shape, path.use_matrix_unit, device_offsets.data(), a.data(), b.data(), c.data()});
    }
    for (const VendorPart& part : parts) {
      part.gemm->run(device.default_stream(), static_cast<const char*>(a.data()) + part.a_at,
                     static_cast<const char*>(b.data()) + part.b_at, c.data() + part.c_at);
    }
  };
  enqueue();
  CaseOutcome outcome;
  outcome.tolerance =
      gemm_tolerance({.k = shape.k, .format = shape.format}) * (parts.empty() ? 1.0 : 4.0);
  const std::vector<int> cols = some_of(shape.n, 64, context.seed + 2);
  std::vector<double> actual;
  std::vector<double> expected;
  for (const int row : some_of(shape.num_rows, 16, context.seed + 3)) {
    const auto expert = std::upper_bound(offsets.begin(), offsets.end(), row) - offsets.begin() - 1;
    for (const double x : output_row(c, shape.format, shape.n, row, cols)) {
      actual.push_back(x);
    }
    for (const double x : expected_row(a, b, shape.k, row, expert * std::size_t(shape.n), cols)) {
      expected.push_back(x);
    }
  }
  outcome.max_error = relative_error(actual, expected);
  require(outcome.max_error, outcome.tolerance, "a grouped product");
  outcome.timing = StreamTimer(device, context.timing).measure(enqueue);
  outcome.bytes = grouped_gemm_bytes(shape, active);
  outcome.flops = grouped_gemm_flops(shape);
  return outcome;
}

}  // namespace

std::vector<Operation> matrix_operations() {
  return {
      {"gemm", "one product, own kernels (plain, matrix_unit) or the vendor's library", "m", true,
       gemm_cases, run_gemm},
      {"grouped_gemm", "one product per expert over ragged rows", "rows", true, grouped_cases,
       run_grouped},
  };
}

}  // namespace moesim::gpu::cases

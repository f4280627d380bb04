// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/device_buffer.h"
#include "kernels/grouped_gemm.h"
#include "kernels/kernel_table.h"
#include "sim/base/random.h"
#include "tests/kernels/tested_devices.h"

namespace moesim::gpu {
namespace {

/// Random numbers in `format`: the bytes a kernel reads, and the same values rounded, as floats.
struct Operand {
  std::vector<unsigned char> bytes;
  std::vector<float> values;
};

template <class T>
Operand random_operand(RandomStream& random, std::size_t count) {
  Operand operand;
  operand.bytes.resize(count * sizeof(T));
  for (std::size_t i = 0; i < count; ++i) {
    const T number = from_float<T>(static_cast<float>(random.normal()));
    std::memcpy(&operand.bytes[i * sizeof(T)], &number, sizeof(T));
    operand.values.push_back(to_float(number));
  }
  return operand;
}

Operand random_operand(RandomStream& random, NumberFormat format, std::size_t count) {
  switch (format) {
    case NumberFormat::fp32:
      return random_operand<float>(random, count);
    case NumberFormat::bf16:
      return random_operand<Bfloat16>(random, count);
    case NumberFormat::fp8:
      break;
  }
  return random_operand<Float8>(random, count);
}

std::vector<double> output_values(NumberFormat format, const std::vector<unsigned char>& bytes) {
  std::vector<double> values;
  const int size = gemm_output_bytes_per_number(format);
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    float value = 0;
    Bfloat16 rounded{};
    std::memcpy(size == 4 ? static_cast<void*>(&value) : &rounded, &bytes[at], size);
    values.push_back(size == 4 ? value : to_float(rounded));
  }
  return values;
}

std::vector<int> all(int count) {
  std::vector<int> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

TEST(Gemm, MatchesTheReferenceOnTwoHundredRandomShapes) {
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  int num_on_matrix_unit = 0;
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(21, "gemm test", static_cast<std::uint64_t>(trial));
    Device& device = *devices[trial % devices.size()];
    GemmShape shape;
    const int rows[] = {0, 1, 2, 63, 65, 100, 129};
    shape.m = rows[random.below(7)];
    shape.n = 1 + static_cast<int>(random.below(140));
    shape.k = 1 + static_cast<int>(random.below(150));
    shape.format = static_cast<NumberFormat>(random.below(3));
    if (random.below(2) == 0) {
      shape.k = (shape.k + 15) / 16 * 16;
    }
    const Operand a = random_operand(random, shape.format, std::size_t(shape.m) * shape.k);
    const Operand b = random_operand(random, shape.format, std::size_t(shape.n) * shape.k);
    DeviceBuffer<unsigned char> device_a(device, a.bytes);
    DeviceBuffer<unsigned char> device_b(device, b.bytes);
    DeviceBuffer<unsigned char> c(
        device, std::size_t(shape.m) * shape.n * gemm_output_bytes_per_number(shape.format));
    const bool use_matrix_unit = gemm_can_use_matrix_unit(shape.format, shape.k, device.info());
    num_on_matrix_unit += use_matrix_unit ? 1 : 0;
    device.kernels().gemm(device.default_stream(),
                          {shape, use_matrix_unit, device_a.data(), device_b.data(), c.data()});
    const std::vector<double> expected =
        gemm_reference(shape, a.values, b.values, all(shape.m), all(shape.n));
    ASSERT_LE(relative_error(output_values(shape.format, c.download()), expected),
              gemm_tolerance(shape))
        << shape.m << " x " << shape.n << " x " << shape.k;
  }
  EXPECT_GT(num_on_matrix_unit, 20);
  EXPECT_LT(num_on_matrix_unit, 180);
}

TEST(Gemm, KeepsItsErrorBoundForALongSum) {
  const std::unique_ptr<Device> device = tested_device();
  RandomStream random(22, "gemm test");
  const GemmShape shape{.m = 8, .n = 8, .k = 8192, .format = NumberFormat::fp32};
  const Operand a = random_operand(random, shape.format, 8 * 8192);
  const Operand b = random_operand(random, shape.format, 8 * 8192);
  DeviceBuffer<unsigned char> device_a(*device, a.bytes);
  DeviceBuffer<unsigned char> device_b(*device, b.bytes);
  DeviceBuffer<unsigned char> c(*device, 64 * 4);
  device->kernels().gemm(device->default_stream(),
                         {shape, false, device_a.data(), device_b.data(), c.data()});
  const std::vector<double> expected = gemm_reference(shape, a.values, b.values, all(8), all(8));
  EXPECT_LE(relative_error(output_values(shape.format, c.download()), expected),
            gemm_tolerance(shape));
}

/// Group sizes: balanced, ragged with empty experts, or all rows to one.
std::vector<std::int32_t> random_offsets(RandomStream& random, int rows, int experts) {
  std::vector<std::int32_t> counts(experts, 0);
  const std::uint64_t kind = random.below(3);
  const std::uint64_t favourite = random.below(experts);
  for (int row = 0; row < rows; ++row) {
    const std::uint64_t expert = kind == 0   ? row % experts
                                 : kind == 1 ? random.below(random.below(experts) + 1)
                                             : favourite;
    ++counts[expert];
  }
  std::vector<std::int32_t> offsets(1, 0);
  for (const std::int32_t count : counts) {
    offsets.push_back(offsets.back() + count);
  }
  return offsets;
}

/// The product on the matrix unit where the device has one for the shape. The output is NaN before,
/// so that what is not written shows.
std::vector<double> grouped_product(Device& device, const GroupedGemmShape& shape,
                                    const std::vector<std::int32_t>& offsets, const Operand& a,
                                    const Operand& b) {
  DeviceBuffer<std::int32_t> device_offsets(device, offsets);
  DeviceBuffer<unsigned char> device_a(device, a.bytes);
  DeviceBuffer<unsigned char> device_b(device, b.bytes);
  DeviceBuffer<unsigned char> c(
      device, std::size_t(shape.num_rows) * shape.n * gemm_output_bytes_per_number(shape.format));
  c.fill_bytes(0xFF);
  device.kernels().grouped_gemm(
      device.default_stream(),
      {shape, gemm_can_use_matrix_unit(shape.format, shape.k, device.info()), device_offsets.data(),
       device_a.data(), device_b.data(), c.data()});
  return output_values(shape.format, c.download());
}

TEST(GroupedGemm, MatchesTheReferenceOnTwoHundredRandomShapes) {
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(23, "grouped gemm test", static_cast<std::uint64_t>(trial));
    Device& device = *devices[trial % devices.size()];
    GroupedGemmShape shape;
    const int rows[] = {0, 1, 2, 31, 64, 130, 200};
    shape.num_rows = rows[random.below(7)];
    shape.num_experts = 1 + static_cast<int>(random.below(9));
    shape.n = 1 + static_cast<int>(random.below(130));
    shape.k = 16 * (1 + static_cast<int>(random.below(5)));
    shape.format = static_cast<NumberFormat>(random.below(3));
    const std::vector<std::int32_t> offsets =
        random_offsets(random, shape.num_rows, shape.num_experts);
    const Operand a = random_operand(random, shape.format, std::size_t(shape.num_rows) * shape.k);
    const Operand b =
        random_operand(random, shape.format, std::size_t(shape.num_experts) * shape.n * shape.k);
    const std::vector<double> values = grouped_product(device, shape, offsets, a, b);
    const std::vector<double> expected = grouped_gemm_reference(shape, offsets, a.values, b.values,
                                                                all(shape.num_rows), all(shape.n));
    ASSERT_LE(relative_error(values, expected),
              gemm_tolerance({.k = shape.k, .format = shape.format}));
  }
}

TEST(GroupedGemm, MatchesTheReferenceOnShapesOfManyTilesAndStages) {
  // Sizes for a GPU: several tiles of each kind, rings of stages that wrap, edges in each
  // dimension. The host back end takes two of them, to keep minutes short.
  const std::vector<std::unique_ptr<Device>> devices = tested_devices();
  const int trials = tested_device_name().empty() ? 2 : 200;
  for (int trial = 0; trial < trials; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(24, "grouped gemm test", static_cast<std::uint64_t>(trial));
    Device& device = *devices[trial % devices.size()];
    const int largest = trials > 2 ? 2000 : 300;
    GroupedGemmShape shape;
    shape.num_rows = static_cast<int>(random.below(largest));
    shape.num_experts = 1 + static_cast<int>(random.below(5));
    shape.n = 1 + static_cast<int>(random.below(largest / 2));
    shape.n = random.below(2) == 0 ? shape.n : (shape.n + 7) / 8 * 8;
    shape.k = 16 * (1 + static_cast<int>(random.below(largest / 20)));
    shape.format = random.below(2) == 0 ? NumberFormat::bf16 : NumberFormat::fp8;
    const std::vector<std::int32_t> offsets =
        random_offsets(random, shape.num_rows, shape.num_experts);
    const Operand a = random_operand(random, shape.format, std::size_t(shape.num_rows) * shape.k);
    const Operand b =
        random_operand(random, shape.format, std::size_t(shape.num_experts) * shape.n * shape.k);
    const std::vector<double> values = grouped_product(device, shape, offsets, a, b);
    for (const double value : values) {
      ASSERT_FALSE(std::isnan(value));
    }
    std::vector<int> rows;
    std::vector<double> actual;
    for (int i = 0; i < std::min(shape.num_rows, 12); ++i) {
      rows.push_back(i < 4 ? shape.num_rows - 1 - i
                           : static_cast<int>(random.below(shape.num_rows)));
      actual.insert(actual.end(), values.begin() + std::ptrdiff_t{rows.back()} * shape.n,
                    values.begin() + std::ptrdiff_t{rows.back() + 1} * shape.n);
    }
    const std::vector<double> expected =
        grouped_gemm_reference(shape, offsets, a.values, b.values, rows, all(shape.n));
    ASSERT_LE(relative_error(actual, expected),
              gemm_tolerance({.k = shape.k, .format = shape.format}))
        << shape.num_rows << " rows, " << shape.num_experts << " experts, " << shape.n << " x "
        << shape.k;
  }
}

TEST(GroupedGemm, RowsAboveTheLastOffsetAreLeftAlone) {
  const std::unique_ptr<Device> device = tested_device();
  const GroupedGemmShape shape{
      .num_rows = 3, .num_experts = 2, .n = 2, .k = 1, .format = NumberFormat::fp32};
  const std::vector<std::int32_t> offsets = {0, 1, 2};
  const std::vector<float> a = {2, 3, 100};
  const std::vector<float> b = {1, 10, 5, 7};
  DeviceBuffer<std::int32_t> device_offsets(*device, offsets);
  DeviceBuffer<float> device_a(*device, a);
  DeviceBuffer<float> device_b(*device, b);
  DeviceBuffer<float> c(*device, std::vector<float>(6, -1.0f));
  device->kernels().grouped_gemm(
      device->default_stream(),
      {shape, false, device_offsets.data(), device_a.data(), device_b.data(), c.data()});
  // Row 0 meets expert 0 (2 * {1, 10}), row 1 expert 1 (3 * {5, 7}), row 2 nobody.
  EXPECT_EQ(c.download(), (std::vector<float>{2, 20, 15, 21, -1, -1}));
}

}  // namespace
}  // namespace moesim::gpu

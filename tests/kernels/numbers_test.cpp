// SPDX-License-Identifier: Apache-2.0
#include "kernels/numbers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "sim/base/random.h"

namespace moesim::gpu {
namespace {

TEST(Float8, EachCodeReadsBackAsItself) {
  for (int code = 0; code < 256; ++code) {
    const Float8 value{static_cast<std::uint8_t>(code)};
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(to_float(value)));
      continue;
    }
    EXPECT_EQ(from_float<Float8>(to_float(value)).bits, code);
  }
}

TEST(Float8, HasTheValuesOfTheStandard) {
  // OFP8 1.0 table 1, E4M3: largest 448 (S.1111.110), smallest normal 2^-6, smallest subnormal
  // 2^-9.
  EXPECT_EQ(to_float(Float8{0x7E}), 448.0f);
  EXPECT_EQ(to_float(Float8{0x08}), 0.015625f);
  EXPECT_EQ(to_float(Float8{0x01}), 0.001953125f);
  EXPECT_EQ(to_float(Float8{0xB8}), -1.0f);
  EXPECT_EQ(from_float<Float8>(1e9f).bits, 0x7E);
  EXPECT_EQ(from_float<Float8>(-INFINITY).bits, 0xFE);
}

TEST(ShortFormats, RoundToTheNearestValue) {
  RandomStream random(3, "numbers");
  for (int i = 0; i < 20000; ++i) {
    const float value = static_cast<float>(random.normal() * std::exp(random.normal() * 3.0));
    // 8 bits of mantissa with the hidden one: half a step is 2^-8 of the leading power of two.
    EXPECT_LE(std::fabs(to_float(from_float<Bfloat16>(value)) - value), std::fabs(value) / 256.0f);
    // 4 bits (half a step 2^-4 of the power of two), or half a subnormal step 2^-10; saturation
    // above 448.
    const float clamped = std::fmin(std::fmax(value, -448.0f), 448.0f);
    EXPECT_LE(std::fabs(to_float(from_float<Float8>(value)) - clamped),
              std::fmax(std::fabs(clamped) / 16.0f, 0.0009765625f));
  }
}

TEST(ShortFormats, BreakTiesToTheEvenMantissa) {
  // 1 + 2^-8 lies between 1 and 1 + 2^-7 of bfloat16; 1 + 3 * 2^-8 between the odd and the even
  // above.
  EXPECT_EQ(to_float(from_float<Bfloat16>(1.00390625f)), 1.0f);
  EXPECT_EQ(to_float(from_float<Bfloat16>(1.01171875f)), 1.015625f);
  EXPECT_EQ(to_float(from_float<Float8>(1.0625f)), 1.0f);        // between 1 and 1.125
  EXPECT_EQ(to_float(from_float<Float8>(1.1875f)), 1.25f);       // between 1.125 and 1.25
  EXPECT_EQ(to_float(from_float<Float8>(0.0009765625f)), 0.0f);  // half the smallest
  EXPECT_TRUE(std::isnan(to_float(from_float<Bfloat16>(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace moesim::gpu

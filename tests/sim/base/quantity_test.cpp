// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "sim/base/quantity_text.h"
#include "sim/base/units.h"

namespace moesim {
namespace {

using namespace literals;

TEST(Quantity, BytesOverARateAreSeconds) {
  // 5 GB at 10 GB/s take half a second.
  EXPECT_DOUBLE_EQ((5_GB / 10.0_GBps).value(), 0.5);
}

TEST(QuantityText, ScalesForPeople) {
  EXPECT_EQ(quantity_text(Seconds(0.0412)), "41.2 ms");
  EXPECT_EQ(quantity_text(BytesPerSecond(3.35e12)), "3.35 TB/s");
  EXPECT_EQ(quantity_text(Bytes(0)), "0 B");
  EXPECT_EQ(plain_number_text(2324.6, 4), "2325");
  EXPECT_EQ(plain_number_text(1234567.0, 7), "1,234,567");
}

TEST(QuantityText, ReadsScaledTextInTheAskedDimensionOnly) {
  EXPECT_DOUBLE_EQ(*parse_quantity("80 GiB", "bytes"), 85899345920.0);
  EXPECT_DOUBLE_EQ(*parse_quantity("3.35TB/s", "bytes_per_s"), 3.35e12);
  EXPECT_DOUBLE_EQ(*parse_quantity("14 us", "s"), 14e-6);
  EXPECT_DOUBLE_EQ(*parse_quantity("50%", "fraction"), 0.5);
  EXPECT_FALSE(parse_quantity("80 GiB", "s").has_value());
  EXPECT_FALSE(parse_quantity("fast", "s").has_value());
  EXPECT_FALSE(parse_quantity("nan", "s").has_value());
}

}  // namespace
}  // namespace moesim

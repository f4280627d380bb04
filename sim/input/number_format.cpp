// SPDX-License-Identifier: Apache-2.0
#include "sim/input/number_format.h"

namespace moesim {

std::span<const Choice<NumberFormat>> choices_of(NumberFormat) {
  static constexpr Choice<NumberFormat> kChoices[] = {
      {NumberFormat::fp32, "fp32", "32-bit floating point"},
      {NumberFormat::bf16, "bf16", "16-bit floating point, 8-bit exponent"},
      {NumberFormat::fp16, "fp16", "16-bit floating point, 5-bit exponent"},
      {NumberFormat::fp8, "fp8", "8-bit floating point, one scale a tensor or channel"},
      {NumberFormat::fp8_block, "fp8_block", "8-bit floating point, one scale a 128 x 128 tile"},
      {NumberFormat::int8, "int8", "8-bit integer, one scale a channel"},
      {NumberFormat::mxfp4, "mxfp4", "4-bit floating point, one 8-bit scale for 32 values"},
      {NumberFormat::nvfp4, "nvfp4", "4-bit floating point, one 8-bit scale for 16 values"},
      {NumberFormat::int4, "int4", "4-bit integer, one 16-bit scale for 32 values"},
  };
  return kChoices;
}

double bits_per_value(NumberFormat format) {
  switch (format) {
    case NumberFormat::fp32:
      return 32.0;
    case NumberFormat::bf16:
    case NumberFormat::fp16:
      return 16.0;
    case NumberFormat::fp8:
    case NumberFormat::int8:
      return 8.0;  // a scale a channel or tensor vanishes beside thousands of values
    case NumberFormat::fp8_block:
      return 8.0 + 32.0 / (128.0 * 128.0);
    case NumberFormat::mxfp4:
      return 4.0 + 8.0 / 32.0;
    case NumberFormat::nvfp4:
      return 4.0 + 8.0 / 16.0;
    case NumberFormat::int4:
      return 4.0 + 16.0 / 32.0;
  }
  MOESIM_CHECK(false, "every number format has a size");
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/base/number_format.h"

namespace moesim {

std::span<const Choice<NumberFormat>> choices_of(NumberFormat) {
  static constexpr Choice<NumberFormat> kChoices[] = {
      {NumberFormat::fp32, "fp32", "IEEE single precision"},
      {NumberFormat::tf32, "tf32", "fp32 storage, 10-bit mantissa products"},
      {NumberFormat::bf16, "bf16", "bfloat16"},
      {NumberFormat::fp16, "fp16", "IEEE half precision"},
      {NumberFormat::fp8, "fp8", "e4m3 with one scale per tensor"},
      {NumberFormat::fp8_block, "fp8_block",
       "e4m3 with 1x128 / 128x128 block scales (DeepSeek-V3)"},
      {NumberFormat::int8, "int8", "8-bit integers"},
      {NumberFormat::mxfp4, "mxfp4", "OCP MX e2m1, a power-of-two scale per 32"},
      {NumberFormat::nvfp4, "nvfp4", "e2m1, an e4m3 scale per 16"},
      {NumberFormat::int4, "int4", "4-bit integers, an fp16 scale per 32"},
  };
  return kChoices;
}

double bytes_per_element(NumberFormat format) {
  switch (format) {
    case NumberFormat::fp32:
    case NumberFormat::tf32:
      return 4.0;
    case NumberFormat::bf16:
    case NumberFormat::fp16:
      return 2.0;
    case NumberFormat::fp8:
    case NumberFormat::fp8_block:
    case NumberFormat::int8:
      return 1.0;
    case NumberFormat::mxfp4:
      return 0.5 + 1.0 / 32.0;
    case NumberFormat::nvfp4:
      return 0.5 + 1.0 / 16.0;
    case NumberFormat::int4:
      return 0.5 + 2.0 / 32.0;
  }
  return 0.0;
}

NumberFormat compute_format(NumberFormat stored) {
  switch (stored) {
    case NumberFormat::mxfp4:
    case NumberFormat::int4:
      return NumberFormat::bf16;
    default:
      return stored;
  }
}

}  // namespace moesim

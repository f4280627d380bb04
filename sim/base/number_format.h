// SPDX-License-Identifier: Apache-2.0
// Number formats of weights, activations and caches, with what one element really takes, scales
// included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "sim/base/field_table.h"

namespace moesim {

enum class NumberFormat : std::uint8_t {
  fp32,
  tf32,
  bf16,
  fp16,
  fp8,
  fp8_block,
  int8,
  mxfp4,
  nvfp4,
  int4
};
inline constexpr std::size_t kNumNumberFormats = 10;

std::span<const Choice<NumberFormat>> choices_of(NumberFormat);

/// Bytes of one stored element, scale factors included: fp8_block one fp32 scale per 128 x 128
/// block (weights) - below 0.03% and left out -, mxfp4 one byte per 32 elements (OCP MX 1.0), nvfp4
/// one byte per 16, int4 one fp16 scale per 32
/// (compressed-tensors group_size 32, the published Kimi-K2-Thinking weights).
double bytes_per_element(NumberFormat format);

/// The format in which the tensor cores multiply when weights are stored as `format`: weight-only
/// formats compute in bf16, mxfp4 too unless the device has fp4 arithmetic (the caller decides
/// that).
NumberFormat compute_format(NumberFormat stored);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// How weights, caches and messages are stored: name and bits per value, scales included.
//
// Block formats carry scales beside the values: mxfp4 one 8-bit scale for 32 values (OCP
// Microscaling specification 1.0), nvfp4 one 8-bit scale for 16, fp8_block one 32-bit scale for a
// 128 x 128 tile (DeepSeek-V3, arXiv 2412.19437, section 3.3), int4 one 16-bit scale for 32
// (compressed-tensors group_size 32, the published Kimi-K2-Thinking weights).
#pragma once

#include <span>

#include "sim/base/field_table.h"

namespace moesim {

enum class NumberFormat { fp32, bf16, fp16, fp8, fp8_block, int8, mxfp4, nvfp4, int4 };

std::span<const Choice<NumberFormat>> choices_of(NumberFormat);

/// Bits that one value takes in memory, its share of the scales included.
double bits_per_value(NumberFormat format);
/// bits_per_value / 8.
inline double bytes_per_value(NumberFormat format) { return bits_per_value(format) / 8.0; }

}  // namespace moesim

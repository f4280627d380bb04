// SPDX-License-Identifier: Apache-2.0
// The short floating-point formats of kernels, in plain C++ that host and device compilers share.
//
// Bfloat16 is the upper half of a float; Float8 is OCP E4M3 "fn" (no infinity, largest 448).
// Conversions round to nearest, ties to even; Float8 saturates. Source: OCP 8-bit Floating Point
// Specification (OFP8) 1.0, table 1.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define MOESIM_BOTH __host__ __device__
#elif defined(__HIP__)
#define MOESIM_BOTH __attribute__((host)) __attribute__((device))
#else
#define MOESIM_BOTH
#endif

namespace moesim::gpu {

MOESIM_BOTH inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}
MOESIM_BOTH inline float float_of_bits(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

struct Bfloat16 {
  std::uint16_t bits;
};
struct Float8 {
  std::uint8_t bits;
};

MOESIM_BOTH inline float to_float(float value) { return value; }
MOESIM_BOTH inline float to_float(Bfloat16 value) {
  return float_of_bits(static_cast<std::uint32_t>(value.bits) << 16);
}
MOESIM_BOTH inline float to_float(Float8 value) {
  const std::uint32_t magnitude = value.bits & 0x7Fu;
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x80u) << 24;
  if (magnitude == 0x7Fu) {
    return float_of_bits(sign | 0x7FC00000u);
  }
  if (magnitude < 8) {  // subnormal: steps of 2^-9
    return float_of_bits(bits_of(static_cast<float>(magnitude) * 0.001953125f) | sign);
  }
  return float_of_bits(sign | ((magnitude << 20) + ((127u - 7u) << 23)));
}

/// Rounds `value` to format T.
template <class T>
MOESIM_BOTH T from_float(float value);

template <>
MOESIM_BOTH inline float from_float<float>(float value) {
  return value;
}
template <>
MOESIM_BOTH inline Bfloat16 from_float<Bfloat16>(float value) {
  std::uint32_t bits = bits_of(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  }
  bits += 0x7FFFu + ((bits >> 16) & 1u);
  return {static_cast<std::uint16_t>(bits >> 16)};
}
template <>
MOESIM_BOTH inline Float8 from_float<Float8>(float value) {
  std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) {
    return {static_cast<std::uint8_t>(sign | 0x7Fu)};
  }
  std::uint32_t magnitude;
  if (bits < ((127u - 6u) << 23)) {  // below 2^-6: adding 2^14 leaves steps of 2^-9, rounded
    magnitude = bits_of(float_of_bits(bits) + 16384.0f) - bits_of(16384.0f);
  } else {
    bits += 0x7FFFFu + ((bits >> 20) & 1u);
    magnitude = (bits >> 20) - ((127u - 7u) << 3);
  }
  return {static_cast<std::uint8_t>(sign | (magnitude > 0x7Eu ? 0x7Eu : magnitude))};
}

/// The formats that the matrix kernels read.
enum class NumberFormat { fp32, bf16, fp8 };

MOESIM_BOTH constexpr int bytes_per_number(NumberFormat format) {
  return format == NumberFormat::fp32 ? 4 : format == NumberFormat::bf16 ? 2 : 1;
}

}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
// FNV-1a, 64 bits: the documented hash that names card texts in reports and keys sweep rows.
//
//     h = 14695981039346656037;  for each byte b: h = (h xor b) * 1099511628211  (mod 2^64)
//
// It tells "the same file" from "another file"; it is no defence against forgery.
// Source: Fowler, Noll, Vo, https://datatracker.ietf.org/doc/html/draft-eastlake-fnv.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moesim {

constexpr std::uint64_t text_hash(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  return hash;
}

/// 16 lower-case hexadecimal digits.
inline std::string hash_text(std::uint64_t hash) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; hash >>= 4) {
    text[i] = "0123456789abcdef"[hash & 15];
  }
  return text;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Recorded requests: when they came, how long they were, and which prompts began alike.
//
// CSV, plain or gzip, with a header. `prompt_tokens` and `output_tokens` are required, `arrival_s`
// (seconds from the first request, ascending) when arrivals are replayed. `block_hash_ids`, as in
// the Mooncake trace: space-separated ids of the prompt's successive blocks of 512 tokens; an equal
// leading run is a shared prefix.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moesim {

/// Tokens behind one id of `block_hash_ids` (Mooncake FAST'25 trace description).
inline constexpr std::int32_t kTraceBlockTokens = 512;

struct RequestTrace {
  std::vector<double> arrival_s;            ///< empty: the file has no arrivals
  std::vector<std::int32_t> prompt_tokens;  ///< >= 1
  std::vector<std::int32_t> output_tokens;  ///< >= 1
  std::vector<std::uint32_t> block_ids;     ///< of all requests, one after the other
  std::vector<std::uint32_t> first_block;   ///< [requests + 1] into `block_ids`; empty: no ids

  std::size_t size() const { return prompt_tokens.size(); }
  std::span<const std::uint32_t> blocks(std::size_t request) const {
    return first_block.empty()
               ? std::span<const std::uint32_t>()
               : std::span<const std::uint32_t>(block_ids).subspan(
                     first_block[request], first_block[request + 1] - first_block[request]);
  }
};

/// Reads a trace. Throws InputError with the first twenty problems, each with its line and column:
/// a missing column, a cell that is no number, lengths outside [1, 1e8], arrivals that descend.
/// Output lengths of 0 (a request that was cut off) become 1.
RequestTrace read_request_trace(const std::string& path, bool needs_arrivals);
/// The same from text in memory.
RequestTrace parse_request_trace(const std::string& text, const std::string& file,
                                 bool needs_arrivals);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Arrays of routed experts as inference engines return them: int16 (or other integers) of shape
// [tokens, layers, top_k], as .npy, as a member of an .npz, or as base64 text; and expert counts as
// an .npy of shape [layers, experts].
//
// NumPy's format holds raw numbers behind a short text header; only that is read. Pickles (object
// arrays, .pkl, .pt) run code when read and are refused. Sources: numpy.lib.format (versions 1-3),
// vLLM and SGLang `routed_experts` / `return_routed_experts`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/input/trace_file.h"

namespace moesim {

/// Numbers of an array in row-major order, whatever its element type was.
struct NumberArray {
  std::vector<std::int64_t> shape;
  std::vector<double> values;
};

/// Reads the array in `bytes` (a whole .npy file). Throws InputError naming `file`.
NumberArray parse_npy(std::string_view bytes, const std::string& file);

/// The member `name` of an .npz archive in `bytes` (stored or deflated); "" takes the only member,
/// or "routed_experts". Throws InputError naming the members there are.
NumberArray parse_npz(std::string_view bytes, const std::string& name, const std::string& file);

/// Bytes of base64 text (RFC 4648; white space is skipped). Throws InputError.
std::string decode_base64(std::string_view text, const std::string& file);

/// A trace of one sequence from an array [tokens, layers, top_k]; ids must be below `experts` (0:
/// the largest + 1) and different within a token. A first dimension of -1 filled rows (engines pad
/// with -1) is cut off at the first such row.
TokenTrace trace_of_array(const NumberArray& array, std::int32_t experts, const std::string& file);

/// Reads a .npy or .npz file of routed experts.
TokenTrace read_routed_experts(const std::string& path, std::int32_t experts = 0);

/// The same from base64 of little-endian integers of `element_bytes` (2 or 4) bytes.
TokenTrace routed_experts_from_base64(std::string_view text, std::int64_t layers,
                                      std::int64_t top_k, int element_bytes, std::int32_t experts,
                                      const std::string& file);

/// Any recording of routing by the end of its name: .npy and .npz arrays, else a CSV trace (plain
/// or gzip). Files that would run code when read (.pkl, .pickle, .pt, .pth) are refused.
TokenTrace read_recording(const std::string& path, std::int32_t experts = 0);

/// Any expert counts: .npy, else CSV.
std::vector<ExpertCounts> read_count_recording(const std::string& path);

/// Expert counts of a .npy file [layers, experts] (or [experts]) as histograms, layers from 0.
std::vector<ExpertCounts> read_count_array(const std::string& path);

}  // namespace moesim

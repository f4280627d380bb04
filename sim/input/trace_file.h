// SPDX-License-Identifier: Apache-2.0
// Recorded routing: token traces and expert counts as CSV, plain or gzip.
//
// A trace has one row a token and layer, `seq,pos,layer,e0,e1,...`, ordered by seq, pos and layer,
// every token with the same layers; e0 is the expert with the largest gate weight. Files are read
// in pieces, never held as text; a problem names file and line ("line 12, column e3").
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

/// The experts that every token of a recording chose, layer by layer.
struct TokenTrace {
  std::string name;                    ///< file or generator, for messages and reports
  std::int32_t experts = 0;            ///< experts a layer; ids are below
  std::int32_t top_k = 0;              ///< experts a token
  std::vector<std::int32_t> layers;    ///< layer numbers as recorded, rising
  std::vector<std::int32_t> sequence;  ///< [tokens] number of the token's sequence, never falling
  std::vector<std::int16_t> sets;      ///< [layers, tokens, top_k], largest gate weight first

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(sequence.size()); }
  /// Sets of one layer by index into `layers` [tokens, top_k].
  std::span<const std::int16_t> layer_sets(std::size_t layer_index) const {
    const std::size_t size = sequence.size() * static_cast<std::size_t>(top_k);
    return std::span(sets).subspan(layer_index * size, size);
  }
};

/// Reads a trace. `experts` 0 takes the largest id + 1; otherwise ids must be below `experts`.
/// Throws InputError for a missing, damaged or empty file, a wrong header, an id that repeats
/// within a row or is out of range, rows out of order, or tokens with other layers than the first.
TokenTrace read_token_trace(const std::string& path, std::int32_t experts = 0);

/// The trace as CSV text in the form above.
std::string token_trace_text(const TokenTrace& trace);

/// Selections per expert of one layer of one recording.
struct ExpertCounts {
  std::string dataset, model, task, kind;  ///< "" where the file has no such column
  std::int32_t layer = 0;
  std::int64_t tokens = 0;           ///< 0 when the file does not say
  std::int32_t top_k = 0;            ///< 0 when the file does not say
  std::vector<std::int64_t> counts;  ///< [experts]
};

/// Reads expert counts: columns `layer,expert,count` and any of `dataset,model,task,kind,tokens,
/// top_k` (a change in one of these or the layer starts a new histogram), in any order. Experts of
/// a histogram must be 0, 1, 2 ... each once. Throws InputError.
std::vector<ExpertCounts> read_expert_counts(const std::string& path);

/// A text file line by line, un-gzipped on the way when it is a gzip file. Throws InputError when
/// it cannot be read or is damaged.
class LineReader {
 public:
  explicit LineReader(const std::string& path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// The next line without its end, or false at the end of the file; valid until the next call.
  bool next(std::string_view& line);
  std::int64_t line_number() const { return line_number_; }  ///< of the last line, from 1
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  void* file_ = nullptr;  ///< zlib's gzFile
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool at_end_ = false;
  std::int64_t line_number_ = 0;
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/input/trace_file.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "sim/base/error.h"

namespace moesim {
namespace {

constexpr std::size_t kPieceBytes = 1u << 20;
constexpr std::size_t kLongestLine = 1u << 20;
constexpr std::int32_t kMaxExperts = 32767;
constexpr std::size_t kMaxSelections = std::size_t{1} << 31;  ///< 4 GiB of int16

[[noreturn]] void fail(const LineReader& reader, std::string_view column, std::string problem,
                       std::string allowed = "") {
  std::string place = "line " + std::to_string(reader.line_number());
  if (!column.empty()) {
    place += ", column " + std::string(column);
  }
  throw InputError(reader.path(), place, std::move(problem),
                   allowed.empty() ? "" : "allowed: " + allowed);
}

std::string quoted(std::string_view cell) { return "\"" + std::string(cell.substr(0, 40)) + "\""; }

void split(std::string_view line, std::vector<std::string_view>& cells) {
  cells.clear();
  while (true) {
    const std::size_t comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) {
      return;
    }
    line.remove_prefix(comma + 1);
  }
}

std::int64_t whole_number(const LineReader& reader, std::string_view column, std::string_view cell,
                          std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc() || end != cell.data() + cell.size()) {
    fail(reader, column, quoted(cell) + " is no whole number");
  }
  if (value < low || value > high) {
    fail(reader, column, std::to_string(value) + " is out of range",
         std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

}  // namespace

LineReader::LineReader(const std::string& path) : path_(path) {
  gzFile file = path == "-" ? gzdopen(0, "rb") : gzopen(path.c_str(), "rb");
  if (file == nullptr) {
    throw InputError(path, "", "cannot be opened");
  }
  gzbuffer(file, 1u << 17);
  file_ = file;
  buffer_.resize(kPieceBytes);
}

LineReader::~LineReader() { gzclose(static_cast<gzFile>(file_)); }

bool LineReader::next(std::string_view& line) {
  while (true) {
    const char* from = buffer_.data() + begin_;
    const void* newline = std::memchr(from, '\n', end_ - begin_);
    if (newline != nullptr || (at_end_ && begin_ < end_)) {
      const std::size_t size =
          newline != nullptr ? static_cast<std::size_t>(static_cast<const char*>(newline) - from)
                             : end_ - begin_;
      line = std::string_view(from, size);
      begin_ += std::min(size + 1, end_ - begin_);
      if (!line.empty() && line.back() == '\r') {
        line.remove_suffix(1);
      }
      ++line_number_;
      return true;
    }
    if (at_end_) {
      return false;
    }
    std::memmove(buffer_.data(), from, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    if (end_ == buffer_.size()) {
      ++line_number_;
      fail(*this, "", "is longer than " + std::to_string(kLongestLine) + " bytes");
    }
    gzFile file = static_cast<gzFile>(file_);
    const int got =
        gzread(file, buffer_.data() + end_, static_cast<unsigned>(buffer_.size() - end_));
    int code = Z_OK;
    const char* message = gzerror(file, &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      throw InputError(
          path_, "after line " + std::to_string(line_number_),
          code == Z_ERRNO ? std::string("cannot be read") : "is damaged: " + std::string(message));
    }
    if (got == 0) {
      at_end_ = true;
    }
    end_ += static_cast<std::size_t>(got);
  }
}

TokenTrace read_token_trace(const std::string& path, std::int32_t experts) {
  LineReader reader(path);
  std::string_view line;
  std::vector<std::string_view> cells;
  if (!reader.next(line)) {
    throw InputError(path, "", "is empty", "allowed: a header seq,pos,layer,e0,e1,... and rows");
  }
  split(line, cells);
  const std::size_t columns = cells.size();
  bool good = columns >= 4 && cells[0] == "seq" && cells[1] == "pos" && cells[2] == "layer";
  for (std::size_t j = 3; j < columns && good; ++j) {
    good = cells[j] == "e" + std::to_string(j - 3);
  }
  if (!good) {
    fail(reader, "", "the header is " + quoted(line), "seq,pos,layer,e0,e1,...");
  }
  TokenTrace trace;
  trace.name = path;
  const std::size_t k = columns - 3;
  if (k > static_cast<std::size_t>(kMaxExperts)) {
    fail(reader, "", "too many experts a token");
  }
  trace.top_k = static_cast<std::int32_t>(k);

  // Rows come token by token; they are put into [tokens, layers, k] and turned round at the end,
  // because the number of tokens is not known before.
  std::vector<std::int16_t> rows;
  std::int32_t largest = -1;
  std::int64_t sequence = -1;
  std::int64_t position = -1;
  std::size_t next_layer = 0;  // index of the layer that comes next in the current token
  bool first_token = true;
  const std::int64_t limit = experts > 0 ? experts - 1 : kMaxExperts - 1;
  const auto end_token = [&] {
    if (!first_token && next_layer != trace.layers.size()) {
      fail(reader, "layer",
           "the token before has " + std::to_string(next_layer) + " layers, the first token " +
               std::to_string(trace.layers.size()));
    }
  };
  while (reader.next(line)) {
    if (line.empty()) {
      continue;
    }
    split(line, cells);
    if (cells.size() != columns) {
      fail(reader, "",
           std::to_string(cells.size()) + " cells in a table of " + std::to_string(columns) +
               " columns");
    }
    const std::int64_t seq = whole_number(reader, "seq", cells[0], 0, INT32_MAX);
    const std::int64_t pos = whole_number(reader, "pos", cells[1], 0, INT32_MAX);
    const std::int64_t layer = whole_number(reader, "layer", cells[2], 0, 65535);
    if (seq != sequence || pos != position) {
      if (seq < sequence || (seq == sequence && pos < position)) {
        fail(reader, seq < sequence ? "seq" : "pos", "rows are out of order",
             "rows ordered by seq, pos, layer");
      }
      if (sequence >= 0) {
        end_token();
        first_token = false;
      }
      sequence = seq;
      position = pos;
      next_layer = 0;
      trace.sequence.push_back(static_cast<std::int32_t>(seq));
    }
    if (first_token) {
      if (!trace.layers.empty() && layer <= trace.layers.back()) {
        fail(reader, "layer", "layers of a token do not rise");
      }
      trace.layers.push_back(static_cast<std::int32_t>(layer));
    } else if (next_layer >= trace.layers.size() || trace.layers[next_layer] != layer) {
      fail(reader, "layer",
           "layer " + std::to_string(layer) + " is not the one that the first token has here",
           next_layer < trace.layers.size() ? std::to_string(trace.layers[next_layer])
                                            : "a new token");
    }
    ++next_layer;
    const std::size_t row = rows.size();
    if (row + k > kMaxSelections) {
      fail(reader, "", "the trace is too large", "2^31 selections");
    }
    for (std::size_t j = 0; j < k; ++j) {
      const std::string column = "e" + std::to_string(j);
      const std::int16_t expert =
          static_cast<std::int16_t>(whole_number(reader, column, cells[3 + j], 0, limit));
      if (std::find(rows.begin() + static_cast<std::ptrdiff_t>(row), rows.end(), expert) !=
          rows.end()) {
        fail(reader, column, "expert " + std::to_string(expert) + " is chosen twice by one token");
      }
      rows.push_back(expert);
      largest = std::max<std::int32_t>(largest, expert);
    }
  }
  if (trace.sequence.empty()) {
    throw InputError(path, "", "holds no token", "allowed: one row a token and layer");
  }
  end_token();
  trace.experts = experts > 0 ? experts : largest + 1;
  const std::size_t tokens = trace.sequence.size();
  const std::size_t layers = trace.layers.size();
  trace.sets.resize(rows.size());
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t l = 0; l < layers; ++l) {
      std::copy_n(&rows[(t * layers + l) * k], k, &trace.sets[(l * tokens + t) * k]);
    }
  }
  return trace;
}

std::string token_trace_text(const TokenTrace& trace) {
  std::string text = "seq,pos,layer";
  for (std::int32_t j = 0; j < trace.top_k; ++j) {
    text += ",e" + std::to_string(j);
  }
  text += '\n';
  const std::size_t k = static_cast<std::size_t>(trace.top_k);
  std::int64_t position = 0;
  for (std::size_t t = 0; t < trace.sequence.size(); ++t) {
    position = t > 0 && trace.sequence[t] == trace.sequence[t - 1] ? position + 1 : 0;
    for (std::size_t l = 0; l < trace.layers.size(); ++l) {
      text += std::to_string(trace.sequence[t]) + "," + std::to_string(position) + "," +
              std::to_string(trace.layers[l]);
      for (const std::int16_t e : trace.layer_sets(l).subspan(t * k, k)) {
        text += "," + std::to_string(e);
      }
      text += '\n';
    }
  }
  return text;
}

std::vector<ExpertCounts> read_expert_counts(const std::string& path) {
  static const std::vector<std::string> kKnown = {"dataset", "model", "task",   "kind", "layer",
                                                  "expert",  "count", "tokens", "top_k"};
  LineReader reader(path);
  std::string_view line;
  std::vector<std::string_view> cells;
  if (!reader.next(line)) {
    throw InputError(path, "", "is empty", "allowed: a header with layer,expert,count and rows");
  }
  split(line, cells);
  std::vector<std::size_t> column(kKnown.size(), SIZE_MAX);
  for (std::size_t c = 0; c < cells.size(); ++c) {
    const auto found = std::find(kKnown.begin(), kKnown.end(), cells[c]);
    if (found == kKnown.end()) {
      fail(reader, "", "unknown column " + quoted(cells[c]),
           "dataset, model, task, kind, layer, expert, count, tokens, top_k");
    }
    std::size_t& at = column[static_cast<std::size_t>(found - kKnown.begin())];
    if (at != SIZE_MAX) {
      fail(reader, "", "column " + quoted(cells[c]) + " comes twice");
    }
    at = c;
  }
  for (const std::size_t needed : {4u, 5u, 6u}) {
    if (column[needed] == SIZE_MAX) {
      fail(reader, "", "column \"" + kKnown[needed] + "\" is missing");
    }
  }
  const std::size_t columns = cells.size();
  std::vector<ExpertCounts> all;
  const auto text_of = [&](std::size_t i) {
    return column[i] == SIZE_MAX ? std::string() : std::string(cells[column[i]]);
  };
  const auto number_of = [&](std::size_t i, std::int64_t high) {
    return column[i] == SIZE_MAX ? std::int64_t{0}
                                 : whole_number(reader, kKnown[i], cells[column[i]], 0, high);
  };
  while (reader.next(line)) {
    if (line.empty()) {
      continue;
    }
    split(line, cells);
    if (cells.size() != columns) {
      fail(reader, "",
           std::to_string(cells.size()) + " cells in a table of " + std::to_string(columns) +
               " columns");
    }
    ExpertCounts row{.dataset = text_of(0),
                     .model = text_of(1),
                     .task = text_of(2),
                     .kind = text_of(3),
                     .layer = static_cast<std::int32_t>(number_of(4, 65535)),
                     .tokens = number_of(7, INT64_MAX),
                     .top_k = static_cast<std::int32_t>(number_of(8, kMaxExperts))};
    const bool same = !all.empty() && all.back().layer == row.layer &&
                      all.back().dataset == row.dataset && all.back().model == row.model &&
                      all.back().task == row.task && all.back().kind == row.kind &&
                      all.back().tokens == row.tokens && all.back().top_k == row.top_k;
    if (!same) {
      all.push_back(std::move(row));
    }
    const std::int64_t expert = number_of(5, kMaxExperts - 1);
    if (expert != static_cast<std::int64_t>(all.back().counts.size())) {
      fail(reader, "expert", "expert " + std::to_string(expert) + " is out of turn",
           std::to_string(all.back().counts.size()));
    }
    all.back().counts.push_back(number_of(6, std::int64_t{1} << 52));
  }
  if (all.empty()) {
    throw InputError(path, "", "holds no counts");
  }
  return all;
}

}  // namespace moesim

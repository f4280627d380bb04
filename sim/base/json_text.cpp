// SPDX-License-Identifier: Apache-2.0
// Text to Json (through nlohmann's SAX parser) and files to text. The only file of base/ that sees
// nlohmann.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include <sys/stat.h>
#include <unistd.h>

#include "sim/base/error.h"
#include "sim/base/json.h"

namespace moesim {
namespace {

std::string place(std::string_view text, std::size_t offset) {
  std::size_t line = 1;
  std::size_t column = 1;
  for (std::size_t i = 0; i < offset && i < text.size(); ++i) {
    if (text[i] == '\n') {
      ++line;
      column = 1;
    } else {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

/// A long plain string of the text, which the parser sees as an empty one: it would copy it letter
/// by letter.
struct Cut {
  const char* begin = nullptr;
  const char* end = nullptr;
};

constexpr std::ptrdiff_t kLongString = 256;  // shorter ones cost less than their bookkeeping

/// Strings of `text` of kLongString or more printable ASCII letters without escapes, in order. They
/// are where a parser finds them up to the first error of the text, behind which it reads nothing.
std::vector<Cut> long_plain_strings(std::string_view text) {
  std::vector<Cut> cuts;
  if (text.empty()) {
    return cuts;
  }
  const char* const end = text.data() + text.size();
  const auto quote = [&](const char* from) {
    const void* found = std::memchr(from, '"', static_cast<std::size_t>(end - from));
    return found == nullptr ? end : static_cast<const char*>(found);
  };
  const auto is_escaped = [](const char* quoted) {
    std::ptrdiff_t backslashes = 0;
    while (quoted[-1 - backslashes] == '\\') {  // ends at the opening quote
      ++backslashes;
    }
    return backslashes % 2 == 1;
  };
  for (const char* open = quote(text.data()); open != end;) {
    const char* close = quote(open + 1);
    while (close != end && is_escaped(close)) {
      close = quote(close + 1);
    }
    if (close == end) {
      break;
    }
    const auto is_plain = [](char c) { return c >= ' ' && c <= '~' && c != '\\'; };
    if (close - open - 1 >= kLongString && std::all_of(open + 1, close, is_plain)) {
      cuts.push_back({open + 1, close});
    }
    open = quote(close + 1);
  }
  return cuts;
}

/// How far the parser has come (SAX events carry no position), and what it was not shown.
struct Progress {
  std::vector<Cut> cuts;
  std::size_t next_cut = 0;
  const char* furthest = nullptr;
  std::size_t left_out = 0;  ///< letters before `furthest`

  /// The long string that ended just before the quote the parser read last, or nothing.
  std::string_view cut_string() const {
    if (next_cut == 0 || cuts[next_cut - 1].end + 1 != furthest) {
      return {};
    }
    return {cuts[next_cut - 1].begin, cuts[next_cut - 1].end};
  }
};

/// Forward iterator over the text without its cuts.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  const char* at = nullptr;
  Progress* progress = nullptr;
  const char* cut = nullptr;  ///< where the next cut begins, or null
  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    ++at;
    progress->furthest = at;
    if (at == cut) {
      leave_out();
    }
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) {
    return a.at == b.at;
  }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) {
    return a.at != b.at;
  }
  void leave_out() {
    const Cut& left = progress->cuts[progress->next_cut++];
    progress->left_out += static_cast<std::size_t>(left.end - left.begin);
    at = left.end;
    const bool is_last = progress->next_cut == progress->cuts.size();
    cut = is_last ? nullptr : progress->cuts[progress->next_cut].begin;
  }
};

/// Builds the value bottom-up on an explicit stack, so that depth is bounded by a number and not by
/// the C++ stack.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(int max_depth, const Progress& progress) : max_depth_(max_depth), progress_(progress) {}

  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(number_integer_t value) override {
    return put(Json(static_cast<std::int64_t>(value)));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return put(Json(static_cast<std::uint64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return put(Json(value)); }
  bool string(string_t& value) override { return put(Json(whole(value))); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& shown) override {
    const std::string value = whole(shown);
    if (!stack_.back().keys.insert(value).second) {
      problem = "the key \"" + value.substr(0, 80) + "\" appears twice in the same object";
      allowed = "keep one of them";
      return false;
    }
    stack_.back().key = value;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    error_position = position;
    problem = error.what();
    // nlohmann's "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error
    // ..." without its preamble.
    const std::size_t colon = problem.find(": ");
    if (problem.starts_with("[json.exception") && colon != std::string::npos) {
      problem.erase(0, colon + 2);
    } else if (const std::size_t bracket = problem.find("] "); bracket != std::string::npos) {
      problem.erase(0, bracket + 2);
    }
    if (problem.find("ill-formed UTF-8") != std::string::npos) {
      for (char& c : problem) {  // a message must be text itself
        c = static_cast<unsigned char>(c) < 0x80 ? c : '?';
      }
    }
    if (problem.size() > 200) {
      problem = problem.substr(0, 200) + " ...";
    }
    return false;
  }

  Json result;
  std::string problem;
  std::string allowed;
  std::size_t error_position = 0;

 private:
  struct Level {
    Json value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  /// A string as the text has it.
  std::string whole(std::string& shown) const {
    const std::string_view cut = progress_.cut_string();
    return cut.empty() ? std::move(shown) : std::string(cut);
  }

  bool put(Json value) {
    if (stack_.empty()) {
      result = std::move(value);
      return true;
    }
    Level& top = stack_.back();
    if (top.value.is_array()) {
      top.value.items().push_back(std::move(value));
    } else {
      top.value.members().emplace_back(std::move(top.key), std::move(value));
    }
    return true;
  }

  bool open(Json value) {
    if (static_cast<int>(stack_.size()) >= max_depth_) {
      problem = "nested more than " + std::to_string(max_depth_) + " levels deep";
      return false;
    }
    stack_.push_back({std::move(value), {}, {}});
    return true;
  }

  bool close() {
    Json value = std::move(stack_.back().value);
    stack_.pop_back();
    return put(std::move(value));
  }

  int max_depth_;
  const Progress& progress_;
  std::vector<Level> stack_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& file, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    throw InputError(file, "", "the file has " + std::to_string(text.size()) + " bytes",
                     "allowed: at most " + std::to_string(limits.max_bytes));
  }
  Progress progress;
  progress.cuts = long_plain_strings(text);
  progress.furthest = text.data();
  Builder builder(limits.max_depth, progress);
  const char* const cut = progress.cuts.empty() ? nullptr : progress.cuts.front().begin;
  const CountingIterator begin{text.data(), &progress, cut};
  const CountingIterator end{text.data() + text.size(), &progress, nullptr};
  if (!nlohmann::json::sax_parse(begin, end, &builder)) {
    const std::size_t offset = builder.error_position > 0
                                   ? builder.error_position - 1 + progress.left_out
                                   : static_cast<std::size_t>(progress.furthest - text.data()) - 1;
    throw InputError(file, place(text, offset), builder.problem, builder.allowed);
  }
  return std::move(builder.result);
}

Json load_json(const std::string& path, const JsonLimits& limits) {
  return parse_json(read_text_file(path, limits.max_bytes), path == "-" ? "standard input" : path,
                    limits);
}

std::string read_text_file(const std::string& path, std::size_t max_bytes) {
  std::ifstream file;
  std::istream* in = &std::cin;
  if (path != "-") {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      throw InputError(path, "", "is a folder", "name a file");
    }
    file.open(path, std::ios::binary);
    if (!file) {
      throw InputError(path, "", "cannot be opened", "check the name and the permission to read");
    }
    in = &file;
  }
  std::string text;
  std::vector<char> chunk(1 << 16);
  while (in->read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || in->gcount() > 0) {
    text.append(chunk.data(), static_cast<std::size_t>(in->gcount()));
    if (text.size() > max_bytes) {
      throw InputError(path, "", "the file is larger than " + std::to_string(max_bytes) + " bytes",
                       "this is no file of the expected kind");
    }
  }
  return text;
}

void write_text_file(const std::string& path, std::string_view text) {
  if (path == "-") {
    std::cout << text << std::flush;
    return;
  }
  struct stat status = {};
  const bool is_special = stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  const std::string target = is_special ? path : path + ".tmp" + std::to_string(getpid());
  {
    std::ofstream out(target, std::ios::binary | std::ios::trunc);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    out.flush();
    if (!out) {
      if (!is_special) {
        std::remove(target.c_str());
      }
      throw InputError(path, "", "cannot be written",
                       "check the folder, the permission to write and the free space");
    }
  }
  if (!is_special && std::rename(target.c_str(), path.c_str()) != 0) {
    std::remove(target.c_str());
    throw InputError(path, "", "cannot be replaced", "check the permission to write");
  }
}

}  // namespace moesim

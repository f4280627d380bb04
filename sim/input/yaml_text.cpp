// SPDX-License-Identifier: Apache-2.0
#include "sim/input/yaml_text.h"

#include <charconv>
#include <cmath>
#include <vector>

#include "sim/base/error.h"

namespace moesim {
namespace {

constexpr std::size_t kMaxDepth = 32;

struct Line {
  std::size_t number = 0;  ///< in the file, from 1
  std::size_t indent = 0;
  std::string_view text;  ///< without indentation, comment and trailing blanks
};

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// The line without a trailing comment; quotes protect "#".
std::string_view without_comment(std::string_view line) {
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      quote = c == quote ? 0 : quote;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return line.substr(0, i);
    }
  }
  return line;
}

class YamlReader {
 public:
  YamlReader(std::string_view text, const std::string& file) : file_(file) {
    std::size_t at = 0;
    std::size_t number = 0;
    while (at < text.size()) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const std::string_view whole = text.substr(at, end - at);
      at = end + 1;
      ++number;
      const std::string_view kept = trimmed(without_comment(whole));
      if (kept.empty()) {
        continue;
      }
      if (kept == "---" && lines_.empty()) {
        continue;
      }
      if (kept == "---" || kept == "...") {
        fail(number, "a second document", "one document a file");
      }
      const std::size_t indent = whole.find_first_not_of(' ');
      if (whole[indent] == '\t') {
        fail(number, "is indented with a tab", "spaces");
      }
      lines_.push_back({number, indent, kept});
    }
  }

  Json read() {
    if (lines_.empty()) {
      return Json::object();
    }
    const Json value = read_block(lines_.front().indent, 0);
    if (next_ < lines_.size()) {
      fail(lines_[next_].number, "is indented less than what it belongs to",
           "the same indentation for all keys of a map");
    }
    return value;
  }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& problem,
                         const std::string& allowed) const {
    throw InputError(file_, "line " + std::to_string(line), problem, allowed);
  }

  static bool is_item(std::string_view text) { return text == "-" || text.starts_with("- "); }

  /// Place of the colon that ends a key, or npos when the text is no "key: value".
  static std::size_t key_end(std::string_view text) {
    if (text.empty() || text.front() == '[' || text.front() == '{') {
      return std::string_view::npos;
    }
    std::size_t at = 0;
    if (text.front() == '"' || text.front() == '\'') {
      at = text.find(text.front(), 1);
      if (at == std::string_view::npos) {
        return at;
      }
      ++at;
      return at < text.size() && text[at] == ':' ? at : std::string_view::npos;
    }
    for (; at < text.size(); ++at) {
      if (text[at] == ':' && (at + 1 == text.size() || text[at + 1] == ' ')) {
        return at;
      }
    }
    return std::string_view::npos;
  }

  Json read_block(std::size_t indent, std::size_t depth) {
    if (depth > kMaxDepth) {
      fail(lines_[next_].number, "is nested too deeply", "at most 32 levels");
    }
    if (is_item(lines_[next_].text)) {
      return read_list(indent, depth);
    }
    if (key_end(lines_[next_].text) != std::string_view::npos) {
      return read_map(indent, depth);
    }
    const Line& line = lines_[next_++];
    return scalar(line.text, line.number, depth);
  }

  Json read_list(std::size_t indent, std::size_t depth) {
    Json list = Json::array();
    while (next_ < lines_.size() && lines_[next_].indent == indent && is_item(lines_[next_].text)) {
      Line& line = lines_[next_];
      const std::size_t offset = line.text.find_first_not_of(' ', 1);
      if (offset == std::string_view::npos) {
        ++next_;
        list.push_back(next_ < lines_.size() && lines_[next_].indent > indent
                           ? read_block(lines_[next_].indent, depth + 1)
                           : Json());
        continue;
      }
      // What follows the dash stands where a line of its own would: read it as one.
      line.indent += offset;
      line.text.remove_prefix(offset);
      list.push_back(read_block(line.indent, depth + 1));
    }
    check_indent(indent);
    return list;
  }

  Json read_map(std::size_t indent, std::size_t depth) {
    Json map = Json::object();
    while (next_ < lines_.size() && lines_[next_].indent == indent) {
      const Line line = lines_[next_];
      const std::size_t colon = key_end(line.text);
      if (colon == std::string_view::npos) {
        if (is_item(line.text)) {
          break;
        }
        fail(line.number, "\"" + std::string(line.text.substr(0, 60)) + "\" is no key",
             "key: value");
      }
      const Json key = scalar(trimmed(line.text.substr(0, colon)), line.number, depth);
      const std::string name =
          key.is_text() ? key.as_text() : std::string(trimmed(line.text.substr(0, colon)));
      if (map.find(name) != nullptr) {
        fail(line.number, "key \"" + name.substr(0, 60) + "\" stands twice", "each key once");
      }
      const std::string_view rest = trimmed(line.text.substr(colon + 1));
      ++next_;
      if (!rest.empty()) {
        map.set(name, scalar(rest, line.number, depth));
      } else if (next_ < lines_.size() &&
                 (lines_[next_].indent > indent ||
                  (lines_[next_].indent == indent && is_item(lines_[next_].text)))) {
        map.set(name, read_block(lines_[next_].indent, depth + 1));
      } else {
        map.set(name, Json());
      }
    }
    check_indent(indent);
    return map;
  }

  void check_indent(std::size_t indent) const {
    if (next_ < lines_.size() && lines_[next_].indent > indent) {
      fail(lines_[next_].number, "is indented more than the line before allows",
           "the same indentation for all keys of a map");
    }
  }

  Json scalar(std::string_view text, std::size_t line, std::size_t depth) const {
    std::size_t at = 0;
    Json value = flow(text, at, line, depth, false);
    if (at != text.size()) {
      fail(line, "\"" + std::string(text.substr(at, 60)) + "\" follows a complete value",
           "one value");
    }
    return value;
  }

  /// A flow value at `at`; inside brackets a plain scalar ends at a comma or bracket.
  Json flow(std::string_view text, std::size_t& at, std::size_t line, std::size_t depth,
            bool inside) const {
    if (depth > kMaxDepth) {
      fail(line, "is nested too deeply", "at most 32 levels");
    }
    skip_blanks(text, at);
    if (at >= text.size()) {
      return Json();
    }
    switch (text[at]) {
      case '[':
        return flow_list(text, at, line, depth);
      case '{':
        return flow_map(text, at, line, depth);
      case '"':
      case '\'':
        return quoted(text, at, line);
      case '&':
      case '*':
      case '!':
      case '|':
      case '>':
      case '?':
      case '%':
      case '@':
      case '`':
        fail(line, "\"" + std::string(text.substr(at, 20)) + "\" is YAML that is not read here",
             "plain maps, lists and scalars (no anchors, tags, block texts)");
      default:
        break;
    }
    const std::size_t end =
        inside ? std::min(text.find_first_of(",]}:", at), text.size()) : text.size();
    const std::string_view plain = trimmed(text.substr(at, end - at));
    at = end;
    return plain_scalar(plain);
  }

  static void skip_blanks(std::string_view text, std::size_t& at) {
    while (at < text.size() && text[at] == ' ') {
      ++at;
    }
  }

  Json flow_list(std::string_view text, std::size_t& at, std::size_t line,
                 std::size_t depth) const {
    Json list = Json::array();
    ++at;
    while (true) {
      skip_blanks(text, at);
      if (at < text.size() && text[at] == ']') {
        ++at;
        return list;
      }
      list.push_back(flow(text, at, line, depth + 1, true));
      skip_blanks(text, at);
      if (at < text.size() && text[at] == ',') {
        ++at;
      } else if (at >= text.size() || text[at] != ']') {
        fail(line, "a list in brackets does not end", "[a, b] on one line");
      }
    }
  }

  Json flow_map(std::string_view text, std::size_t& at, std::size_t line, std::size_t depth) const {
    Json map = Json::object();
    ++at;
    while (true) {
      skip_blanks(text, at);
      if (at < text.size() && text[at] == '}') {
        ++at;
        return map;
      }
      const std::size_t key_begin = at;
      const Json key = flow(text, at, line, depth + 1, true);
      const std::string name = key.is_text()
                                   ? key.as_text()
                                   : std::string(trimmed(text.substr(key_begin, at - key_begin)));
      skip_blanks(text, at);
      if (at >= text.size() || text[at] != ':') {
        fail(line, "a map in braces has a key without value", "{a: 1, b: 2} on one line");
      }
      if (map.find(name) != nullptr) {
        fail(line, "key \"" + name.substr(0, 60) + "\" stands twice", "each key once");
      }
      ++at;
      map.set(name, flow(text, at, line, depth + 1, true));
      skip_blanks(text, at);
      if (at < text.size() && text[at] == ',') {
        ++at;
      } else if (at >= text.size() || text[at] != '}') {
        fail(line, "a map in braces does not end", "{a: 1, b: 2} on one line");
      }
    }
  }

  Json quoted(std::string_view text, std::size_t& at, std::size_t line) const {
    const char quote = text[at++];
    std::string value;
    while (at < text.size()) {
      const char c = text[at++];
      if (c == quote) {
        if (quote == '\'' && at < text.size() && text[at] == '\'') {
          value += '\'';
          ++at;
          continue;
        }
        return Json(value);
      }
      if (c == '\\' && quote == '"' && at < text.size()) {
        const char escaped = text[at++];
        value += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
      } else {
        value += c;
      }
    }
    fail(line, "a quoted text does not end", "the closing quote on the same line");
  }

  static Json plain_scalar(std::string_view text) {
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
      return Json();
    }
    if (text == "true" || text == "True" || text == "TRUE") {
      return Json(true);
    }
    if (text == "false" || text == "False" || text == "FALSE") {
      return Json(false);
    }
    std::int64_t integer = 0;
    const char* const begin = text.data();
    const char* const end = begin + text.size();
    if (const auto [stop, error] = std::from_chars(begin, end, integer);
        error == std::errc() && stop == end) {
      return Json(integer);
    }
    double number = 0;
    if (const auto [stop, error] = std::from_chars(begin, end, number);
        error == std::errc() && stop == end && std::isfinite(number)) {
      return Json(number);
    }
    return Json(std::string(text));
  }

  const std::string& file_;
  std::vector<Line> lines_;
  std::size_t next_ = 0;
};

}  // namespace

Json parse_yaml(std::string_view text, const std::string& file) {
  return YamlReader(text, file).read();
}

}  // namespace moesim

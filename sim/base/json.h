// SPDX-License-Identifier: Apache-2.0
// JSON values as this program keeps them: objects in file order, integers apart from reals, no
// duplicate keys.
//
// Parsing (nlohmann's SAX parser does the lexing) refuses what a study must not silently accept:
// duplicate keys, NaN and infinities, numbers beyond double, nesting deeper than 64, files above a
// size limit. Writing is shortest text that reads back equal (std::to_chars), no locale.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace moesim {

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(static_cast<std::int64_t>(value)) {}
  Json(std::int64_t value) : value_(value) {}
  Json(std::uint64_t value);  ///< kept exact up to 2^63 - 1, above that as a real
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  static Json object() { return Json(Object{}); }
  static Json array() { return Json(Array{}); }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(value_); }
  bool is_number() const { return is_integer() || std::holds_alternative<double>(value_); }
  bool is_text() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }
  /// "an object", "a list", "text", "a number" ...: for messages.
  std::string_view kind_name() const;

  // Each accessor aborts (MOESIM_CHECK) when the value is of another kind.
  bool as_bool() const;
  std::int64_t as_integer() const;
  double as_number() const;  ///< integers too
  const std::string& as_text() const;
  const Array& items() const;
  Array& items();
  const Object& members() const;
  Object& members();

  /// The member `key`, or null when this is no object or has none.
  const Json* find(std::string_view key) const;
  Json* find(std::string_view key);
  /// Sets or appends a member; makes an object of a null value.
  Json& set(std::string_view key, Json value);
  /// Appends to a list; makes a list of a null value.
  void push_back(Json value);
  /// The value at a JSON pointer (RFC 6901), or null.
  const Json* at_pointer(std::string_view pointer) const;

  /// `indent` < 0: one line. Otherwise short lists of plain values stay on one line.
  std::string dump(int indent = 2) const;

  friend bool operator==(const Json& a, const Json& b) = default;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

struct JsonLimits {
  std::size_t max_bytes = 64u << 20;
  int max_depth = 64;
};

/// Parses `text`; throws InputError naming `file` and "line L, column C".
Json parse_json(std::string_view text, const std::string& file, const JsonLimits& limits = {});
/// Reads and parses a file; "-" is standard input. Throws InputError when it cannot be read.
Json load_json(const std::string& path, const JsonLimits& limits = {});
/// Reads a whole file ("-": standard input) of at most `max_bytes`; throws InputError.
std::string read_text_file(const std::string& path, std::size_t max_bytes);
/// Replaces `path` atomically (temporary file beside it, then rename); a pipe or device is written
/// directly. Throws InputError.
void write_text_file(const std::string& path, std::string_view text);

/// Shortest text that reads back as the same double.
std::string number_text(double value);
/// A key as one token of a JSON pointer ("~" and "/" escaped).
std::string pointer_token(std::string_view key);

}  // namespace moesim

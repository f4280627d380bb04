// SPDX-License-Identifier: Apache-2.0
#include "sim/base/json.h"

#include <charconv>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[(c >> 4) & 0xf];
          out += kHex[c & 0xf];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void append_number(std::string& out, double value) {
  MOESIM_CHECK(std::isfinite(value), "JSON has no NaN or infinity");
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  out.append(buffer, end);
  if (value == 0.0 && std::signbit(value)) {
    out += ".0";  // "-0" would read back as the integer 0
  }
}

bool is_plain(const Json& value) { return !value.is_array() && !value.is_object(); }

void append_break(std::string& out, int indent, int depth) {
  if (indent >= 0) {
    out += '\n';
    out.append(static_cast<std::size_t>(indent * depth), ' ');
  }
}

void append_value(std::string& out, const Json& value, int indent, int depth) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.as_bool() ? "true" : "false";
  } else if (value.is_integer()) {
    out += std::to_string(value.as_integer());
  } else if (value.is_number()) {
    append_number(out, value.as_number());
  } else if (value.is_text()) {
    append_quoted(out, value.as_text());
  } else if (value.is_array()) {
    bool plain = true;
    for (const Json& item : value.items()) {
      plain = plain && is_plain(item);
    }
    out += '[';
    bool first = true;
    for (const Json& item : value.items()) {
      if (!first) {
        out += plain && indent >= 0 ? ", " : ",";
      }
      first = false;
      if (!plain) {
        append_break(out, indent, depth + 1);
      }
      append_value(out, item, indent, depth + 1);
    }
    if (!plain) {
      append_break(out, indent, depth);
    }
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : value.members()) {
      if (!first) {
        out += ',';
      }
      first = false;
      append_break(out, indent, depth + 1);
      append_quoted(out, key);
      out += indent >= 0 ? ": " : ":";
      append_value(out, member, indent, depth + 1);
    }
    if (!first) {
      append_break(out, indent, depth);
    }
    out += '}';
  }
}

}  // namespace

Json::Json(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(INT64_MAX)) {
    value_ = static_cast<std::int64_t>(value);
  } else {
    value_ = static_cast<double>(value);
  }
}

std::string_view Json::kind_name() const {
  static constexpr std::string_view kNames[] = {
      "null", "true or false", "a whole number", "a number", "text", "a list", "an object"};
  return kNames[value_.index()];
}

bool Json::as_bool() const {
  MOESIM_CHECK(is_bool(), "the JSON value is not a boolean");
  return std::get<bool>(value_);
}

std::int64_t Json::as_integer() const {
  MOESIM_CHECK(is_integer(), "the JSON value is not a whole number");
  return std::get<std::int64_t>(value_);
}

double Json::as_number() const {
  MOESIM_CHECK(is_number(), "the JSON value is not a number");
  return is_integer() ? static_cast<double>(std::get<std::int64_t>(value_))
                      : std::get<double>(value_);
}

const std::string& Json::as_text() const {
  MOESIM_CHECK(is_text(), "the JSON value is not text");
  return std::get<std::string>(value_);
}

const Json::Array& Json::items() const {
  MOESIM_CHECK(is_array(), "the JSON value is not a list");
  return std::get<Array>(value_);
}

Json::Array& Json::items() {
  MOESIM_CHECK(is_array(), "the JSON value is not a list");
  return std::get<Array>(value_);
}

const Json::Object& Json::members() const {
  MOESIM_CHECK(is_object(), "the JSON value is not an object");
  return std::get<Object>(value_);
}

Json::Object& Json::members() {
  MOESIM_CHECK(is_object(), "the JSON value is not an object");
  return std::get<Object>(value_);
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) {
    return nullptr;
  }
  for (const Member& member : members()) {
    if (member.first == key) {
      return &member.second;
    }
  }
  return nullptr;
}

Json* Json::find(std::string_view key) {
  return const_cast<Json*>(static_cast<const Json*>(this)->find(key));
}

Json& Json::set(std::string_view key, Json value) {
  if (is_null()) {
    value_ = Object{};
  }
  if (Json* existing = find(key)) {
    *existing = std::move(value);
    return *existing;
  }
  members().emplace_back(std::string(key), std::move(value));
  return members().back().second;
}

void Json::push_back(Json value) {
  if (is_null()) {
    value_ = Array{};
  }
  items().push_back(std::move(value));
}

const Json* Json::at_pointer(std::string_view pointer) const {
  const Json* value = this;
  while (value != nullptr && !pointer.empty()) {
    if (pointer.front() != '/') {
      return nullptr;
    }
    pointer.remove_prefix(1);
    const std::size_t end = std::min(pointer.find('/'), pointer.size());
    std::string token;
    for (std::size_t i = 0; i < end; ++i) {
      if (pointer[i] == '~' && i + 1 < end) {
        token += pointer[++i] == '1' ? '/' : '~';
      } else {
        token += pointer[i];
      }
    }
    pointer.remove_prefix(end);
    if (value->is_array()) {
      std::size_t index = 0;
      const auto [rest, error] = std::from_chars(token.data(), token.data() + token.size(), index);
      const bool is_index = error == std::errc() && rest == token.data() + token.size();
      value = is_index && index < value->items().size() ? &value->items()[index] : nullptr;
    } else {
      value = value->find(token);
    }
  }
  return value;
}

std::string Json::dump(int indent) const {
  std::string out;
  append_value(out, *this, indent, 0);
  return out;
}

std::string number_text(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  std::string text;
  append_number(text, value);
  return text;
}

std::string pointer_token(std::string_view key) {
  std::string token;
  for (const char c : key) {
    if (c == '~') {
      token += "~0";
    } else if (c == '/') {
      token += "~1";
    } else {
      token += c;
    }
  }
  return token;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/base/field_table.h"

#include <algorithm>

namespace moesim {
namespace {

std::string list_text(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text;
}

std::string range_text(const FieldDoc& doc, bool whole) {
  std::string text = whole ? "allowed: a whole number" : "allowed: a number";
  if (std::isfinite(doc.min)) {
    text += (doc.min_exclusive ? " > " : " >= ") + number_text(doc.min);
  }
  if (std::isfinite(doc.max)) {
    text += std::string(std::isfinite(doc.min) ? " and" : "") + " <= " + number_text(doc.max);
  }
  return text;
}

bool in_range(double value, const FieldDoc& doc) {
  return value <= doc.max && (doc.min_exclusive ? value > doc.min : value >= doc.min);
}

std::string unknown_key_allowed(std::string_view key, const std::vector<std::string>& known) {
  const std::string nearest = nearest_word(key, known);
  return nearest.empty() ? "allowed: " + list_text(known) : "did you mean \"" + nearest + "\"?";
}

}  // namespace

namespace fields_detail {

void wrong_kind(const Json& json, const ReadContext& context, std::string_view wanted) {
  context.problem("is " + std::string(json.kind_name()), "allowed: " + std::string(wanted));
}

void read_number(double& out, const Json& json, const ReadContext& context, const FieldDoc& doc) {
  if (!json.is_number()) {
    context.problem("is " + std::string(json.kind_name()), range_text(doc, false));
    return;
  }
  const double value = json.as_number();
  if (!in_range(value, doc)) {
    context.problem(number_text(value) + " is out of range", range_text(doc, false));
    return;
  }
  out = value;
}

void read_integer(std::int64_t& out, const Json& json, const ReadContext& context,
                  const FieldDoc& doc, std::int64_t low, std::int64_t high) {
  FieldDoc bounds = doc;
  bounds.min = std::max(doc.min, static_cast<double>(low));
  if (high != INT64_MAX) {
    bounds.max = std::min(doc.max, static_cast<double>(high));
  }
  const FieldDoc& said = std::isfinite(doc.min) || std::isfinite(doc.max) ? bounds : doc;
  if (!json.is_integer()) {
    const std::string what = json.is_number()
                                 ? number_text(json.as_number()) + " is not a whole number"
                                 : "is " + std::string(json.kind_name());
    context.problem(what, range_text(said, true));
    return;
  }
  const std::int64_t value = json.as_integer();
  if (value < low || value > high || !in_range(static_cast<double>(value), bounds)) {
    context.problem(std::to_string(value) + " is out of range", range_text(bounds, true));
    return;
  }
  out = value;
}

std::string allowed_choices(const std::vector<std::pair<std::string, std::string>>& choices) {
  std::vector<std::string> names;
  for (const auto& [name, doc] : choices) {
    names.push_back(name);
  }
  return "allowed: " + list_text(names);
}

}  // namespace fields_detail

const Field* FieldTable::find(std::string_view key) const {
  for (const Field& field : fields_) {
    if (field.key == key) {
      return &field;
    }
  }
  return nullptr;
}

std::vector<std::string> FieldTable::keys() const {
  std::vector<std::string> keys;
  for (const Field& field : fields_) {
    keys.push_back(field.key);
  }
  return keys;
}

void FieldTable::read(void* object, const Json& json, const ReadContext& context) const {
  if (!json.is_object()) {
    context.problem("is " + std::string(json.kind_name()),
                    "allowed: an object with the keys " + list_text(keys()));
    return;
  }
  for (const auto& [key, value] : json.members()) {
    const Field* field = find(key);
    if (field != nullptr) {
      field->read(object, value, context.at(key));
    } else if (!key.starts_with("$")) {  // "$comment" and "$schema" are JSON Schema's own words and
                                         // carry no meaning here
      context.at(key).problem("unknown key", unknown_key_allowed(key, keys()));
    }
  }
  for (const Field& field : fields_) {
    if (field.doc.required && json.find(field.key) == nullptr) {
      context.at(field.key).problem("is missing", field.doc.doc);
    }
  }
}

Json FieldTable::write(const void* object) const {
  Json json = Json::object();
  for (const Field& field : fields_) {
    Json value = field.write(object);
    if (!value.is_null()) {
      json.set(field.key, std::move(value));
    }
  }
  return json;
}

void Setter::apply(void* object, const Json& value, const std::string& file,
                   Diagnostics& diagnostics) const {
  for (const Field* step : path_) {
    object = step->member(object);
  }
  field_->read(object, value, ReadContext{file, pointer_, diagnostics});
}

Setter compile_setter(const FieldTable& table, const std::string& pointer,
                      const std::string& file) {
  Setter setter;
  setter.pointer_ = pointer;
  if (pointer.empty() || pointer.front() != '/') {
    throw InputError(file, "", "\"" + pointer + "\" is not a JSON pointer",
                     "it starts with \"/\", as in /routing/sigma");
  }
  const FieldTable* level = &table;
  std::size_t begin = 1;
  while (true) {
    const std::size_t end = std::min(pointer.find('/', begin), pointer.size());
    const std::string key = pointer.substr(begin, end - begin);
    const Field* field = level == nullptr ? nullptr : level->find(key);
    if (field == nullptr) {
      throw InputError(file, pointer, "unknown key",
                       level == nullptr
                           ? "\"" + key + "\" lies inside a value that has no keys of its own"
                           : unknown_key_allowed(key, level->keys()));
    }
    if (end == pointer.size()) {
      setter.field_ = field;
      return setter;
    }
    if (field->info.nullable || field->info.kind != FieldKind::object) {
      level = nullptr;
    } else {
      level = field->info.fields;
    }
    setter.path_.push_back(field);
    begin = end + 1;
  }
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Field tables: name, unit, range, doc and default of every key of every file format, stated once.
//
// A struct that is read from JSON declares `const Fields<S>& fields_of(const S*)`, a table built
// once from member pointers. From that one table come the reader (with every problem reported,
// unknown keys included), the writer, the JSON Schema, the typed setters behind `--set`, sweeps and
// forms, and the "allowed:" texts.
//
//     const Fields<Sampling>& fields_of(const Sampling*) {
//       static const Fields<Sampling> table = Fields<Sampling>("sampling")
//           .add("rate_per_s", &Sampling::rate, {.doc = "draws a second", .unit = "1/s", .min = 0})
//           .add("kind", &Sampling::kind, {.doc = "how to draw", .required = true});
//       return table;
//     }
//
// Enumerations declare `std::span<const Choice<E>> choices_of(E)`.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "sim/base/error.h"
#include "sim/base/json.h"
#include "sim/base/units.h"

namespace moesim {

/// One named value of an enumeration: the policy and mode tables are lists of these.
template <class E>
struct Choice {
  E value;
  std::string_view name;
  std::string_view doc;
};

/// What a table says of one key beside its type.
struct FieldDoc {
  std::string doc;
  std::string unit =
      "";  ///< JSON unit suffix ("s", "bytes_per_s", "fraction") or "" for counts and ratios
  bool required = false;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool min_exclusive = false;  ///< the value must be above `min`, not equal
};

enum class FieldKind { boolean, integer, number, text, choice, object, list, map, any };

/// Where a reader is: file, pointer so far, and the list that problems go to.
struct ReadContext {
  const std::string& file;
  std::string pointer;
  Diagnostics& diagnostics;

  ReadContext at(std::string_view key) const {
    return {file, pointer + "/" + pointer_token(key), diagnostics};
  }
  void problem(std::string text, std::string allowed = "") const {
    diagnostics.add(file, pointer, std::move(text), std::move(allowed));
  }
};

class FieldTable;

/// The type-erased half of a value's codec: enough for schemas, forms and setters.
struct ValueInfo {
  FieldKind kind = FieldKind::any;
  std::vector<std::pair<std::string, std::string>> choices;  ///< (name, doc) for FieldKind::choice
  const FieldTable* fields = nullptr;                        ///< for FieldKind::object
  std::shared_ptr<const ValueInfo> element;                  ///< for lists and maps
  bool nullable = false;  ///< std::optional: absent is a value of its own
};

/// One key of a table.
struct Field {
  std::string key;
  FieldDoc doc;
  ValueInfo info;
  std::function<void(void* object, const Json&, const ReadContext&)> read;
  std::function<Json(const void* object)> write;  ///< null means absent
  std::function<void*(void* object)> member;      ///< address of the member, for nested setters
};

/// The keys of one struct, type-erased.
class FieldTable {
 public:
  explicit FieldTable(std::string name, std::string doc)
      : name_(std::move(name)), doc_(std::move(doc)) {}
  const std::string& name() const { return name_; }
  const std::string& doc() const { return doc_; }
  const std::vector<Field>& fields() const { return fields_; }
  const Field* find(std::string_view key) const;

  /// Reads every known key of `json` into `object` and reports unknown, missing and wrong ones.
  void read(void* object, const Json& json, const ReadContext& context) const;
  Json write(const void* object) const;
  /// "key" texts of the table, for messages.
  std::vector<std::string> keys() const;

 protected:
  std::string name_;
  std::string doc_;
  std::vector<Field> fields_;
};

template <class S>
class Fields;

// --- codecs: one per kind of member type
// ---------------------------------------------------------------------------------------

namespace fields_detail {

void read_number(double& out, const Json& json, const ReadContext& context, const FieldDoc& doc);
void read_integer(std::int64_t& out, const Json& json, const ReadContext& context,
                  const FieldDoc& doc, std::int64_t low, std::int64_t high);
std::string allowed_choices(const std::vector<std::pair<std::string, std::string>>& choices);
void wrong_kind(const Json& json, const ReadContext& context, std::string_view wanted);

template <class T>
concept HasFields = requires(const T* t) {
  fields_of(t);
};
template <class T>
concept HasChoices = std::is_enum_v<T> && requires(T t) {
  choices_of(t);
};
/// A type with a reader of its own: `void read_value(T&, const Json&, const ReadContext&)`, `Json
/// write_value(const T&)`.
template <class T>
concept HasCodec = requires(T& t, const T& c, const Json& j, const ReadContext& r) {
  read_value(t, j, r);
  { write_value(c) } -> std::convertible_to<Json>;
};

template <class T>
struct Codec;

template <>
struct Codec<Json> {
  static ValueInfo info() { return {}; }
  static void read(Json& out, const Json& json, const ReadContext&, const FieldDoc&) { out = json; }
  static Json write(const Json& value) { return value; }
};

template <>
struct Codec<bool> {
  static ValueInfo info() { return {.kind = FieldKind::boolean}; }
  static void read(bool& out, const Json& json, const ReadContext& context, const FieldDoc&) {
    if (json.is_bool()) {
      out = json.as_bool();
    } else {
      wrong_kind(json, context, "true or false");
    }
  }
  static Json write(bool value) { return Json(value); }
};

template <>
struct Codec<double> {
  static ValueInfo info() { return {.kind = FieldKind::number}; }
  static void read(double& out, const Json& json, const ReadContext& context, const FieldDoc& doc) {
    read_number(out, json, context, doc);
  }
  static Json write(double value) {
    // 1e15 holds every count exactly; whole numbers are written without ".0" or an exponent so that
    // files stay readable.
    if (std::floor(value) == value && std::fabs(value) < 1e15) {
      return Json(static_cast<std::int64_t>(value));
    }
    return Json(value);
  }
};

template <class D>
struct Codec<Quantity<D>> {
  static ValueInfo info() { return {.kind = FieldKind::number}; }
  static void read(Quantity<D>& out, const Json& json, const ReadContext& context,
                   const FieldDoc& doc) {
    double value = out.value();
    read_number(value, json, context, doc);
    out = Quantity<D>(value);
  }
  static Json write(Quantity<D> value) { return Codec<double>::write(value.value()); }
};

template <class T>
requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) struct Codec<T> {
  static ValueInfo info() { return {.kind = FieldKind::integer}; }
  static void read(T& out, const Json& json, const ReadContext& context, const FieldDoc& doc) {
    std::int64_t value = static_cast<std::int64_t>(out);
    const std::int64_t low = static_cast<std::int64_t>(std::numeric_limits<T>::min());
    const std::int64_t high =
        sizeof(T) == 8 ? INT64_MAX : static_cast<std::int64_t>(std::numeric_limits<T>::max());
    read_integer(value, json, context, doc, low, high);
    out = static_cast<T>(value);
  }
  static Json write(T value) { return Json(static_cast<std::int64_t>(value)); }
};

template <>
struct Codec<std::string> {
  static ValueInfo info() { return {.kind = FieldKind::text}; }
  static void read(std::string& out, const Json& json, const ReadContext& context,
                   const FieldDoc&) {
    if (json.is_text()) {
      out = json.as_text();
    } else {
      wrong_kind(json, context, "text");
    }
  }
  static Json write(const std::string& value) { return Json(value); }
};

template <HasChoices E>
struct Codec<E> {
  static ValueInfo info() {
    ValueInfo info{.kind = FieldKind::choice};
    for (const Choice<E>& choice : choices_of(E{})) {
      info.choices.emplace_back(choice.name, choice.doc);
    }
    return info;
  }
  static void read(E& out, const Json& json, const ReadContext& context, const FieldDoc&) {
    if (json.is_text()) {
      for (const Choice<E>& choice : choices_of(E{})) {
        if (choice.name == json.as_text()) {
          out = choice.value;
          return;
        }
      }
    }
    context.problem((json.is_text() ? "\"" + json.as_text().substr(0, 80) + "\""
                                    : std::string(json.kind_name())) +
                        " is none of the choices",
                    allowed_choices(info().choices));
  }
  static Json write(E value) {
    for (const Choice<E>& choice : choices_of(E{})) {
      if (choice.value == value) {
        return Json(choice.name);
      }
    }
    return Json();
  }
};

template <class T>
struct Codec<std::optional<T>> {
  static ValueInfo info() {
    ValueInfo info = Codec<T>::info();
    info.nullable = true;
    return info;
  }
  static void read(std::optional<T>& out, const Json& json, const ReadContext& context,
                   const FieldDoc& doc) {
    if (json.is_null()) {
      out.reset();
      return;
    }
    T value = out.value_or(T{});
    Codec<T>::read(value, json, context, doc);
    out = std::move(value);
  }
  static Json write(const std::optional<T>& value) {
    return value ? Codec<T>::write(*value) : Json();
  }
};

template <class T>
struct Codec<std::vector<T>> {
  static ValueInfo info() {
    return {.kind = FieldKind::list,
            .element = std::make_shared<const ValueInfo>(Codec<T>::info())};
  }
  static void read(std::vector<T>& out, const Json& json, const ReadContext& context,
                   const FieldDoc& doc) {
    if (!json.is_array()) {
      wrong_kind(json, context, "a list");
      return;
    }
    out.clear();
    for (std::size_t i = 0; i < json.items().size(); ++i) {
      T value{};
      Codec<T>::read(value, json.items()[i], context.at(std::to_string(i)), doc);
      out.push_back(std::move(value));
    }
  }
  static Json write(const std::vector<T>& values) {
    Json list = Json::array();
    for (const T& value : values) {
      list.push_back(Codec<T>::write(value));
    }
    return list;
  }
};

template <class T>
struct Codec<std::map<std::string, T>> {
  static ValueInfo info() {
    return {.kind = FieldKind::map, .element = std::make_shared<const ValueInfo>(Codec<T>::info())};
  }
  static void read(std::map<std::string, T>& out, const Json& json, const ReadContext& context,
                   const FieldDoc& doc) {
    if (!json.is_object()) {
      wrong_kind(json, context, "an object");
      return;
    }
    out.clear();
    for (const auto& [key, member] : json.members()) {
      Codec<T>::read(out[key], member, context.at(key), doc);
    }
  }
  static Json write(const std::map<std::string, T>& values) {
    Json object = Json::object();
    for (const auto& [key, value] : values) {
      object.set(key, Codec<T>::write(value));
    }
    return object;
  }
};

template <HasFields S>
struct Codec<S> {
  static ValueInfo info() {
    return {.kind = FieldKind::object, .fields = &fields_of(static_cast<const S*>(nullptr))};
  }
  static void read(S& out, const Json& json, const ReadContext& context, const FieldDoc&) {
    fields_of(static_cast<const S*>(nullptr)).read(&out, json, context);
  }
  static Json write(const S& value) {
    return fields_of(static_cast<const S*>(nullptr)).write(&value);
  }
};

template <HasCodec T>
requires(!HasFields<T>) struct Codec<T> {
  static ValueInfo info() { return {}; }
  static void read(T& out, const Json& json, const ReadContext& context, const FieldDoc&) {
    read_value(out, json, context);
  }
  static Json write(const T& value) { return write_value(value); }
};

}  // namespace fields_detail

// --- the typed table
// -----------------------------------------------------------------------------------------------------------

template <class S>
class Fields : public FieldTable {
 public:
  explicit Fields(std::string name, std::string doc = "")
      : FieldTable(std::move(name), std::move(doc)) {}

  template <class M>
  Fields& add(std::string key, M S::*member, FieldDoc doc) & {
    using Codec = fields_detail::Codec<M>;
    Field field;
    field.key = std::move(key);
    field.doc = doc;
    field.info = Codec::info();
    field.read = [member, doc](void* object, const Json& json, const ReadContext& context) {
      Codec::read(static_cast<S*>(object)->*member, json, context, doc);
    };
    field.write = [member](const void* object) {
      return Codec::write(static_cast<const S*>(object)->*member);
    };
    field.member = [member](void* object) -> void* { return &(static_cast<S*>(object)->*member); };
    fields_.push_back(std::move(field));
    return *this;
  }
  template <class M>
  Fields&& add(std::string key, M S::*member, FieldDoc doc) && {
    add(std::move(key), member, std::move(doc));
    return std::move(*this);
  }
};

/// Reads `json` as an S; problems go to `diagnostics` and what could not be read keeps its default.
template <class S>
S read_object(const Json& json, const std::string& file, Diagnostics& diagnostics,
              std::string pointer = "") {
  S object{};
  fields_of(static_cast<const S*>(nullptr))
      .read(&object, json, ReadContext{file, std::move(pointer), diagnostics});
  return object;
}

template <class S>
Json write_object(const S& object) {
  return fields_of(static_cast<const S*>(nullptr)).write(&object);
}

/// The name of an enumerator in its table.
template <fields_detail::HasChoices E>
std::string choice_name(E value) {
  return fields_detail::Codec<E>::write(value).as_text();
}

/// A JSON pointer compiled to a typed setter: `--set`, sweeps, forms and undo edit the struct,
/// never JSON text.
class Setter {
 public:
  /// Applies to the struct that the pointer was compiled for; problems go to the context's
  /// diagnostics.
  void apply(void* object, const Json& value, const std::string& file,
             Diagnostics& diagnostics) const;
  const Field& field() const { return *field_; }
  const std::string& pointer() const { return pointer_; }

 private:
  friend Setter compile_setter(const FieldTable& table, const std::string& pointer,
                               const std::string& file);
  std::string pointer_;
  std::vector<const Field*> path_;
  const Field* field_ = nullptr;
};

/// Finds the field behind `pointer`; throws InputError naming the unknown key, the nearest known
/// one and the known keys.
Setter compile_setter(const FieldTable& table, const std::string& pointer, const std::string& file);

}  // namespace moesim

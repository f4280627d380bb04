// SPDX-License-Identifier: Apache-2.0
// A machine number and where it comes from.
//
// In JSON `{"value": 3.35e12, "origin": "datasheet", "source": "title, page, URL"}`; the key that
// holds the object ends in the unit. A group of numbers that one fit produced together carries the
// same keys beside its own (`Provenance` as a base class). `points` and `residual_fraction` belong
// to `measured` and `fitted`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "sim/base/field_table.h"

namespace moesim {

enum class Origin { measured, fitted, datasheet, estimate, transferred };
std::span<const Choice<Origin>> choices_of(Origin);

/// Where a number, or a group of numbers fitted together, comes from.
struct Provenance {
  Origin origin = Origin::estimate;
  std::string source;                  ///< title and URL, sample file, or what an estimate rests on
  std::optional<std::int64_t> points;  ///< how many measurements stand behind it
  std::optional<double> residual_fraction;  ///< mean absolute relative error on those points
};

/// One number with its origin. `T` is a Quantity, `double` (ratio) or `std::int64_t` (count).
template <class T>
struct Sourced : Provenance {
  T value{};
};

using SourcedNumber = Sourced<double>;
using SourcedCount = Sourced<std::int64_t>;

/// Adds the four provenance keys to the table of a struct that derives from Provenance.
template <class S>
void add_provenance(Fields<S>& table) {
  table.add("origin", static_cast<Origin S::*>(&S::origin),
            {.doc = "where the number comes from", .required = true});
  table.add("source", static_cast<std::string S::*>(&S::source),
            {.doc = "title and URL, sample file, or what an estimate rests on", .required = true});
  table.add("points", static_cast<std::optional<std::int64_t> S::*>(&S::points),
            {.doc = "measurements behind the number", .min = 1});
  table.add(
      "residual_fraction", static_cast<std::optional<double> S::*>(&S::residual_fraction),
      {.doc = "mean absolute relative error on those measurements", .unit = "fraction", .min = 0});
}

template <class T>
const Fields<Sourced<T>>& sourced_fields() {
  static const Fields<Sourced<T>> table = [] {
    Fields<Sourced<T>> fields(std::is_integral_v<T> ? "sourced count" : "sourced number");
    fields.add("value", &Sourced<T>::value, {.doc = "the number, unscaled SI", .required = true});
    add_provenance(fields);
    return fields;
  }();
  return table;
}

namespace fields_detail {

/// Like any struct, but the range of the holding key applies to `value`.
template <class T>
struct Codec<Sourced<T>> {
  static ValueInfo info() { return {.kind = FieldKind::object, .fields = &sourced_fields<T>()}; }
  static void read(Sourced<T>& out, const Json& json, const ReadContext& context,
                   const FieldDoc& doc) {
    sourced_fields<T>().read(&out, json, context);
    const Json* value = json.find("value");
    if (value != nullptr && (std::is_integral_v<T> ? value->is_integer() : value->is_number())) {
      Codec<T>::read(out.value, *value, context.at("value"), doc);
    }
  }
  static Json write(const Sourced<T>& value) { return sourced_fields<T>().write(&value); }
};

}  // namespace fields_detail

}  // namespace moesim

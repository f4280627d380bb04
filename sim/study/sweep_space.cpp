// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep_space.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "sim/base/quantity_text.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr std::uint64_t kMaxPoints = 1'000'000'000;
constexpr const char* kOption = "--vary";

/// Twelve digits: 10, not 10.000000000000002, between 1 and 100 on a logarithmic axis.
double rounded(double value) {
  char buffer[40];
  const auto written =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, 12);
  double result = value;
  std::from_chars(buffer, written.ptr, result);
  return result;
}

Json number_json(double value, bool whole) {
  if (whole || (std::floor(value) == value && std::fabs(value) < 1e15)) {
    return Json(static_cast<std::int64_t>(std::floor(value + 0.5)));
  }
  return Json(value);
}

/// Splits at commas outside quotes and brackets.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts(1);
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' && (i == 0 || text[i - 1] != '\\')) {
      quoted = !quoted;
    }
    depth += !quoted && (c == '[' || c == '{') ? 1 : 0;
    depth -= !quoted && (c == ']' || c == '}') ? 1 : 0;
    if (c == ',' && depth == 0 && !quoted) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

/// Reads "lo:hi:n" or "log:lo:hi:n" into `axis`; false when the text is no range. Throws InputError
/// for a range that cannot be walked.
bool read_range(SweepAxis& axis, const Field& field) {
  std::string text = axis.text;
  axis.logarithmic = text.starts_with("log:");
  if (axis.logarithmic || text.starts_with("lin:")) {
    text = text.substr(4);
  }
  const std::size_t first = text.find(':');
  const std::size_t second = first == std::string::npos ? first : text.find(':', first + 1);
  if (second == std::string::npos || text.find_first_of("\"[{,") != std::string::npos) {
    return false;
  }
  const auto fail = [&axis](const std::string& problem, const std::string& allowed) {
    throw InputError(kOption, axis.pointer, "\"" + axis.text + "\": " + problem, allowed);
  };
  if (field.info.kind != FieldKind::number && field.info.kind != FieldKind::integer) {
    fail("the key takes no numbers", "list its values, separated by commas");
  }
  const auto number = [&](const std::string& part) -> double {
    const std::optional<double> value = parse_quantity(part, field.doc.unit);
    if (!value) {
      fail("\"" + part + "\" is no number", "lo:hi:n or log:lo:hi:n");
    }
    return *value;
  };
  axis.low = number(text.substr(0, first));
  axis.high = number(text.substr(first + 1, second - first - 1));
  const double count = number(text.substr(second + 1));
  if (count < 2 || count > 1e7 || std::floor(count) != count) {
    fail(number_text(count) + " values",
         "a whole number from 2 to 10000000 after the second colon");
  }
  if (axis.logarithmic && (axis.low <= 0 || axis.high <= 0)) {
    fail("a logarithmic range needs positive ends", "write lo:hi:n, or move the ends above 0");
  }
  axis.is_range = true;
  const auto last = static_cast<std::int64_t>(count) - 1;
  for (std::int64_t i = 0; i <= last; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(last);
    double value = axis.low + (axis.high - axis.low) * share;
    if (axis.logarithmic) {
      value = axis.low * portable_exp(portable_log(axis.high / axis.low) * share);
    }
    value = i == 0 ? axis.low : i == last ? axis.high : rounded(value);
    Json json = number_json(value, axis.whole);
    if (axis.values.empty() || !(axis.values.back() == json)) {  // whole numbers may repeat
      axis.values.push_back(std::move(json));
    }
  }
  return true;
}

}  // namespace

Json field_value(const std::string& text, const Field& field) {
  try {
    return parse_json(text, "value");
  } catch (const InputError&) {
    if (field.info.kind == FieldKind::number && !field.doc.unit.empty()) {
      if (const std::optional<double> value = parse_quantity(text, field.doc.unit)) {
        return Json(*value);
      }
    }
    return Json(text);
  }
}

Json SweepAxis::at_fraction(double fraction) const {
  if (!is_range) {
    const auto index = static_cast<std::size_t>(fraction * static_cast<double>(values.size()));
    return values[std::min(index, values.size() - 1)];
  }
  double value = low + (high - low) * fraction;
  if (logarithmic) {
    value = low * portable_exp(portable_log(high / low) * fraction);
  }
  return number_json(rounded(value), whole);
}

SweepSpace::SweepSpace(const ScenarioSpec& base, const std::vector<std::string>& varied,
                       SweepMode mode, std::uint64_t count)
    : base_(base), mode_(mode) {
  const FieldTable& table = fields_of(static_cast<const ScenarioSpec*>(nullptr));
  Diagnostics diagnostics;
  if (varied.empty()) {
    diagnostics.add(kOption, "", "nothing varies", "add --vary /pointer=a,b,c at least once");
  }
  for (const std::string& text : varied) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size()) {
      diagnostics.add(kOption, "", "\"" + text + "\" has no values",
                      "write /pointer=a,b,c or /pointer=lo:hi:n, as in /routing/sigma=0:1.1:12");
      continue;
    }
    try {
      Setter setter = compile_setter(table, text.substr(0, equals), kOption);
      SweepAxis axis;
      axis.pointer = setter.pointer();
      axis.text = text.substr(equals + 1);
      axis.whole = setter.field().info.kind == FieldKind::integer;
      for (const SweepAxis& other : axes_) {
        if (other.pointer == axis.pointer) {
          throw InputError(kOption, axis.pointer, "varies twice", "list all its values once");
        }
      }
      if (!read_range(axis, setter.field())) {
        for (const std::string& item : split_list(axis.text)) {
          axis.values.push_back(field_value(item, setter.field()));
        }
      }
      ScenarioSpec scratch = base;
      for (const Json& value : axis.values) {
        setter.apply(&scratch, value, kOption, diagnostics);
      }
      axes_.push_back(std::move(axis));
      setters_.push_back(std::move(setter));
    } catch (const InputError& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        diagnostics.add(diagnostic);
      }
    }
  }
  diagnostics.throw_if_any();

  if (mode == SweepMode::random || mode == SweepMode::latin) {
    if (count < 1 || count > kMaxPoints) {
      throw InputError(kOption, "", std::to_string(count) + " points",
                       "allowed: 1 to " + std::to_string(kMaxPoints));
    }
    num_points_ = count;
  } else if (mode == SweepMode::zip) {
    num_points_ = axes_.front().values.size();
    for (const SweepAxis& axis : axes_) {
      if (axis.values.size() != num_points_) {
        diagnostics.add("--zip", axis.pointer,
                        "has " + std::to_string(axis.values.size()) + " values, " +
                            axes_.front().pointer + " has " + std::to_string(num_points_),
                        "zipped axes need equally many values");
      }
    }
    diagnostics.throw_if_any();
  } else {
    num_points_ = 1;
    for (const SweepAxis& axis : axes_) {
      num_points_ *= axis.values.size();
      if (num_points_ > kMaxPoints) {
        throw InputError(kOption, "", "more than " + std::to_string(kMaxPoints) + " points",
                         "use fewer values, or --random N or --latin N");
      }
    }
  }
  if (mode == SweepMode::latin) {
    for (std::size_t a = 0; a < axes_.size(); ++a) {
      std::vector<std::uint32_t> order(num_points_);
      for (std::size_t i = 0; i < order.size(); ++i) {
        order[i] = static_cast<std::uint32_t>(i);
      }
      RandomStream random(static_cast<std::uint64_t>(base.seed), "sweep/latin/order", a);
      for (std::size_t i = order.size(); i > 1; --i) {  // Fisher-Yates
        std::swap(order[i - 1], order[random.below(i)]);
      }
      strata_.push_back(std::move(order));
    }
  }
}

std::vector<Json> SweepSpace::values(std::uint64_t point) const {
  std::vector<Json> list;
  values(point, list);
  return list;
}

void SweepSpace::values(std::uint64_t point, std::vector<Json>& values) const {
  MOESIM_CHECK(point < num_points_, "the sweep has no such point");
  values.resize(axes_.size());
  if (mode_ == SweepMode::cartesian) {
    std::uint64_t rest = point;
    for (std::size_t a = axes_.size(); a-- > 0;) {
      values[a] = axes_[a].values[rest % axes_[a].values.size()];
      rest /= axes_[a].values.size();
    }
    return;
  }
  RandomStream random(static_cast<std::uint64_t>(base_.seed), "sweep/point", point);
  for (std::size_t a = 0; a < axes_.size(); ++a) {
    switch (mode_) {
      case SweepMode::cartesian:
        break;
      case SweepMode::zip:
        values[a] = axes_[a].values[point];
        break;
      case SweepMode::random:
        values[a] = axes_[a].at_fraction(random.uniform());
        break;
      case SweepMode::latin:
        values[a] = axes_[a].at_fraction((strata_[a][point] + random.uniform()) /
                                         static_cast<double>(num_points_));
        break;
    }
  }
}

void SweepSpace::set(ScenarioSpec& spec, std::size_t axis, const Json& value) const {
  Diagnostics diagnostics;
  setters_[axis].apply(&spec, value, kOption, diagnostics);
  diagnostics.throw_if_any();
}

ScenarioSpec SweepSpace::spec(const std::vector<Json>& values) const {
  ScenarioSpec spec = base_;
  Diagnostics diagnostics;
  for (std::size_t a = 0; a < setters_.size(); ++a) {
    setters_[a].apply(&spec, values[a], kOption, diagnostics);
  }
  diagnostics.throw_if_any();
  return spec;
}

std::string SweepSpace::definition() const {
  Json json = Json::object();
  json.set("base", write_object(base_));
  Json axes = Json::object();
  for (const SweepAxis& axis : axes_) {
    axes.set(axis.pointer, axis.text);
  }
  json.set("vary", std::move(axes));
  static constexpr const char* kModes[] = {"cartesian", "zip", "random", "latin"};
  json.set("mode", kModes[static_cast<std::size_t>(mode_)]);
  json.set("points", num_points_);
  return json.dump(-1);
}

}  // namespace moesim

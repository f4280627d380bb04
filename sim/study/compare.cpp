// SPDX-License-Identifier: Apache-2.0
#include "sim/study/compare.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {
namespace {

struct Figure {
  std::string name;
  double value = 0;
  std::optional<double> low;
  std::optional<double> high;
};

std::optional<double> number_at(const Json& json, const char* key) {
  const Json* value = json.find(key);
  return value != nullptr && value->is_number() ? std::optional<double>(value->as_number())
                                                : std::nullopt;
}

/// Every {value, low?, high?} below `json`, names joined by dots.
void add_figures(const Json& json, const std::string& name, std::vector<Figure>& out) {
  if (!json.is_object()) {
    return;
  }
  if (const std::optional<double> value = number_at(json, "value")) {
    out.push_back({name, *value, number_at(json, "low"), number_at(json, "high")});
    return;
  }
  for (const auto& [key, member] : json.members()) {
    add_figures(member, name.empty() ? key : name + "." + key, out);
  }
}

void add_differences(const Json* a, const Json* b, const std::string& pointer,
                     std::vector<KeyDifference>& out) {
  const bool a_is_object = a != nullptr && a->is_object();
  const bool b_is_object = b != nullptr && b->is_object();
  if (a_is_object || b_is_object) {
    if (a_is_object) {
      for (const auto& [key, value] : a->members()) {
        add_differences(&value, b_is_object ? b->find(key) : nullptr,
                        pointer + "/" + pointer_token(key), out);
      }
    }
    if (b_is_object) {
      for (const auto& [key, value] : b->members()) {
        if (!a_is_object || a->find(key) == nullptr) {
          add_differences(nullptr, &value, pointer + "/" + pointer_token(key), out);
        }
      }
    }
    return;
  }
  const std::string text_a = a == nullptr || a->is_null() ? "" : a->dump(-1);
  const std::string text_b = b == nullptr || b->is_null() ? "" : b->dump(-1);
  if (text_a != text_b) {
    out.push_back({pointer, text_a, text_b});
  }
}

/// Half-width of a band in log space; nothing without a band around a positive value.
std::optional<double> log_half_width(const Figure& figure) {
  if (!figure.low || !figure.high || *figure.low <= 0 || *figure.high < *figure.low) {
    return std::nullopt;
  }
  return std::log(*figure.high / *figure.low) / 2.0;
}

FigureDifference difference(const Figure& a, const Figure& b) {
  FigureDifference result;
  result.name = a.name;
  result.a = a.value;
  result.b = b.value;
  if (a.value != 0) {
    result.ratio = b.value / a.value;
  }
  if (a.value == b.value) {
    return result;
  }
  const std::optional<double> half_a = log_half_width(a);
  const std::optional<double> half_b = log_half_width(b);
  if (!half_a || !half_b || a.value <= 0 || b.value <= 0) {
    result.verdict = Verdict::without_bands;
  } else {
    const double apart = std::fabs(std::log(b.value / a.value));
    result.verdict =
        apart > std::hypot(*half_a, *half_b) ? Verdict::differs : Verdict::within_bands;
  }
  return result;
}

std::string title_of(const Json& result, const std::string& file) {
  const Json* name = result.at_pointer("/scenario/name");
  return name != nullptr && name->is_text() && !name->as_text().empty() ? name->as_text() : file;
}

void check_result(const Json& json, const std::string& file) {
  const Json* metrics = json.find("metrics");
  if (metrics == nullptr || !metrics->is_object() || json.find("scenario") == nullptr) {
    throw InputError(file, "", "is no result of this program",
                     "a scenario, or what `moesim run --format json` writes");
  }
}

}  // namespace

std::string_view verdict_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::same:
      return "same";
    case Verdict::differs:
      return "differs";
    case Verdict::within_bands:
      return "within bands";
    case Verdict::without_bands:
      return "no band";
    case Verdict::only_one:
      return "only one has it";
  }
  return "";
}

ResultComparison compare_results(const Json& a, const std::string& file_a, const Json& b,
                                 const std::string& file_b) {
  check_result(a, file_a);
  check_result(b, file_b);
  ResultComparison result;
  result.title_a = title_of(a, file_a);
  result.title_b = title_of(b, file_b);
  add_differences(a.find("scenario"), b.find("scenario"), "", result.keys);
  std::vector<Figure> figures_a;
  std::vector<Figure> figures_b;
  add_figures(*a.find("metrics"), "", figures_a);
  add_figures(*b.find("metrics"), "", figures_b);
  for (const Figure& figure : figures_a) {
    const auto other =
        std::find_if(figures_b.begin(), figures_b.end(),
                     [&figure](const Figure& candidate) { return candidate.name == figure.name; });
    if (other != figures_b.end()) {
      result.figures.push_back(difference(figure, *other));
      figures_b.erase(other);
    } else {
      result.figures.push_back(
          {figure.name, figure.value, std::nullopt, std::nullopt, Verdict::only_one});
    }
  }
  for (const Figure& figure : figures_b) {
    result.figures.push_back(
        {figure.name, std::nullopt, figure.value, std::nullopt, Verdict::only_one});
  }
  return result;
}

Json to_json(const ResultComparison& comparison) {
  Json json(Json::Object{
      {"schema", "moesim/comparison/1"}, {"a", comparison.title_a}, {"b", comparison.title_b}});
  Json keys = Json::array();
  for (const KeyDifference& key : comparison.keys) {
    keys.push_back(Json(Json::Object{{"key", key.pointer}, {"a", key.a}, {"b", key.b}}));
  }
  json.set("keys", std::move(keys));
  Json figures = Json::array();
  for (const FigureDifference& figure : comparison.figures) {
    Json item(Json::Object{{"metric", figure.name}});
    if (figure.a) {
      item.set("a", *figure.a);
    }
    if (figure.b) {
      item.set("b", *figure.b);
    }
    if (figure.ratio) {
      item.set("ratio", *figure.ratio);
    }
    item.set("verdict", verdict_text(figure.verdict));
    figures.push_back(std::move(item));
  }
  json.set("metrics", std::move(figures));
  return json;
}

}  // namespace moesim

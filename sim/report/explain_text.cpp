// SPDX-License-Identifier: Apache-2.0
#include "sim/report/explain_text.h"

#include <algorithm>
#include <cmath>
#include <ostream>

#include "sim/base/quantity_text.h"
#include "sim/report/text_layout.h"

namespace moesim {
namespace {

constexpr std::size_t kTop = 3;
constexpr std::size_t kListed = 12;

std::string seconds_text(double seconds) {
  return (seconds < 0 ? "-" : "") + quantity_text(Seconds(std::fabs(seconds)));
}

std::string percent(double fraction, bool sign = false) {
  const std::string text = plain_number_text(fraction * 100.0, 2) + "%";
  return sign && fraction > 0 ? "+" + text : text;
}

std::string name_of(const Influence& influence) {
  return influence.where + " " + influence.parameter;
}

}  // namespace

void write_explanation(std::ostream& out, const Explanation& e) {
  out << e.title << "\n\n  " << quantity_text(Seconds(e.step_s)) << " a step, 80% band "
      << quantity_text(Seconds(e.low_s)) << " to " << quantity_text(Seconds(e.high_s)) << "\n";

  out << "\nThe " << kTop << " parameters that matter most\n";
  for (std::size_t i = 0; i < std::min(kTop, e.influences.size()); ++i) {
    const Influence& influence = e.influences[i];
    out << wrapped(std::to_string(i + 1) + ". " + name_of(influence) + " = " +
                       plain_number_text(influence.value, 4) + " (" + influence.doc + ")",
                   2)
        << "\n"
        << wrapped("10% more makes the step " + seconds_text(std::fabs(influence.change_s)) +
                       (influence.change_s < 0 ? " shorter (" : " longer (") +
                       percent(influence.change_s / e.step_s, true) + "); " + influence.origin,
                   5)
        << "\n";
  }

  out << "\n" << padded("10% more of", 76) << right("step", 11) << right("change", 9) << "\n";
  for (std::size_t i = 0; i < std::min(kListed, e.influences.size()); ++i) {
    const Influence& influence = e.influences[i];
    out << "  " << padded(name_of(influence), 74) << right(seconds_text(influence.change_s), 11)
        << right(percent(influence.change_s / e.step_s, true), 9) << "\n";
  }

  double squares = 0;
  for (const BandPart& part : e.band) {
    squares += part.half_width_s * part.half_width_s;
  }
  out << "\n"
      << padded("What the band is made of", 46) << right("touches", 11) << right("half-width", 13)
      << right("of variance", 14) << "\n";
  for (const BandPart& part : e.band) {
    out << "  " << padded(part.source, 44) << right(seconds_text(part.exposed_s), 11)
        << right(seconds_text(part.half_width_s), 13)
        << right(percent(squares > 0 ? part.half_width_s * part.half_width_s / squares : 0), 14)
        << "\n";
  }

  out << "\n" << padded("Critical path", 46) << right("time", 11) << right("share", 9) << "\n";
  for (const auto& [kind, seconds] : e.critical_path) {
    out << "  " << padded(kind, 44) << right(seconds_text(seconds), 11)
        << right(percent(seconds / e.step_s), 9) << "\n";
  }
  if (e.hidden_exchange_s > 0) {
    out << "  " << padded("dispatch and combine behind compute, not on it", 44)
        << right(seconds_text(e.hidden_exchange_s), 11) << "\n";
  }

  if (!e.extrapolated.empty()) {
    out << "\nOutside the shapes that the curve was fitted to\n";
    for (const Extrapolation& one : e.extrapolated) {
      out << "  " << padded(one.what, 74) << right(seconds_text(one.exposed_s), 11)
          << right(percent(one.exposed_s / e.step_s), 9) << "\n";
    }
  }
}

Json explanation_json(const Explanation& e) {
  Json json = Json::object();
  json.set("schema", "moesim/explanation/1");
  json.set("title", e.title);
  Json step = Json::object();
  step.set("value", e.step_s);
  step.set("low", e.low_s);
  step.set("high", e.high_s);
  json.set("step_s", std::move(step));
  Json influences = Json::array();
  for (const Influence& influence : e.influences) {
    Json entry = Json::object();
    entry.set("where", influence.where);
    entry.set("parameter", influence.parameter);
    entry.set("doc", influence.doc);
    entry.set("origin", influence.origin);
    entry.set("value", influence.value);
    entry.set("step_change_s", influence.change_s);
    influences.push_back(std::move(entry));
  }
  json.set("ten_percent_more", std::move(influences));
  Json band = Json::array();
  for (const BandPart& part : e.band) {
    Json entry = Json::object();
    entry.set("source", part.source);
    entry.set("exposed_s", part.exposed_s);
    entry.set("half_width_s", part.half_width_s);
    band.push_back(std::move(entry));
  }
  json.set("band", std::move(band));
  Json path = Json::object();
  for (const auto& [kind, seconds] : e.critical_path) {
    path.set(kind, seconds);
  }
  json.set("critical_path", std::move(path));
  json.set("hidden_exchange_s", e.hidden_exchange_s);
  Json extrapolated = Json::array();
  for (const Extrapolation& one : e.extrapolated) {
    Json entry = Json::object();
    entry.set("what", one.what);
    entry.set("exposed_s", one.exposed_s);
    extrapolated.push_back(std::move(entry));
  }
  json.set("extrapolated", std::move(extrapolated));
  return json;
}

}  // namespace moesim

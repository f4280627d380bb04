// SPDX-License-Identifier: Apache-2.0
#include "sim/report/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <ostream>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

constexpr std::size_t kShown = 10;

std::string value_text(const Json& value) {
  return value.is_text() ? value.as_text() : value.dump(-1);
}

/// Feasible rows, most headline tokens first.
std::vector<std::size_t> ranking(const SweepTable& table) {
  const std::string headline = headline_column(table);
  std::vector<std::size_t> rows;
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    if (table.rows[r].feasible && !std::isnan(table.figure(r, headline))) {
      rows.push_back(r);
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
    return table.figure(a, headline) > table.figure(b, headline);
  });
  return rows;
}

struct Counts {
  std::size_t feasible = 0;
  std::size_t unfit = 0;
  std::size_t pruned = 0;
};

Counts counts_of(const SweepTable& table) {
  Counts counts;
  for (const SweepRow& row : table.rows) {
    (row.feasible ? counts.feasible : row.simulated ? counts.unfit : counts.pruned) += 1;
  }
  return counts;
}

std::string figure_text(const SweepTable& table, std::size_t row, const std::string& name,
                        const std::string& unit) {
  const double value = table.figure(row, name);
  return std::isnan(value) ? "-"
         : unit.empty()    ? plain_number_text(value, 4)
                           : quantity_text(value, unit);
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

void write_rows(std::ostream& out, const SweepTable& table, const std::vector<std::size_t>& rows,
                bool markdown) {
  const std::string headline = headline_column(table);
  const char* bar = markdown ? " | " : "  ";
  out << (markdown ? "| " : "  ") << padded("tokens/s/GPU", 12) << bar << padded("step", 9) << bar
      << padded("per token", 9) << bar << "point"
      << (markdown ? " |\n|---:|---:|---:|---|\n" : "\n");
  for (const std::size_t r : rows) {
    out << (markdown ? "| " : "  ") << padded(figure_text(table, r, headline, ""), 12) << bar
        << padded(figure_text(table, r, "step_s", "s"), 9) << bar
        << padded(figure_text(table, r, "tpot_s", "s"), 9) << bar << point_text(table, r)
        << (markdown ? " |\n" : "\n");
  }
}

void write_people(std::ostream& out, const SweepTable& table, const ScenarioSpec& base,
                  bool markdown) {
  const Counts counts = counts_of(table);
  const auto number = [](std::size_t value) { return count_text(static_cast<double>(value)); };
  const char* head = markdown ? "## " : "";
  out << (markdown ? "# " : "") << "Sweep of " << (base.name.empty() ? base.model : base.name)
      << "\n\n"
      << number(table.rows.size()) << " points: " << number(counts.feasible) << " fit, "
      << number(counts.unfit) << " do not fit, " << number(counts.pruned)
      << " pruned before running\n";
  const std::vector<std::size_t> best = ranking(table);
  if (!best.empty()) {
    out << "\n" << head << "Most tokens/s/GPU\n" << (markdown ? "\n" : "");
    write_rows(out, table, {best.begin(), best.begin() + std::min(kShown, best.size())}, markdown);
    const std::vector<std::size_t> front = sweep_front(table);
    if (front.size() > 1) {
      out << "\n"
          << head << "Pareto front: tokens/s/GPU against tokens/s/user (" << number(front.size())
          << " points)\n"
          << (markdown ? "\n" : "");
      std::vector<std::size_t> shown;
      const std::size_t step = (front.size() + kShown - 1) / kShown;
      for (std::size_t i = 0; i < front.size(); i += step) {
        shown.push_back(front[i]);
      }
      write_rows(out, table, shown, markdown);
    }
  }
  const auto reasons = reasons_by_count(table);
  if (!reasons.empty()) {
    out << "\n" << head << "Why points are left out\n" << (markdown ? "\n" : "");
    for (std::size_t i = 0; i < std::min(kShown, reasons.size()); ++i) {
      out << (markdown ? "- " : "  ") << padded(number(reasons[i].second), 8) << " "
          << reasons[i].first << "\n";
    }
  }
}

Json sweep_json(const SweepTable& table, const ScenarioSpec& base) {
  Json json = Json::object();
  json.set("schema", "moesim/sweep/1");
  json.set("base", write_object(base));
  Json points = Json::array();
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    const SweepRow& row = table.rows[r];
    Json point = Json::object();
    point.set("point", row.point);
    Json varied = Json::object();
    for (std::size_t a = 0; a < table.pointers.size(); ++a) {
      varied.set(table.pointers[a], table.varied[r][a]);
    }
    point.set("varied", std::move(varied));
    point.set("feasible", row.feasible);
    if (!row.reasons.empty()) {
      point.set("reasons", row.reasons);
    }
    Json figures = Json::object();
    for (std::size_t c = 0; c < row.figures.size(); ++c) {
      if (!std::isnan(row.figures[c])) {
        figures.set(table.columns[c], row.figures[c]);
      }
    }
    point.set("figures", std::move(figures));
    points.push_back(std::move(point));
  }
  json.set("points", std::move(points));
  return json;
}

}  // namespace

std::span<const Choice<SweepFormat>> choices_of(SweepFormat) {
  static constexpr Choice<SweepFormat> kChoices[] = {
      {SweepFormat::text, "text", "for a terminal"},
      {SweepFormat::json, "json", "every point, for scripts"},
      {SweepFormat::csv, "csv", "one line a point"},
      {SweepFormat::markdown, "markdown", "tables for a document"},
  };
  return kChoices;
}

SweepFormat sweep_format_named(const std::string& name) {
  for (const Choice<SweepFormat>& choice : choices_of(SweepFormat{})) {
    if (choice.name == name) {
      return choice.value;
    }
  }
  throw InputError("--format", "", "\"" + name + "\" is none of the choices",
                   "allowed: text, json, csv, markdown");
}

std::string point_text(const SweepTable& table, std::size_t row) {
  std::string text;
  for (std::size_t a = 0; a < table.pointers.size(); ++a) {
    text += (a == 0 ? "" : " ") + table.pointers[a] + "=" + value_text(table.varied[row][a]);
  }
  return text;
}

std::vector<std::size_t> sweep_front(const SweepTable& table) {
  const std::string headline = headline_column(table);
  std::vector<double> rate(table.rows.size());
  std::vector<double> user(table.rows.size());
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    rate[r] = table.rows[r].feasible ? table.figure(r, headline) : std::nan("");
    const double tpot = table.figure(r, "tpot_s");
    user[r] = std::isnan(tpot) ? 0.0 : 1.0 / tpot;
  }
  return pareto_front(rate, user);
}

void write_sweep(std::ostream& out, const SweepTable& table, const ScenarioSpec& base,
                 SweepFormat format) {
  switch (format) {
    case SweepFormat::text:
      write_people(out, table, base, false);
      break;
    case SweepFormat::markdown:
      write_people(out, table, base, true);
      break;
    case SweepFormat::json:
      out << sweep_json(table, base).dump() << "\n";
      break;
    case SweepFormat::csv:
      out << sweep_csv(table);
      break;
  }
}

}  // namespace moesim

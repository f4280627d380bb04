// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html_report.h"

#include <algorithm>
#include <cmath>

#include "sim/base/quantity_text.h"
#include "sim/report/html_page.h"
#include "sim/report/report.h"

namespace moesim {
namespace {

constexpr std::size_t kListedPoints = 5000;

HtmlCell number_cell(double value, const std::string& unit = "") {
  if (std::isnan(value)) {
    return {"", std::nullopt};
  }
  return {unit.empty() ? plain_number_text(value, 4) : quantity_text(value, unit), value};
}

Json bars(const std::string& type, const std::string& value) {
  Json chart = Json::object();
  chart.set("type", type);
  chart.set("value", value);
  chart.set("names", Json::array());
  return chart;
}

Json series(const std::string& name, const char* key, Json values) {
  Json one = Json::object();
  one.set("name", name);
  one.set(key, std::move(values));
  return one;
}

Json xy(double x, double y, const std::string& label) {
  Json point = Json::object();
  point.set("x", x);
  point.set("y", y);
  point.set("label", label);
  return point;
}

Json points_chart(const std::string& x, const std::string& y) {
  Json chart = Json::object();
  chart.set("type", "points");
  chart.set("x", x);
  chart.set("y", y);
  chart.set("series", Json::array());
  return chart;
}

void add_breakdown(HtmlPage& page, const SimulationResult& result) {
  if (result.breakdown.empty()) {
    return;
  }
  page.heading("Where the step goes");
  Json chart = bars("bars", "milliseconds");
  Json values = Json::array();
  std::vector<std::vector<HtmlCell>> rows;
  double total = 0;
  for (const BreakdownRow& row : result.breakdown) {
    total += row.seconds;
  }
  for (const BreakdownRow& row : result.breakdown) {
    chart.find("names")->push_back(row.kind);
    values.push_back(row.seconds * 1e3);
    rows.push_back({{row.kind, std::nullopt},
                    number_cell(row.seconds, "s"),
                    {plain_number_text(row.seconds / total * 100, 3) + "%", row.seconds / total},
                    {row.doc, std::nullopt}});
  }
  Json list = Json::array();
  list.push_back(series("time", "values", std::move(values)));
  chart.set("series", std::move(list));
  page.chart("Seconds of the step by kind of work, on the GPU that the others wait for", chart,
             true);
  page.table({"kind", "time", "share", "what it is"}, rows);
}

void add_group(HtmlPage& page, const SimulationResult& result, const std::string& name,
               const std::string& heading, double scale, const std::string& unit) {
  const NamedMetric* named = result.find(name);
  if (named == nullptr || !std::holds_alternative<MetricGroup>(named->value)) {
    return;
  }
  page.heading(heading);
  Json chart = bars("bars", unit);
  Json values = Json::array();
  for (const auto& [part, metric] : std::get<MetricGroup>(named->value)) {
    chart.find("names")->push_back(part);
    values.push_back(metric.value * scale);
  }
  Json list = Json::array();
  list.push_back(series(name, "values", std::move(values)));
  chart.set("series", std::move(list));
  page.chart(named->doc, chart);
}

/// What share of the requests stays below each time.
void add_latencies(HtmlPage& page, const DeploymentDetails& details) {
  Json chart = points_chart("seconds", "share of requests");
  chart.set("log_x", true);
  Json list = Json::array();
  for (const LatencyCurve& curve : details.latencies) {
    Json points = Json::array();
    for (std::size_t i = 0; i < curve.seconds.size(); ++i) {
      if (curve.seconds[i] > 0) {  // an axis of powers has no zero
        points.push_back(xy(curve.seconds[i], curve.shares[i], curve.name));
      }
    }
    if (points.items().size() > 1) {
      Json one = series(curve.name, "points", std::move(points));
      one.set("line", true);
      one.set("dots", false);
      list.push_back(std::move(one));
    }
  }
  if (!list.items().empty()) {
    chart.set("series", std::move(list));
    page.heading("Latency");
    page.chart("Share of the requests that stay below a time", chart, true);
  }
}

void add_details(HtmlPage& page, const SimulationResult& result, const DeploymentDetails& details) {
  if (!details.rank_load.empty()) {
    page.heading("Expert load");
    Json chart = Json::object();
    chart.set("type", "heat");
    chart.set("row", "MoE layer");
    chart.set("column", "rank");
    Json rows = Json::array();
    double hottest = 0;
    for (const std::vector<double>& row : details.rank_load) {
      Json cells = Json::array();
      for (const double load : row) {
        cells.push_back(std::round(load * 1e4) / 1e4);
        hottest = std::max(hottest, load);
      }
      rows.push_back(std::move(cells));
    }
    chart.set("rows", std::move(rows));
    page.chart(
        "Expected load of each expert-parallel rank (columns) in each MoE layer (rows), over "
        "the mean; hottest " +
            plain_number_text(hottest, 3) + " x" +
            (details.rank_load.size() == 1 ? "; all layers are alike" : ""),
        chart);
  }
  if (details.batches.size() > 1) {
    page.heading("Throughput against speed: other batch sizes");
    Json fits = Json::array();
    Json unfit = Json::array();
    std::vector<std::vector<HtmlCell>> rows;
    for (const BatchPoint& point : details.batches) {
      (point.fits ? fits : unfit)
          .push_back(xy(point.tokens_per_s_per_user, point.tokens_per_s_per_gpu,
                        "batch " + plain_number_text(point.batch_per_gpu, 4)));
      rows.push_back({number_cell(point.batch_per_gpu),
                      number_cell(point.tokens_per_s_per_gpu),
                      number_cell(point.tokens_per_s_per_user),
                      {point.fits ? "fits" : "out of memory", std::nullopt}});
    }
    Json chart = points_chart("tokens/s/user", "tokens/s/GPU");
    chart.set("log_x", true);
    Json one = series("fits in memory", "points", std::move(fits));
    one.set("line", true);
    Json list = Json::array();
    list.push_back(std::move(one));
    if (!unfit.items().empty()) {
      list.push_back(series("out of memory", "points", std::move(unfit)));
    }
    chart.set("series", std::move(list));
    page.chart("Closed form, batch per GPU from 1/64 to 8 times that of the scenario", chart);
    page.table({"sequences/GPU", "tokens/s/GPU", "tokens/s/user", "memory"}, rows);
  }
  if (!result.what_ifs.empty()) {
    page.heading("What would change it");
    Json chart = bars("bars", "change of tokens/s/GPU, percent");
    chart.set("signed", true);
    Json values = Json::array();
    std::vector<std::vector<HtmlCell>> rows;
    for (const WhatIf& what_if : result.what_ifs) {
      const double change = (what_if.tokens_per_s_per_gpu / result.what_if_base - 1) * 100;
      chart.find("names")->push_back(what_if.change);
      values.push_back(change);
      rows.push_back(
          {{what_if.change, std::nullopt},
           number_cell(what_if.step_s, "s"),
           number_cell(what_if.tokens_per_s_per_gpu),
           {plain_number_text(change, 3) + "%", change},
           {what_if.feasible ? what_if.doc : what_if.doc + " (out of memory)", std::nullopt}});
    }
    Json list = Json::array();
    list.push_back(series("change", "values", std::move(values)));
    chart.set("series", std::move(list));
    page.chart("The same deployment with one key changed, closed form", chart, true);
    page.table({"key", "step", "tokens/s/GPU", "change", "what it is"}, rows);
  }
}

void add_figure_rows(std::vector<std::vector<HtmlCell>>& rows, const std::string& name,
                     const Metric& metric, const NamedMetric& named) {
  HtmlCell band;
  if (metric.low && metric.high) {
    band.text =
        quantity_text(*metric.low, named.unit) + " to " + quantity_text(*metric.high, named.unit);
  }
  rows.push_back(
      {{name, std::nullopt},
       {quantity_text(metric.value, named.unit), metric.value},
       band,
       {choice_name(metric.basis) + (metric.extrapolated ? ", extrapolated" : ""), std::nullopt},
       {named.doc, std::nullopt}});
}

void add_figures_table(HtmlPage& page, const SimulationResult& result) {
  page.heading("Figures");
  std::vector<std::vector<HtmlCell>> rows;
  for (const NamedMetric& named : result.metrics) {
    if (const auto* metric = std::get_if<Metric>(&named.value)) {
      add_figure_rows(rows, named.name, *metric, named);
    } else if (const auto* distribution = std::get_if<Distribution>(&named.value)) {
      add_figure_rows(rows, named.name + " mean", distribution->mean, named);
      add_figure_rows(rows, named.name + " p50", distribution->p50, named);
      add_figure_rows(rows, named.name + " p90", distribution->p90, named);
      add_figure_rows(rows, named.name + " p99", distribution->p99, named);
    } else {
      for (const auto& [part, one] : std::get<MetricGroup>(named.value)) {
        add_figure_rows(rows, named.name + " " + part, one, named);
      }
    }
  }
  page.table({"figure", "value", "80% band", "basis", "what it is"}, rows);
}

std::string text_of(const Json& value) {
  return value.is_text() ? value.as_text() : value.dump(-1);
}

}  // namespace

std::string html_report(const SimulationResult& result, const DeploymentDetails& details) {
  HtmlPage page(result.title);
  if (const Json* description = result.scenario.find("description");
      description != nullptr && description->is_text()) {
    page.paragraph(description->as_text(), "faint");
  }
  for (const std::string& reason : result.feasibility.reasons) {
    page.paragraph("Does not fit: " + reason, "bad");
  }
  const NamedMetric* answer = result.find("output_tokens_per_s_per_gpu");
  answer = answer != nullptr ? answer : result.find("input_tokens_per_s_per_gpu");
  if (answer != nullptr) {
    page.paragraph(plain_number_text(std::get<Metric>(answer->value).value, 4) +
                       (answer->name.starts_with("output") ? " output" : " input") +
                       " tokens/s/GPU",
                   "answer");
  }
  for (const std::string& finding : result.findings) {
    page.paragraph(finding);
  }
  for (const Alert& alert : result.alerts) {
    page.paragraph("Alert " + alert_text(alert), "bad");
  }
  add_breakdown(page, result);
  add_latencies(page, details);
  add_group(page, result, "memory_bytes", "Memory of the fullest GPU", 1e-9, "GB");
  add_group(page, result, "link_utilisation", "Link use", 100, "percent of the line rate");
  add_details(page, result, details);
  add_figures_table(page, result);
  page.heading("Run it again");
  page.paragraph("moesim run scenario.json: the resolved scenario, every default written out");
  page.text_to_save(result.scenario.dump() + "\n", "scenario.json");
  page.heading("Every figure as CSV and Markdown");
  page.text_to_save(report_text(result, ReportFormat::csv), "figures.csv");
  page.text_to_save(report_text(result, ReportFormat::markdown), "report.md");
  std::string provenance = "moesim " + result.version + ", seed " + std::to_string(result.seed);
  for (const auto& [card, hash] : result.card_hashes) {
    provenance += ", " + card + " " + hash;
  }
  page.paragraph(provenance, "faint");
  return page.html();
}

std::string html_sweep(const SweepTable& table, const ScenarioSpec& base,
                       const std::string& command) {
  HtmlPage page("Sweep of " + (base.name.empty() ? base.model : base.name));
  const std::string headline = headline_column(table);
  std::size_t feasible = 0;
  std::size_t pruned = 0;
  for (const SweepRow& row : table.rows) {
    feasible += row.feasible ? 1 : 0;
    pruned += row.simulated ? 0 : 1;
  }
  const auto count = [](std::size_t value) { return count_text(static_cast<double>(value)); };
  page.paragraph(count(table.rows.size()) + " points: " + count(feasible) + " fit, " +
                 count(table.rows.size() - feasible - pruned) + " do not fit, " + count(pruned) +
                 " pruned before running");
  const std::vector<std::size_t> front = sweep_front(table);
  std::vector<bool> on_front(table.rows.size(), false);
  for (const std::size_t r : front) {
    on_front[r] = true;
  }
  const auto labelled = [&](std::size_t r, double x) {
    return xy(x, table.figure(r, headline), point_text(table, r));
  };
  if (front.size() > 1) {
    page.heading("Pareto front");
    Json best = Json::array();
    Json others = Json::array();
    for (const std::size_t r : front) {
      best.push_back(labelled(r, 1.0 / table.figure(r, "tpot_s")));
    }
    for (std::size_t r = 0; r < table.rows.size() && others.items().size() < kListedPoints; ++r) {
      if (!on_front[r] && table.rows[r].feasible && !std::isnan(table.figure(r, "tpot_s"))) {
        others.push_back(labelled(r, 1.0 / table.figure(r, "tpot_s")));
      }
    }
    Json chart = points_chart("tokens/s/user", "tokens/s/GPU");
    Json line = series("front", "points", std::move(best));
    line.set("line", true);
    Json dots = series("other points that fit", "points", std::move(others));
    dots.set("small", true);
    Json list = Json::array();
    list.push_back(std::move(line));
    list.push_back(std::move(dots));
    chart.set("series", std::move(list));
    page.chart("Throughput of a GPU against the speed that a user sees", chart, true);
  }
  for (std::size_t a = 0; a < table.pointers.size() && !headline.empty(); ++a) {
    Json dots = Json::array();
    bool numbers = true;
    for (std::size_t r = 0; r < table.rows.size() && dots.items().size() < kListedPoints; ++r) {
      numbers = numbers && table.varied[r][a].is_number();
      if (numbers && table.rows[r].feasible) {
        dots.push_back(labelled(r, table.varied[r][a].as_number()));
      }
    }
    if (!numbers || dots.items().empty()) {
      continue;
    }
    page.heading("Along " + table.pointers[a]);
    Json chart = points_chart(table.pointers[a], headline);
    Json one = series(headline, "points", std::move(dots));
    one.set("line", table.pointers.size() == 1);
    Json list = Json::array();
    list.push_back(std::move(one));
    chart.set("series", std::move(list));
    page.chart("Each point that fits", chart);
  }
  page.heading("Points");
  std::vector<std::string> columns = {"point"};
  columns.insert(columns.end(), table.pointers.begin(), table.pointers.end());
  columns.insert(columns.end(), {"tokens/s/GPU", "step", "per token", "state"});
  std::vector<std::vector<HtmlCell>> rows;
  for (std::size_t r = 0; r < std::min(kListedPoints, table.rows.size()); ++r) {
    const SweepRow& row = table.rows[r];
    std::vector<HtmlCell> cells = {{std::to_string(row.point), static_cast<double>(row.point)}};
    for (const Json& value : table.varied[r]) {
      cells.push_back({text_of(value), value.is_number() ? std::optional<double>(value.as_number())
                                                         : std::nullopt});
    }
    cells.push_back(number_cell(table.figure(r, headline)));
    cells.push_back(number_cell(table.figure(r, "step_s"), "s"));
    cells.push_back(number_cell(table.figure(r, "tpot_s"), "s"));
    cells.push_back({row.feasible ? "fits" : row.reasons, std::nullopt});
    rows.push_back(std::move(cells));
  }
  page.table(columns, rows, on_front);
  if (table.rows.size() > kListedPoints) {
    page.paragraph("The first " + count(kListedPoints) + " points; --csv FILE holds all.", "faint");
  }
  page.heading("Run it again");
  page.paragraph(command);
  page.text_to_save(write_object(base).dump() + "\n", "scenario.json");
  return page.html();
}

}  // namespace moesim

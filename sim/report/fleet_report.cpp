// SPDX-License-Identifier: Apache-2.0
// The parts of a plan's report about several services, an inventory and a day of periods.
#include <cmath>
#include <ostream>

#include "sim/base/quantity_text.h"
#include "sim/report/html_page.h"
#include "sim/report/plan_report.h"

namespace moesim {
namespace {

std::string part_text(const PlanReport& plan, const FleetPart& part) {
  std::string text = plan.request.services[part.service].name + ": " + std::to_string(part.gpus) +
                     " of " + plan.request.hardware[part.hardware].cluster;
  if (part.share < 1) {
    text += " (" + plain_number_text(part.share * 100) + "%)";
  }
  return text;
}

double lowest_chance(const FleetPlan& fleet, std::size_t service) {
  double lowest = 1;
  for (const FleetPeriod& period : fleet.periods) {
    lowest = std::min(lowest, period.p_slo[service]);
  }
  return lowest;
}

}  // namespace

void write_fleet(std::ostream& out, const PlanReport& plan, bool markdown) {
  const FleetPlan& fleet = *plan.fleet;
  const std::string item = markdown ? "- " : "  ";
  out << "\n" << (markdown ? "## Fleet\n\n" : "Fleet\n");
  if (!fleet.problems.empty()) {
    for (const std::string& problem : fleet.problems) {
      out << item << problem << "\n";
    }
    return;
  }
  out << item << "$" << plain_number_text(fleet.usd_per_day, 4) << " a day, sized for "
      << plain_number_text(fleet.confidence * 100) << "% confidence in load and predictions\n";
  for (std::size_t h = 0; h < fleet.hardware.size(); ++h) {
    const FleetHardware& hardware = fleet.hardware[h];
    out << item << plan.request.hardware[h].cluster << ": owned " << hardware.owned << ", reserve "
        << hardware.reserved << ", rent up to " << hardware.most_on_demand << "\n";
  }
  for (std::size_t s = 0; s < plan.request.services.size(); ++s) {
    out << item << plan.request.services[s].name << ": limits met with probability "
        << plain_number_text(lowest_chance(fleet, s) * 100, 3) << "% in the worst period\n";
  }
  for (std::size_t t = 0; t < fleet.periods.size(); ++t) {
    out << item << "period " << t << ": ";
    for (std::size_t i = 0; i < fleet.periods[t].parts.size(); ++i) {
      out << (i == 0 ? "" : "; ") << part_text(plan, fleet.periods[t].parts[i]);
    }
    out << "\n";
  }
}

Json fleet_json(const PlanReport& plan) {
  const FleetPlan& fleet = *plan.fleet;
  Json json = Json::object();
  Json problems = Json::array();
  for (const std::string& problem : fleet.problems) {
    problems.push_back(problem);
  }
  json.set("problems", std::move(problems));
  json.set("usd_per_day", std::isfinite(fleet.usd_per_day) ? Json(fleet.usd_per_day) : Json());
  json.set("confidence", fleet.confidence);
  Json hardware = Json::array();
  for (std::size_t h = 0; h < fleet.hardware.size(); ++h) {
    Json one = Json::object();
    one.set("cluster", plan.request.hardware[h].cluster);
    one.set("owned_gpus", fleet.hardware[h].owned);
    one.set("reserved_gpus", fleet.hardware[h].reserved);
    one.set("most_on_demand_gpus", fleet.hardware[h].most_on_demand);
    Json used = Json::array();
    for (const std::int64_t gpus : fleet.hardware[h].used) {
      used.push_back(gpus);
    }
    one.set("used_gpus", std::move(used));
    hardware.push_back(std::move(one));
  }
  json.set("hardware", std::move(hardware));
  Json periods = Json::array();
  for (const FleetPeriod& period : fleet.periods) {
    Json one = Json::object();
    Json parts = Json::array();
    for (const FleetPart& part : period.parts) {
      Json entry = Json::object();
      entry.set("service", plan.request.services[part.service].name);
      entry.set("cluster", plan.request.hardware[part.hardware].cluster);
      entry.set("share_fraction", part.share);
      entry.set("gpus", part.gpus);
      Json instances = Json::array();
      for (const std::int64_t count : part.instances) {
        instances.push_back(count);
      }
      entry.set("instances", std::move(instances));
      parts.push_back(std::move(entry));
    }
    one.set("parts", std::move(parts));
    Json chances = Json::object();
    for (std::size_t s = 0; s < period.p_slo.size(); ++s) {
      chances.set(plan.request.services[s].name, period.p_slo[s]);
    }
    one.set("probability_of_limits", std::move(chances));
    one.set("usd_on_demand", period.usd);
    periods.push_back(std::move(one));
  }
  json.set("periods", std::move(periods));
  return json;
}

void add_fleet(HtmlPage& page, const PlanReport& plan) {
  const FleetPlan& fleet = *plan.fleet;
  page.heading("Fleet");
  for (const std::string& problem : fleet.problems) {
    page.paragraph(problem, "bad");
  }
  if (!fleet.problems.empty()) {
    return;
  }
  page.paragraph("$" + plain_number_text(fleet.usd_per_day, 4) + " a day", "answer");
  Json names = Json::array();
  for (std::size_t t = 0; t < fleet.periods.size(); ++t) {
    names.push_back(std::to_string(t));
  }
  Json series = Json::array();
  std::vector<std::vector<HtmlCell>> rows;
  for (std::size_t h = 0; h < fleet.hardware.size(); ++h) {
    const FleetHardware& hardware = fleet.hardware[h];
    const std::string& cluster = plan.request.hardware[h].cluster;
    Json used = Json::array();
    for (const std::int64_t gpus : hardware.used) {
      used.push_back(gpus);
    }
    Json one = Json::object();
    one.set("name", cluster);
    one.set("values", std::move(used));
    series.push_back(std::move(one));
    rows.push_back(
        {{cluster, std::nullopt},
         {std::to_string(hardware.owned), static_cast<double>(hardware.owned)},
         {std::to_string(hardware.reserved), static_cast<double>(hardware.reserved)},
         {std::to_string(hardware.most_on_demand), static_cast<double>(hardware.most_on_demand)}});
  }
  Json chart = Json::object();
  chart.set("type", "columns");
  chart.set("value", "GPUs");
  chart.set("stacked", true);
  chart.set("names", std::move(names));
  chart.set("series", std::move(series));
  page.chart("GPUs used in each period", chart);
  page.table({"cluster", "owned", "reserve", "rent up to"}, rows);
  std::vector<std::vector<HtmlCell>> periods;
  for (std::size_t t = 0; t < fleet.periods.size(); ++t) {
    const FleetPeriod& period = fleet.periods[t];
    std::string parts;
    for (const FleetPart& part : period.parts) {
      parts += (parts.empty() ? "" : "; ") + part_text(plan, part);
    }
    double lowest = 1;
    for (const double chance : period.p_slo) {
      lowest = std::min(lowest, chance);
    }
    periods.push_back({{std::to_string(t), static_cast<double>(t)},
                       {parts, std::nullopt},
                       {plain_number_text(lowest * 100, 3) + "%", lowest},
                       {"$" + plain_number_text(period.usd, 4), period.usd}});
  }
  page.table({"period", "who runs where", "least chance of the limits", "rented"}, periods);
}

}  // namespace moesim

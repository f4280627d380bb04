// SPDX-License-Identifier: Apache-2.0
// A plan as one self-contained HTML file.
#include <cmath>
#include <sstream>

#include "sim/base/quantity_text.h"
#include "sim/report/html_page.h"
#include "sim/report/plan_report.h"

namespace moesim {
namespace {

HtmlCell usd_cell(double usd) {
  return std::isfinite(usd) ? HtmlCell{"$" + plain_number_text(usd, 4), usd}
                            : HtmlCell{"none fits", std::nullopt};
}

HtmlCell seconds_cell(double seconds) { return {quantity_text(Seconds(seconds)), seconds}; }

void add_options(HtmlPage& page, const ServicePlan& plan) {
  std::vector<std::vector<HtmlCell>> rows;
  std::vector<bool> marked;
  for (const PlanOption& option : plan.options) {
    std::string pools;
    for (const PlannedPool& pool : option.pools) {
      pools += (pools.empty() ? "" : "; ") + pool_text(pool);
    }
    rows.push_back(
        {usd_cell(option.usd_per_hour),
         usd_cell(option.usd_low),
         usd_cell(option.usd_high),
         {std::to_string(option.gpus), static_cast<double>(option.gpus)},
         {option.cluster + ", " + choice_name(option.mode), std::nullopt},
         seconds_cell(option.ttft_s),
         seconds_cell(option.tpot_s),
         {plain_number_text(option.tokens_per_s_per_gpu, 4), option.tokens_per_s_per_gpu},
         {pools, std::nullopt},
         {option.same_as_best ? "not distinguishable" : "", std::nullopt}});
    marked.push_back(marked.empty() || option.same_as_best);
  }
  page.table({"$/h", "low", "high", "GPUs", "deployment", "first token", "token", "tokens/s/GPU",
              "pools", "from the cheapest"},
             rows, marked);
}

void add_front(HtmlPage& page, const ServicePlan& plan, const PlanRequest& request) {
  Json series = Json::array();
  for (const HardwareChoice& hardware : request.hardware) {
    for (const ServingMode mode : request.search.modes) {
      Json points = Json::array();
      for (const FrontPoint& point : plan.front) {
        if (point.cluster == hardware.cluster && point.mode == mode) {
          Json one = Json::object();
          one.set("x", point.tokens_per_s_per_user);
          one.set("y", point.tokens_per_s_per_gpu);
          one.set("label", std::to_string(point.layout.gpus) + " GPUs, tensor " +
                               std::to_string(point.layout.tensor) + ", batch " +
                               plain_number_text(point.batch_per_gpu));
          points.push_back(std::move(one));
        }
      }
      if (!points.items().empty()) {
        Json one = Json::object();
        one.set("name", hardware.cluster + " " + choice_name(mode));
        one.set("points", std::move(points));
        one.set("line", true);
        series.push_back(std::move(one));
      }
    }
  }
  if (series.items().empty()) {
    return;
  }
  Json chart = Json::object();
  chart.set("type", "points");
  chart.set("x", "tokens/s/user");
  chart.set("y", "output tokens/s/GPU");
  chart.set("series", std::move(series));
  page.chart("Fronts of throughput a GPU against speed a user, at the batch limits", chart, true);
}

void add_tornado(HtmlPage& page, const ServicePlan& plan) {
  Json names = Json::array();
  Json lows = Json::array();
  Json highs = Json::array();
  std::vector<std::vector<HtmlCell>> rows;
  const double base = plan.options.front().usd_per_hour;
  for (const TornadoBar& bar : plan.tornado) {
    names.push_back(bar.name);
    lows.push_back(std::isfinite(bar.usd_low) ? Json(bar.usd_low - base) : Json());
    highs.push_back(std::isfinite(bar.usd_high) ? Json(bar.usd_high - base) : Json());
    rows.push_back({{bar.name, std::nullopt},
                    {bar.low_text, std::nullopt},
                    usd_cell(bar.usd_low),
                    {bar.high_text, std::nullopt},
                    usd_cell(bar.usd_high)});
  }
  Json chart = Json::object();
  chart.set("type", "bars");
  chart.set("value", "change of the cheapest cost, $/h");
  chart.set("names", std::move(names));
  Json series = Json::array();
  for (auto& [name, values] : {std::pair{"lower value", &lows}, {"higher value", &highs}}) {
    Json one = Json::object();
    one.set("name", name);
    one.set("values", std::move(*values));
    series.push_back(std::move(one));
  }
  chart.set("series", std::move(series));
  page.chart("Cheapest cost with one assumption changed", chart, true);
  page.table({"assumption", "lower", "$/h", "higher", "$/h"}, rows);
}

}  // namespace

std::string html_plan(const PlanReport& plan) {
  HtmlPage page(plan.request.name.empty() ? "Plan" : plan.request.name);
  for (const ServicePlan& service : plan.services) {
    page.heading(service.service.name + ": " + service.service.model);
    if (service.options.empty()) {
      page.paragraph("Nothing meets the limits within the hardware of the request.", "bad");
    } else {
      const PlanOption& best = service.options.front();
      page.paragraph("$" + plain_number_text(best.usd_per_hour, 4) +
                         "/h: " + std::to_string(best.gpus) + " GPUs of " + best.cluster,
                     "answer");
      for (const PlannedPool& pool : best.pools) {
        page.paragraph(pool_text(pool));
      }
      add_options(page, service);
    }
    add_front(page, service, plan.request);
    if (!service.options.empty()) {
      page.heading("What the cost hangs on");
      add_tornado(page, service);
      page.heading("What breaks first when the load grows");
      std::vector<std::vector<HtmlCell>> rows;
      for (const Breakage& breakage : service.breakages) {
        rows.push_back({{choice_name(breakage.pool), std::nullopt},
                        {breakage.limit, std::nullopt},
                        std::isfinite(breakage.load_factor)
                            ? HtmlCell{plain_number_text(breakage.load_factor) + " x the load",
                                       breakage.load_factor}
                            : HtmlCell{"not up to 16 x", std::nullopt}});
      }
      page.table({"pool", "limit", "breaks at"}, rows);
      page.heading("Start the cheapest");
      std::string lines;
      for (const PoolLaunch& pool : service.launch) {
        for (const EngineLaunch& engine : pool.engines) {
          lines += "# " + choice_name(pool.role) + " pool, " + std::to_string(pool.instances) +
                   (pool.instances == 1 ? " instance, " : " instances, ") +
                   std::string(launch_tool_name(engine.tool)) + "\n" + engine.command.command +
                   "\n";
        }
      }
      page.text_to_save(lines, "launch.sh");
      page.heading("One instance, to run by itself");
      for (const PlannedPool& pool : service.options.front().pools) {
        page.text_to_save(write_object(pool.spec).dump() + "\n",
                          choice_name(pool.point.role) + ".json");
      }
    }
  }
  if (plan.fleet) {
    add_fleet(page, plan);
  }
  page.heading("Prices");
  std::vector<std::vector<HtmlCell>> prices;
  for (std::size_t h = 0; h < plan.prices.size(); ++h) {
    prices.push_back({{plan.request.hardware[h].cluster, std::nullopt},
                      usd_cell(plan.prices[h].usd_per_hour),
                      {plan.prices[h].source, std::nullopt}});
  }
  page.table({"cluster", "$/GPU/h", "source"}, prices);
  page.heading("Run it again");
  page.text_to_save(write_object(plan.request).dump() + "\n", "request.json");
  page.heading("The same as text");
  std::ostringstream markdown;
  write_plan(markdown, plan, SweepFormat::markdown);
  page.text_to_save(markdown.str(), "plan.md");
  std::ostringstream csv;
  write_plan(csv, plan, SweepFormat::csv);
  page.text_to_save(csv.str(), "options.csv");
  return page.html();
}

}  // namespace moesim

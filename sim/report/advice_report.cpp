// SPDX-License-Identifier: Apache-2.0
#include "sim/report/advice_report.h"

#include <cmath>
#include <ostream>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

std::string billions(double count) { return plain_number_text(count / 1e9, 3) + "B"; }

void write_people(std::ostream& out, const Advice& advice, bool markdown) {
  out << (markdown ? "# " : "") << "MoE or dense: " << advice.service.name << "\n\n";
  const char* bar = markdown ? " | " : "  ";
  const auto cell = [](std::string text, std::size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
  };
  out << (markdown ? "| " : "") << cell("model", 33) << bar << cell("total", 7) << bar
      << cell("active", 7) << bar << cell("weights", 8) << bar << cell("$/h", 9) << bar
      << cell("$/M tokens", 10) << bar << cell("best token", 10) << bar << "smallest"
      << (markdown ? " |\n|---|---:|---:|---:|---:|---:|---:|---:|\n" : "\n");
  for (const AdvisorVariant& variant : advice.variants) {
    out << (markdown ? "| " : "") << cell(variant.name, 33) << bar
        << cell(billions(variant.total_parameters), 7) << bar
        << cell(billions(variant.active_parameters), 7) << bar
        << cell(quantity_text(Bytes(variant.weight_bytes)), 8) << bar
        << cell(variant.cheapest ? "$" + plain_number_text(variant.cheapest->usd_per_hour, 4)
                                 : "none",
                9)
        << bar
        << cell(variant.cheapest ? "$" + plain_number_text(variant.usd_per_million_tokens) : "-",
                10)
        << bar
        << cell(std::isfinite(variant.least_tpot_s) ? quantity_text(Seconds(variant.least_tpot_s))
                                                    : "-",
                10)
        << bar << (variant.fewest_gpus > 0 ? std::to_string(variant.fewest_gpus) + " GPUs" : "none")
        << (markdown ? " |\n" : "\n");
  }
  out << "\n";
  for (const std::string& sentence : advice.verdict) {
    out << (markdown ? "- " : "  ") << sentence << "\n";
  }
}

Json advice_json(const Advice& advice) {
  Json json = Json::object();
  json.set("service", advice.service.name);
  json.set("model", advice.service.model);
  Json variants = Json::array();
  for (const AdvisorVariant& variant : advice.variants) {
    Json one = Json::object();
    one.set("name", variant.name);
    one.set("total_parameters", variant.total_parameters);
    one.set("active_parameters", variant.active_parameters);
    one.set("weight_bytes", variant.weight_bytes);
    if (variant.cheapest) {
      one.set("usd_per_hour", variant.cheapest->usd_per_hour);
      one.set("usd_per_million_output_tokens", variant.usd_per_million_tokens);
      one.set("gpus", variant.cheapest->gpus);
      one.set("cluster", variant.cheapest->cluster);
    }
    if (std::isfinite(variant.least_tpot_s)) {
      one.set("least_tpot_s", variant.least_tpot_s);
    }
    if (variant.fewest_gpus > 0) {
      one.set("fewest_gpus", variant.fewest_gpus);
    }
    variants.push_back(std::move(one));
  }
  json.set("variants", std::move(variants));
  Json verdict = Json::array();
  for (const std::string& sentence : advice.verdict) {
    verdict.push_back(sentence);
  }
  json.set("verdict", std::move(verdict));
  return json;
}

}  // namespace

void write_advice(std::ostream& out, const std::vector<Advice>& advices, SweepFormat format) {
  if (format == SweepFormat::json) {
    Json json = Json::object();
    json.set("schema", "moesim/advice/1");
    Json services = Json::array();
    for (const Advice& advice : advices) {
      services.push_back(advice_json(advice));
    }
    json.set("services", std::move(services));
    out << json.dump() << "\n";
    return;
  }
  if (format == SweepFormat::csv) {
    out << "service,variant,total_parameters,active_parameters,weight_bytes,usd_per_hour,"
           "usd_per_million_output_tokens,least_tpot_s,fewest_gpus\n";
  }
  bool first = true;
  for (const Advice& advice : advices) {
    if (format != SweepFormat::csv) {
      out << (first ? "" : "\n");
      write_people(out, advice, format == SweepFormat::markdown);
      first = false;
      continue;
    }
    for (const AdvisorVariant& variant : advice.variants) {
      out << csv_field(advice.service.name) << "," << csv_field(variant.name) << ","
          << number_text(variant.total_parameters) << "," << number_text(variant.active_parameters)
          << "," << number_text(variant.weight_bytes) << ","
          << (variant.cheapest ? number_text(variant.cheapest->usd_per_hour) + "," +
                                     number_text(variant.usd_per_million_tokens)
                               : ",")
          << "," << (std::isfinite(variant.least_tpot_s) ? number_text(variant.least_tpot_s) : "")
          << "," << variant.fewest_gpus << "\n";
    }
  }
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <sstream>

#include "sim/base/quantity_text.h"
#include "sim/report/serving_text.h"
#include "sim/report/text_layout.h"

namespace moesim {
namespace {

/// The figure that answers the scenario's question: output tokens when decoding, prompt tokens when
/// reading prompts.
const NamedMetric* headline(const SimulationResult& result) {
  const NamedMetric* output = result.find("output_tokens_per_s_per_gpu");
  return output != nullptr ? output : result.find("input_tokens_per_s_per_gpu");
}

void write_setting(std::ostream& out, const SimulationResult& result) {
  const Json& scenario = result.scenario;
  std::string line = text_at(scenario, "/model") + " on " + text_at(scenario, "/nodes") + " x " +
                     text_at(scenario, "/cluster") + ", " + text_at(scenario, "/workload/phase") +
                     " " + text_at(scenario, "/workload/batch_per_gpu") + " sequences/GPU";
  line += text_at(scenario, "/workload/phase") == "prefill"
              ? " of " + text_at(scenario, "/workload/prompt_tokens") + " tokens"
              : " at " + text_at(scenario, "/workload/context_tokens") + " tokens";
  line += ", overlap " + text_at(scenario, "/communication/overlap") + ", " +
          text_at(scenario, "/fidelity") + " fidelity, seed " + std::to_string(result.seed);
  out << wrapped(line, 0) << "\n";
}

void write_text(std::ostream& out, const SimulationResult& result) {
  if (text_at(result.scenario, "/workload/kind") == "serving") {
    write_serving_text(out, result);
    return;
  }
  out << result.title << "\n";
  write_setting(out, result);
  out << "\n";
  if (!result.feasibility.ok) {
    out << "DOES NOT FIT\n";
    for (const std::string& reason : result.feasibility.reasons) {
      out << wrapped(reason, 2) << "\n";
    }
    out << "\n";
  }
  if (const NamedMetric* answer = headline(result)) {
    const bool is_output = answer->name.starts_with("output");
    out << "  " << padded(metric_text(std::get<Metric>(answer->value), ""), 10)
        << (is_output ? "  output" : "  input") << " tokens/s/GPU"
        << (result.feasibility.ok ? "" : " if it fitted") << "      "
        << quantity_text(Seconds(result.metric("step_s").value)) << " a step\n\n";
  }

  double total = 0;
  for (const BreakdownRow& row : result.breakdown) {
    total += row.seconds;
  }
  out << padded("Where the step goes", 28) << right("time", 10) << right("share", 9) << "\n";
  for (const BreakdownRow& row : result.breakdown) {
    const double share = row.seconds / total;
    if (share >= 0.0005) {
      out << "  " << padded(row.kind, 26) << right(quantity_text(Seconds(row.seconds)), 10)
          << right(plain_number_text(share * 100, share < 0.1 ? 2 : 3) + "%", 9) << "  "
          << bar(share, 40) << "\n";
    }
  }

  out << "\nFigures\n";
  for (const NamedMetric& named : result.metrics) {
    if (const auto* metric = std::get_if<Metric>(&named.value)) {
      out << "  " << padded(named.name, 34) << right(quantity_text(metric->value, named.unit), 12)
          << "  " << named.doc << range_text(*metric, named.unit)
          << (metric->extrapolated ? " [extrapolated]" : "") << "\n";
    }
  }
  for (const NamedMetric& named : result.metrics) {
    if (const auto* group = std::get_if<MetricGroup>(&named.value)) {
      double sum = 0;
      std::string parts;
      for (const auto& [name, metric] : *group) {
        sum += metric.value;
        parts += (parts.empty() ? "" : ", ") + name + " " + quantity_text(metric.value, named.unit);
      }
      out << "  " << padded(named.name, 34) << right(quantity_text(sum, named.unit), 12) << "  "
          << named.doc << "\n"
          << wrapped(parts, 6) << "\n";
    }
  }

  if (!result.what_ifs.empty()) {
    const double base = result.what_if_base;
    out << "\n"
        << padded("What would change it", 46) << right("step", 10) << right("tokens/s/GPU", 14)
        << right("change", 9) << "\n";
    for (const WhatIf& what_if : result.what_ifs) {
      const double change = (what_if.tokens_per_s_per_gpu / base - 1.0) * 100.0;
      out << "  " << padded(what_if.change, 44) << right(quantity_text(Seconds(what_if.step_s)), 10)
          << right(plain_number_text(what_if.tokens_per_s_per_gpu, 4), 14)
          << right((change >= 0.5 ? "+" : "") + count_text(std::round(change)) + "%", 9)
          << (what_if.feasible ? "" : "  out of memory") << "\n";
    }
  }
  if (!result.findings.empty()) {
    out << "\nWhat it means\n";
    for (const std::string& finding : result.findings) {
      out << wrapped(finding, 2) << "\n";
    }
  }
  for (const Alert& alert : result.alerts) {
    out << wrapped("ALERT " + alert_text(alert), 2) << "\n";
  }
  std::string basis;
  for (const auto& [name, share] : result.basis_share) {
    basis += (basis.empty() ? "" : ", ") + plain_number_text(share * 100, 2) + "% " + name;
  }
  const NamedMetric* step = result.find("step_s");
  const bool has_band = step != nullptr && std::get<Distribution>(step->value).mean.low.has_value();
  out << "\n"
      << wrapped("Time by basis: " + basis +
                     (has_band ? ". Ranges are 80% bands."
                               : ". No band: the costs of this device are not calibrated."),
                 0)
      << "\n";
}

struct FlatRow {
  std::string name;
  const Metric* metric;
  std::string unit;
};

std::vector<FlatRow> flat_rows(const SimulationResult& result) {
  std::vector<FlatRow> rows;
  for (const NamedMetric& named : result.metrics) {
    if (const auto* metric = std::get_if<Metric>(&named.value)) {
      rows.push_back({named.name, metric, named.unit});
    } else if (const auto* distribution = std::get_if<Distribution>(&named.value)) {
      rows.push_back({named.name + "/mean", &distribution->mean, named.unit});
      rows.push_back({named.name + "/p50", &distribution->p50, named.unit});
      rows.push_back({named.name + "/p90", &distribution->p90, named.unit});
      rows.push_back({named.name + "/p99", &distribution->p99, named.unit});
    } else {
      for (const auto& [part, value] : std::get<MetricGroup>(named.value)) {
        rows.push_back({named.name + "/" + part, &value, named.unit});
      }
    }
  }
  return rows;
}

void write_csv(std::ostream& out, const SimulationResult& result) {
  out << "metric,value,low,high,unit,basis,extrapolated\n";
  for (const FlatRow& row : flat_rows(result)) {
    out << row.name << "," << number_text(row.metric->value) << ","
        << (row.metric->low ? number_text(*row.metric->low) : "") << ","
        << (row.metric->high ? number_text(*row.metric->high) : "") << "," << row.unit << ","
        << choice_name(row.metric->basis) << "," << (row.metric->extrapolated ? "true" : "false")
        << "\n";
  }
  for (const BreakdownRow& row : result.breakdown) {
    out << "breakdown/" << row.kind << "," << number_text(row.seconds) << ",,,s,,\n";
  }
}

void write_markdown(std::ostream& out, const SimulationResult& result) {
  out << "# " << result.title << "\n\n";
  for (const std::string& reason : result.feasibility.reasons) {
    out << "**Does not fit:** " << reason << "\n\n";
  }
  out << "| figure | value | basis |\n| --- | ---: | --- |\n";
  for (const FlatRow& row : flat_rows(result)) {
    if (!row.name.ends_with("/p50") && !row.name.ends_with("/p90") && !row.name.ends_with("/p99")) {
      out << "| " << row.name << " | " << metric_text(*row.metric, row.unit) << " | "
          << choice_name(row.metric->basis) << " |\n";
    }
  }
  out << "\n| step time | seconds |\n| --- | ---: |\n";
  for (const BreakdownRow& row : result.breakdown) {
    out << "| " << row.kind << " | " << quantity_text(Seconds(row.seconds)) << " |\n";
  }
  if (!result.what_ifs.empty()) {
    out << "\n| change | step | tokens/s/GPU |\n| --- | ---: | ---: |\n";
    for (const WhatIf& what_if : result.what_ifs) {
      out << "| `" << what_if.change << "` | " << quantity_text(Seconds(what_if.step_s)) << " | "
          << plain_number_text(what_if.tokens_per_s_per_gpu, 4)
          << (what_if.feasible ? "" : " (out of memory)") << " |\n";
    }
  }
  out << "\n";
  for (const Alert& alert : result.alerts) {
    out << "- **Alert** " << alert_text(alert) << "\n";
  }
  for (const std::string& finding : result.findings) {
    out << "- " << finding << "\n";
  }
}

}  // namespace

std::span<const Choice<ReportFormat>> choices_of(ReportFormat) {
  static constexpr Choice<ReportFormat> kChoices[] = {
      {ReportFormat::text, "text", "for a terminal, 100 columns"},
      {ReportFormat::json, "json", "everything, for scripts"},
      {ReportFormat::csv, "csv", "one metric a line"},
      {ReportFormat::markdown, "markdown", "tables for a document"},
  };
  return kChoices;
}

void write_report(std::ostream& out, const SimulationResult& result, ReportFormat format) {
  switch (format) {
    case ReportFormat::text:
      write_text(out, result);
      break;
    case ReportFormat::json:
      out << result_json(result).dump() << "\n";
      break;
    case ReportFormat::csv:
      write_csv(out, result);
      break;
    case ReportFormat::markdown:
      write_markdown(out, result);
      break;
  }
}

std::string alert_text(const Alert& alert) {
  return alert.kind + ": " + plain_number_text(alert.value) + " (" + alert.where + "), above " +
         plain_number_text(alert.threshold) +
         (alert.time_s ? ", first at " + quantity_text(Seconds(*alert.time_s)) : "") +
         (alert.advice.empty() ? "" : "; " + alert.advice);
}

std::string report_text(const SimulationResult& result, ReportFormat format) {
  std::ostringstream out;
  write_report(out, result, format);
  return out.str();
}

}  // namespace moesim

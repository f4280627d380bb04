// SPDX-License-Identifier: Apache-2.0
#include "sim/report/serving_text.h"

#include <algorithm>
#include <cmath>
#include <ostream>

#include "sim/base/quantity_text.h"
#include "sim/report/report.h"
#include "sim/report/text_layout.h"

namespace moesim {
namespace {

void write_setting(std::ostream& out, const SimulationResult& result) {
  const Json& scenario = result.scenario;
  std::string load = text_at(scenario, "/workload/concurrency");
  load = load.empty() ? text_at(scenario, "/workload/requests_per_s") + " requests/s"
                      : load + " requests in flight";
  const std::string trace = text_at(scenario, "/workload/request_trace");
  const std::string lengths =
      trace.empty() ? ", prompts of " + text_at(scenario, "/workload/prompt_tokens") +
                          ", outputs of " + text_at(scenario, "/workload/output_tokens")
                    : ", requests of " + trace;
  out << wrapped(text_at(scenario, "/model") + " on " + text_at(scenario, "/nodes") + " x " +
                     text_at(scenario, "/cluster") + ", " + load + lengths + ", " +
                     text_at(scenario, "/serving/engine") + " batching, " +
                     text_at(scenario, "/fidelity") + " fidelity, seed " +
                     std::to_string(result.seed),
                 0)
      << "\n\n";
}

/// One line of blocks, highest value full.
std::string sparkline(const std::vector<double>& values) {
  static const char* const kBlocks[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                        "\u2585", "\u2586", "\u2587", "\u2588"};
  constexpr std::size_t kWidth = 64;
  const double top = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  std::string line;
  const std::size_t count = std::min(kWidth, values.size());
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t from = i * values.size() / count;
    const std::size_t to = std::max(from + 1, (i + 1) * values.size() / count);
    double mean = 0;
    for (std::size_t j = from; j < to; ++j) {
      mean += values[j] / static_cast<double>(to - from);
    }
    line += kBlocks[top > 0 ? static_cast<std::size_t>(mean / top * 8 + 0.5) : 0];
  }
  return line;
}

}  // namespace

void write_serving_text(std::ostream& out, const SimulationResult& result) {
  out << result.title << "\n";
  write_setting(out, result);
  if (!result.feasibility.ok) {
    out << "CANNOT BE SERVED\n";
    for (const std::string& reason : result.feasibility.reasons) {
      out << wrapped(reason, 2) << "\n";
    }
    out << "\n";
  }
  if (const NamedMetric* output = result.find("output_tokens_per_s_per_gpu")) {
    out << "  " << padded(metric_text(std::get<Metric>(output->value), ""), 10) << "  "
        << "output tokens/s/GPU      " << metric_text(result.metric("requests_per_s"), "")
        << " requests/s\n\n";
    out << padded("Latencies", 24) << right("mean", 12) << right("p50", 12) << right("p90", 12)
        << right("p99", 12) << "\n";
  }
  for (const NamedMetric& named : result.metrics) {
    if (const auto* distribution = std::get_if<Distribution>(&named.value)) {
      out << "  " << padded(named.name, 22);
      for (const Metric* metric :
           {&distribution->mean, &distribution->p50, &distribution->p90, &distribution->p99}) {
        out << right(quantity_text(metric->value, named.unit), 12);
      }
      out << "  " << named.doc << "\n";
    }
  }
  out << "\nFigures\n";
  for (const NamedMetric& named : result.metrics) {
    if (const auto* metric = std::get_if<Metric>(&named.value)) {
      out << "  " << padded(named.name, 34) << right(metric_text(*metric, named.unit), 12) << "  "
          << named.doc << "\n";
    } else if (const auto* group = std::get_if<MetricGroup>(&named.value)) {
      double sum = 0;
      std::string parts;
      for (const auto& [name, part] : *group) {
        sum += part.value;
        parts += (parts.empty() ? "" : ", ") + name + " " + quantity_text(part.value, named.unit);
      }
      out << "  " << padded(named.name, 34) << right(quantity_text(sum, named.unit), 12) << "  "
          << named.doc << "\n"
          << wrapped(parts, 6) << "\n";
    }
  }
  double total = 0;
  for (const BreakdownRow& row : result.breakdown) {
    total += row.seconds;
  }
  if (total > 0) {
    out << "\n"
        << padded("Where a typical step goes", 28) << right("time", 10) << right("share", 9)
        << "\n";
  }
  for (const BreakdownRow& row : result.breakdown) {
    const double share = row.seconds / total;
    if (share >= 0.0005) {
      out << "  " << padded(row.kind, 26) << right(quantity_text(Seconds(row.seconds)), 10)
          << right(plain_number_text(share * 100, share < 0.1 ? 2 : 3) + "%", 9) << "  "
          << bar(share, 40) << "\n";
    }
  }
  if (!result.series.empty()) {
    const TimeSeries& first = result.series.front();
    out << "\nOver "
        << quantity_text(Seconds(first.bucket_s * static_cast<double>(first.values.size())))
        << ", each line to its own top\n";
    for (const TimeSeries& series : result.series) {
      const double top = *std::max_element(series.values.begin(), series.values.end());
      if (top > 0) {
        out << "  " << padded(series.name, 28) << "|" << padded(sparkline(series.values), 64)
            << "| " << quantity_text(top, series.unit) << "\n";
      }
    }
  }
  if (!result.what_ifs.empty()) {
    out << "\n"
        << padded("What would change it (closed form)", 46) << right("TPOT", 10)
        << right("tokens/s/GPU", 14) << right("change", 9) << "\n";
    for (const WhatIf& what_if : result.what_ifs) {
      const double change =
          std::floor((what_if.tokens_per_s_per_gpu / result.what_if_base - 1.0) * 100.0 + 0.5);
      out << "  " << padded(what_if.change, 44) << right(quantity_text(Seconds(what_if.step_s)), 10)
          << right(plain_number_text(what_if.tokens_per_s_per_gpu, 4), 14)
          << right((change > 0 ? "+" : "") + count_text(change) + "%", 9)
          << (what_if.feasible ? "" : "  cannot be served") << "\n";
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
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report.h"

namespace moesim {
namespace {

Json metric_json(const Metric& metric) {
  Json json = Json::object();
  json.set("value", fields_detail::Codec<double>::write(metric.value));
  if (metric.low) {
    json.set("low", *metric.low);
  }
  if (metric.high) {
    json.set("high", *metric.high);
  }
  json.set("basis", choice_name(metric.basis));
  json.set("extrapolated", metric.extrapolated);
  return json;
}

Json value_json(const NamedMetric& named) {
  if (const auto* metric = std::get_if<Metric>(&named.value)) {
    return metric_json(*metric);
  }
  Json json = Json::object();
  if (const auto* distribution = std::get_if<Distribution>(&named.value)) {
    json.set("mean", metric_json(distribution->mean));
    json.set("p50", metric_json(distribution->p50));
    json.set("p90", metric_json(distribution->p90));
    json.set("p99", metric_json(distribution->p99));
    return json;
  }
  for (const auto& [name, metric] : std::get<MetricGroup>(named.value)) {
    json.set(name, metric_json(metric));
  }
  return json;
}

}  // namespace

Json result_json(const SimulationResult& result) {
  Json json = Json::object();
  json.set("schema", "moesim/result/1");
  json.set("version", result.version);
  json.set("seed", result.seed);
  json.set("scenario", result.scenario);
  Json feasibility = Json::object();
  feasibility.set("ok", result.feasibility.ok);
  Json reasons = Json::array();
  for (const std::string& reason : result.feasibility.reasons) {
    reasons.push_back(reason);
  }
  feasibility.set("reasons", std::move(reasons));
  json.set("feasibility", std::move(feasibility));

  Json provenance = Json::object();
  Json cards = Json::object();
  for (const auto& [id, hash] : result.card_hashes) {
    cards.set(id, hash);
  }
  Json shares = Json::object();
  for (const auto& [basis, share] : result.basis_share) {
    shares.set(basis, share);
  }
  provenance.set("cards", std::move(cards));
  provenance.set("time_share_by_basis", std::move(shares));
  json.set("provenance", std::move(provenance));

  Json metrics = Json::object();
  for (const NamedMetric& named : result.metrics) {
    metrics.set(named.name, value_json(named));
  }
  json.set("metrics", std::move(metrics));
  Json breakdown = Json::object();
  for (const BreakdownRow& row : result.breakdown) {
    breakdown.set(row.kind, row.seconds);
  }
  json.set("breakdown", std::move(breakdown));
  if (!result.series.empty()) {
    Json all = Json::object();
    for (const TimeSeries& series : result.series) {
      Json entry = Json::object();
      entry.set("unit", series.unit);
      entry.set("bucket_s", series.bucket_s);
      Json values = Json::array();
      for (const double value : series.values) {
        values.push_back(value);
      }
      entry.set("values", std::move(values));
      all.set(series.name, std::move(entry));
    }
    json.set("time_series", std::move(all));
  }
  Json alerts = Json::array();
  for (const Alert& alert : result.alerts) {
    Json entry = Json::object();
    entry.set("kind", alert.kind);
    entry.set("where", alert.where);
    entry.set("value", alert.value);
    entry.set("threshold", alert.threshold);
    if (alert.time_s) {
      entry.set("time_s", *alert.time_s);
    }
    if (!alert.advice.empty()) {
      entry.set("advice", alert.advice);
    }
    alerts.push_back(std::move(entry));
  }
  json.set("alerts", std::move(alerts));
  Json findings = Json::array();
  for (const std::string& finding : result.findings) {
    findings.push_back(finding);
  }
  json.set("findings", std::move(findings));
  Json what_ifs = Json::array();
  for (const WhatIf& what_if : result.what_ifs) {
    Json entry = Json::object();
    entry.set("change", what_if.change);
    entry.set("doc", what_if.doc);
    entry.set("step_s", what_if.step_s);
    entry.set("tokens_per_s_per_gpu", what_if.tokens_per_s_per_gpu);
    entry.set("feasible", what_if.feasible);
    what_ifs.push_back(std::move(entry));
  }
  json.set("what_ifs", std::move(what_ifs));
  return json;
}

}  // namespace moesim

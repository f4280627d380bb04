// SPDX-License-Identifier: Apache-2.0
#include "calibrate/skew_validation.h"

#include <algorithm>
#include <cstdio>

#include "calibrate/quantile.h"

namespace moesim {
namespace {

// The tokens of the table of medians in the literature on these measurements; others lie between.
constexpr double kTokens[] = {32, 512, 2048, 16384};
constexpr std::size_t kLeastPairs = 5;

}  // namespace

void SkewTable::add(const CurveRows& rows, const CostCurve& curve, const DevicePeaks& peaks) {
  if (rows.table != "moe") {
    return;
  }
  struct Balanced {
    double measured, predicted;
  };
  std::map<std::pair<std::uint64_t, double>, Balanced> balanced;
  const auto predict = [&](const CalibrationRow& row) {
    return curve.estimate(row.op, peaks).seconds.value();
  };
  const auto is_asked = [](const CalibrationRow& row) {
    return std::find(std::begin(kTokens), std::end(kTokens), std::get<MoeOp>(row.op).tokens) !=
           std::end(kTokens);
  };
  for (const CalibrationRow& row : rows.rows) {
    if (row.what == "balanced" && is_asked(row)) {
      balanced[{row.shape, std::get<MoeOp>(row.op).tokens}] = {row.seconds, predict(row)};
    }
  }
  for (const CalibrationRow& row : rows.rows) {
    if (!row.what.starts_with("power_law") || !is_asked(row)) {
      continue;
    }
    const MoeOp& op = std::get<MoeOp>(row.op);
    const auto base = balanced.find({row.shape, op.tokens});
    if (base != balanced.end()) {
      ratios_[{rows.system + " " + rows.software, Cell{op.tokens, op.expert_ways, row.what}}]
          .push_back({row.seconds / base->second.measured, predict(row) / base->second.predicted});
    }
  }
}

std::map<std::string, std::vector<SkewCell>> SkewTable::cells() const {
  std::map<std::string, std::vector<SkewCell>> result;
  for (const auto& [key, ratios] : ratios_) {
    if (ratios.size() < kLeastPairs) {
      continue;
    }
    std::vector<double> measured;
    std::vector<double> predicted;
    for (const Ratio& ratio : ratios) {
      measured.push_back(ratio.measured);
      predicted.push_back(ratio.predicted);
    }
    char name[96];
    std::snprintf(name, sizeof name, "T %g EP %g %s", key.second.tokens, key.second.ways,
                  key.second.law.c_str());
    result[key.first].push_back(
        {name, ratios.size(), quantile(measured, 0.5), quantile(predicted, 0.5)});
  }
  return result;
}

}  // namespace moesim

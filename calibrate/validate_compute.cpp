// SPDX-License-Identifier: Apache-2.0
#include "calibrate/validate_compute.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "calibrate/quantile.h"
#include "calibrate/sample_rows.h"
#include "calibrate/skew_validation.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

/// Same stack, else same framework, else any stack of the system; null when the system has none.
const CostCurve* find_curve(const std::vector<CurveSet>& sets, const CurveRows& rows,
                            const CurveSet*& chosen) {
  const std::string framework = rows.software.substr(0, rows.software.find('-'));
  for (int pass = 0; pass < 3; ++pass) {
    for (const CurveSet& set : sets) {
      const bool fits = pass == 0   ? set.software == rows.software
                        : pass == 1 ? set.software.starts_with(framework + "-")
                                    : true;
      if (set.device != rows.system || !fits) {
        continue;
      }
      if (const CostCurve* curve = set.find(rows.family, rows.format, rows.variant)) {
        chosen = &set;
        return curve;
      }
    }
  }
  return nullptr;
}

ValidationRow predicted_row(const CalibrationRow& row, const CostCurve& curve,
                            const DevicePeaks& peaks) {
  const CostEstimate estimate = curve.estimate(row.op, peaks);
  const double band = std::sqrt(estimate.own_uncertainty * estimate.own_uncertainty +
                                estimate.shared_uncertainty * estimate.shared_uncertainty);
  ValidationRow out;
  out.file_row = row.file_row;
  out.measured = row.seconds;
  out.predicted = estimate.seconds.value();
  out.low = out.predicted * portable_exp(-band);
  out.high = out.predicted * portable_exp(band);
  out.basis = estimate.basis;
  out.in_range = estimate.in_range;
  out.slow = row.slow;
  return out;
}

/// Predicts the rows of one file; rows that no kernel can have produced go to the last group's
/// count.
void add_curves(ComputeValidation& result, const std::vector<CurveRows>& curves,
                const std::vector<RejectedRow>& rejected, const std::string& name,
                const std::vector<CurveSet>& sets, bool keep_rows, SkewTable& skew) {
  for (const CurveRows& rows : curves) {
    const CurveSet* set = nullptr;
    const CostCurve* curve = find_curve(sets, rows, set);
    if (curve != nullptr) {
      skew.add(rows, *curve, set->peaks);
    }
    std::vector<ValidationRow> predicted;
    std::vector<ValidationRow> usual;
    for (const CalibrationRow& row : rows.rows) {
      ValidationRow out;
      if (curve != nullptr) {
        out = predicted_row(row, *curve, set->peaks);
      } else {
        out.file_row = row.file_row;
        out.measured = row.seconds;
        out.left_out = "no curve for this op and number format";
      }
      out.group = rows.group();
      out.file = rows.file;
      if (!row.slow) {
        usual.push_back(out);
      }
      predicted.push_back(std::move(out));
    }
    const std::string by = set == nullptr ? "" : set->device + " " + set->software;
    result.groups.push_back(summarise(rows.group(), predicted));
    result.groups.back().predicted_by = by;
    if (usual.size() < predicted.size()) {
      result.groups.push_back(summarise(rows.group() + " without slow rows", usual));
      result.groups.back().predicted_by = by;
      result.groups.back().left_out += predicted.size() - usual.size();
    }
    if (keep_rows) {
      std::move(predicted.begin(), predicted.end(), std::back_inserter(result.rows));
    }
  }
  if (!result.groups.empty()) {
    result.groups.back().left_out += rejected.size();
  }
  for (const RejectedRow& row : rejected) {
    if (keep_rows) {
      ValidationRow out;
      out.group = name;
      out.file = row.file;
      out.file_row = row.file_row;
      out.left_out = row.reason;
      result.rows.push_back(std::move(out));
    }
  }
}

/// Samples of our own kernels, predicted by the first set that was made from such samples on the
/// same back end.
void add_samples(ComputeValidation& result, const std::string& path,
                 const std::vector<CurveSet>& sets, bool keep_rows, SkewTable& skew) {
  const std::vector<gpu::Sample> samples = gpu::read_samples(path, true);
  if (samples.empty()) {
    result.absent.push_back(path + ": holds no sample");
    return;
  }
  const std::string software = "moesim-kernels-" + samples.front().backend;
  const auto set = std::find_if(sets.begin(), sets.end(), [&](const CurveSet& candidate) {
    return candidate.software == software;
  });
  if (set == sets.end()) {
    result.absent.push_back(path + ": no curves of \"" + software +
                            "\"; make some with `moesim calibrate " + path +
                            " --device NAME --out DIR` and name them with --curves");
    return;
  }
  const SampleRows rows = sample_rows(samples, path, set->device);
  add_curves(result, rows.curves, rows.rejected, set->device + " " + software, sets, keep_rows,
             skew);
}

/// Each cell of the skew table as a row: ratios to balanced, no seconds.
void add_skew(ComputeValidation& result, const SkewTable& skew, bool keep_rows) {
  for (const auto& [stack, cells] : skew.cells()) {
    const std::string group = "moe " + stack + " skewed over balanced";
    std::vector<ValidationRow> rows;
    for (const SkewCell& cell : cells) {
      ValidationRow row;
      row.group = group;
      row.file = cell.name;
      row.file_row = static_cast<std::int64_t>(cell.pairs);
      row.measured = cell.measured;
      row.predicted = row.low = row.high = cell.predicted;
      row.in_range = true;
      rows.push_back(std::move(row));
    }
    result.groups.push_back(summarise(group, rows));
    result.groups.back().predicted_by = stack;
    if (keep_rows) {
      std::move(rows.begin(), rows.end(), std::back_inserter(result.rows));
    }
  }
}

Json group_json(const ValidationGroup& group) {
  Json json = Json::object();
  json.set("suite", "compute");
  json.set("group", group.group);
  json.set("predicted_by", group.predicted_by);
  json.set("n", static_cast<std::int64_t>(group.n));
  json.set("left_out", static_cast<std::int64_t>(group.left_out));
  if (group.n > 0) {
    json.set("mape", group.mape);
    json.set("median_ape", group.median_ape);
    json.set("p90_ape", group.p90_ape);
    json.set("bias", group.bias);
    json.set("band_coverage", group.band_coverage);
    json.set("band_half_width", group.band_half_width);
  }
  return json;
}

Json row_json(const ValidationRow& row) {
  Json json = Json::object();
  json.set("group", row.group);
  json.set("file", row.file);
  json.set("row", row.file_row);
  json.set("measured", row.measured);
  if (!row.left_out.empty()) {
    json.set("left_out", row.left_out);
    return json;
  }
  json.set("predicted", row.predicted);
  json.set("ape", std::fabs(row.predicted / row.measured - 1.0));
  json.set("low", row.low);
  json.set("high", row.high);
  json.set("basis", choice_name(row.basis));
  json.set("extrapolated", !row.in_range);
  json.set("slow", row.slow);
  return json;
}

}  // namespace

std::vector<CurveSet> load_curve_sets(const std::string& root,
                                      const std::vector<std::string>& given) {
  namespace fs = std::filesystem;
  std::vector<std::string> paths;
  std::error_code error;
  const auto add_folder = [&](const std::string& folder) {
    const std::size_t first = paths.size();
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".json") {
        paths.push_back(entry.path().string());
      }
    }
    std::sort(paths.begin() + static_cast<std::ptrdiff_t>(first), paths.end());
  };
  for (const std::string& path : given) {
    if (fs::is_directory(path, error)) {
      add_folder(path);
    } else {
      paths.push_back(path);
    }
  }
  add_folder(root + "/hardware_profiles/curves");
  std::vector<CurveSet> sets;
  for (const std::string& path : paths) {
    sets.push_back(CurveSet::load(path));
  }
  return sets;
}

ValidationGroup summarise(const std::string& group, const std::vector<ValidationRow>& rows) {
  ValidationGroup result;
  result.group = group;
  std::vector<double> apes;
  std::vector<double> ratios;
  std::vector<double> widths;
  double sum = 0;
  double inside = 0;
  for (const ValidationRow& row : rows) {
    if (!row.left_out.empty()) {
      ++result.left_out;
      continue;
    }
    ratios.push_back(row.predicted / row.measured - 1.0);
    apes.push_back(std::fabs(ratios.back()));
    widths.push_back(0.5 * (row.high - row.low) / row.predicted);
    sum += apes.back();
    inside += row.measured >= row.low && row.measured <= row.high ? 1.0 : 0.0;
  }
  result.n = apes.size();
  if (!apes.empty()) {
    result.mape = sum / static_cast<double>(apes.size());
    result.band_coverage = inside / static_cast<double>(apes.size());
    result.median_ape = quantile(apes, 0.5);
    result.p90_ape = quantile(apes, 0.9);
    result.bias = quantile(ratios, 0.5);
    result.band_half_width = quantile(widths, 0.5);
  }
  return result;
}

ComputeValidation validate_compute(const std::vector<std::string>& folders,
                                   const std::vector<CurveSet>& sets, bool keep_rows) {
  namespace fs = std::filesystem;
  ComputeValidation result;
  Diagnostics problems;
  SkewTable skew;
  for (const std::string& given : folders) {
    if (given.ends_with(".jsonl")) {
      add_samples(result, given, sets, keep_rows, skew);
      continue;
    }
    std::error_code error;
    const std::string folder =
        fs::is_directory(given + "/compute", error) ? given + "/compute" : given;
    std::vector<std::string> tables;
    try {
      tables = find_measurement_tables(folder);
    } catch (const InputError&) {
      result.absent.push_back(folder);
      continue;
    }
    for (const std::string& path : tables) {
      TableIdentity identity;
      try {
        identity = table_identity(path);
      } catch (const InputError& problem) {
        result.absent.emplace_back(problem.what());
        continue;
      }
      const auto of_system = std::find_if(sets.begin(), sets.end(), [&](const CurveSet& set) {
        return set.device == identity.system;
      });
      if (of_system == sets.end()) {
        result.absent.push_back(path + ": no curves of \"" + identity.system + "\"");
        continue;
      }
      const MeasurementTable table = read_measurement_table(path, problems);
      std::vector<RejectedRow> rejected;
      const auto slow = read_slow_rows(fs::path(path).parent_path().string());
      add_curves(result, calibration_rows(table, of_system->peaks, slow, rejected), rejected,
                 identity.table + " " + identity.system + " " + identity.framework + "-" +
                     identity.version,
                 sets, keep_rows, skew);
    }
  }
  add_skew(result, skew, keep_rows);
  result.problems = problems.list();
  return result;
}

Json to_json(const ComputeValidation& validation) {
  Json json = Json::object();
  Json groups = Json::array();
  for (const ValidationGroup& group : validation.groups) {
    groups.push_back(group_json(group));
  }
  json.set("groups", std::move(groups));
  if (!validation.rows.empty()) {
    Json rows = Json::array();
    for (const ValidationRow& row : validation.rows) {
      rows.push_back(row_json(row));
    }
    json.set("rows", std::move(rows));
  }
  Json problems = Json::array();
  for (const Diagnostic& problem : validation.problems) {
    problems.push_back(problem.text());
  }
  json.set("problems", std::move(problems));
  Json absent = Json::array();
  for (const std::string& text : validation.absent) {
    absent.push_back(text);
  }
  json.set("absent", std::move(absent));
  return json;
}

}  // namespace moesim

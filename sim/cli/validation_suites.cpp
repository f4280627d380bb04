// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/validation_suites.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "calibrate/validate_comm.h"
#include "calibrate/validate_compute.h"
#include "sim/base/error.h"
#include "sim/moe/expert_cache_validation.h"
#include "sim/moe/routing_validation.h"
#include "sim/study/front_validation.h"
#include "sim/study/serving_validation.h"

namespace moesim {
namespace {

/// Value at `share` of sorted `values`, between neighbours in proportion.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

struct GroupErrors {
  std::string name;
  std::size_t n = 0;
  std::size_t left_out = 0;
  std::size_t with_band = 0;
  std::size_t in_band = 0;
  std::vector<double> half_widths;  // of the bands, fraction of the prediction
  std::vector<double> ape;
  std::vector<double> bias;
  std::vector<double> absolute;
};

Json row_json(std::string_view suite, const SuiteRow& row) {
  Json json(Json::Object{{"suite", std::string(suite)}, {"group", row.group}, {"row", row.name}});
  json.set("measured", row.measured);
  if (!row.left_out.empty()) {
    json.set("left_out", row.left_out);
    return json;
  }
  json.set("predicted", row.predicted);
  json.set("error", row.predicted - row.measured);
  if (row.measured != 0) {
    json.set("ape", std::abs(row.predicted / row.measured - 1.0));
  }
  if (row.low && row.high) {
    json.set("low", *row.low);
    json.set("high", *row.high);
  }
  json.set("basis", row.basis);
  if (!row.outside.empty()) {
    json.set("outside", row.outside);
  }
  return json;
}

Json group_json(std::string_view suite, const GroupErrors& group) {
  Json json(Json::Object{{"suite", std::string(suite)},
                         {"group", group.name},
                         {"n", static_cast<std::int64_t>(group.n)},
                         {"left_out", static_cast<std::int64_t>(group.left_out)}});
  if (!group.ape.empty()) {
    json.set("mape", mean_of(group.ape));
    json.set("median_ape", quantile(group.ape, 0.5));
    json.set("p90_ape", quantile(group.ape, 0.9));
    json.set("bias", quantile(group.bias, 0.5));
  }
  if (group.n > 0) {
    json.set("median_error", quantile(group.absolute, 0.5));
    json.set("max_error", quantile(group.absolute, 1.0));
  }
  if (group.with_band > 0) {
    json.set("band_coverage",
             static_cast<double>(group.in_band) / static_cast<double>(group.with_band));
    json.set("band_half_width", quantile(group.half_widths, 0.5));
  }
  return json;
}

SuiteAnswer compute_suite(const SuiteRequest& request) {
  SuiteAnswer answer;
  const ComputeValidation validation = validate_compute(
      request.folders, load_curve_sets(request.root, request.curves), request.keep_rows);
  const Json json = to_json(validation);
  answer.groups = *json.find("groups");
  if (const Json* rows = json.find("rows")) {
    answer.rows = *rows;
  }
  for (const Diagnostic& problem : validation.problems) {
    answer.problems.push_back(problem.text());
  }
  answer.absent = validation.absent;
  return answer;
}

SuiteAnswer comm_suite(const SuiteRequest& request) {
  SuiteAnswer answer;
  const std::vector<std::string> parents = parents_of(request, "comm");
  if (parents.empty()) {
    answer.absent.push_back("comm: no folder of --data holds comm/");
  }
  const CardLibrary cards = CardLibrary::open(request.root);
  for (const std::string& parent : parents) {
    const CommValidation validation =
        validate_comm((std::filesystem::path(parent) / "comm").string(), cards);
    std::vector<SuiteRow> summaries;
    std::vector<SuiteRow> rows;
    for (const CommComparison& row : validation.rows) {
      (row.is_summary ? summaries : rows)
          .push_back({row.group, row.name, row.measured, row.predicted, row.basis, row.left_out});
    }
    add_rows(answer, "comm", summaries, false);
    add_rows(answer, "comm", rows, request.keep_rows);
    for (const Diagnostic& problem : validation.problems) {
      answer.problems.push_back(problem.text());
    }
    answer.absent.insert(answer.absent.end(), validation.absent.begin(), validation.absent.end());
  }
  return answer;
}

SuiteAnswer routing_suite(const SuiteRequest& request) {
  SuiteAnswer answer;
  const std::vector<std::string> parents = parents_of(request, "routing");
  if (parents.empty()) {
    answer.absent.push_back("routing: no folder of --data holds routing/");
  }
  for (const std::string& parent : parents) {
    const RoutingValidation validation =
        validate_routing((std::filesystem::path(parent) / "routing").string());
    std::vector<SuiteRow> rows;
    for (const RoutingComparison& row : validation.rows) {
      // A replay recomputes what was recorded; the rest is a model.
      rows.push_back({row.group, row.name, row.measured, row.predicted,
                      row.group.starts_with("replay") ? "measured" : "estimate", ""});
    }
    add_rows(answer, "routing", rows, request.keep_rows);
    for (const auto& [what, why] : validation.left_out) {
      answer.absent.push_back("routing/" + what + ": " + why);
    }
  }
  return answer;
}

SuiteAnswer offload_suite(const SuiteRequest& request) {
  SuiteAnswer answer;
  const std::vector<std::string> parents = parents_of(request, "offload");
  if (parents.empty()) {
    answer.absent.push_back("offload: no folder of --data holds offload/");
  }
  for (const std::string& parent : parents) {
    const OffloadValidation validation = validate_offload(parent);
    std::vector<SuiteRow> rows;
    for (const OffloadCase& row : validation.cases) {
      rows.push_back({row.group, row.name, row.measured, row.predicted, "estimate",
                      row.is_calibration ? "an end of the source's own line: used to fit" : ""});
    }
    for (const OffloadOmission& row : validation.omitted) {
      rows.push_back({row.group, row.name, row.measured, 0, "", row.reason});
    }
    add_rows(answer, "offload", rows, request.keep_rows);
    for (const std::string& file : validation.absent) {
      answer.absent.push_back("offload/" + file + ": the file is absent");
    }
  }
  return answer;
}

SuiteAnswer serving_suite(const SuiteRequest& request) {
  SuiteAnswer answer;
  const ServingValidation validation =
      validate_serving(request.folders, CardLibrary::open(request.root));
  std::vector<SuiteRow> rows;
  for (const ServingComparison& row : validation.rows) {
    rows.push_back({row.group, row.row, row.measured, row.predicted, row.basis, row.left_out,
                    row.low, row.high});
  }
  add_rows(answer, "serving", rows, request.keep_rows);
  for (const Diagnostic& problem : validation.problems) {
    answer.problems.push_back(problem.text());
  }
  answer.absent = validation.absent;
  for (const std::string& note : validation.notes) {
    answer.problems.push_back("efficiency set, " + note);
  }
  return answer;
}

SuiteAnswer front_suite(const SuiteRequest& request) {
  SuiteAnswer answer;
  const FrontValidation validation =
      validate_front(request.folders, CardLibrary::open(request.root));
  std::vector<SuiteRow> rows;
  std::vector<SuiteRow> all;  // one group over all families, for the figure as a whole
  for (const FrontComparison& row : validation.rows) {
    rows.push_back({row.group, row.row, row.measured, row.predicted, row.basis, row.left_out,
                    row.low, row.high, row.outside});
    all.push_back(rows.back());
    all.back().group = "all, " + row.group.substr(row.group.rfind(": ") + 2);
  }
  add_rows(answer, "front", all, false);
  add_rows(answer, "front", rows, request.keep_rows);
  for (const Diagnostic& problem : validation.problems) {
    answer.problems.push_back(problem.text());
  }
  answer.absent = validation.absent;
  return answer;
}

}  // namespace

std::span<const ValidationSuite> validation_suites() {
  static constexpr ValidationSuite kSuites[] = {
      {"compute", "kernel times by op, machine, framework and format", compute_suite},
      {"comm", "collectives and expert exchanges, also without their EP size or system",
       comm_suite},
      {"routing", "loads, locality and batches of recorded routing", routing_suite},
      {"offload", "hit rates of expert caches and tokens/s of engines that offload", offload_suite},
      {"serving", "time per token, throughput and time to first token of serving runs",
       serving_suite},
      {"front", "published serving points against the planner's front and its bands", front_suite},
  };
  return kSuites;
}

void add_rows(SuiteAnswer& answer, std::string_view suite, const std::vector<SuiteRow>& rows,
              bool keep_rows) {
  std::vector<GroupErrors> groups;
  std::map<std::string, std::size_t> index;
  for (const SuiteRow& row : rows) {
    const auto [place, is_new] = index.try_emplace(row.group, groups.size());
    if (is_new) {
      groups.emplace_back().name = row.group;
    }
    GroupErrors& group = groups[place->second];
    if (keep_rows) {
      answer.rows.push_back(row_json(suite, row));
    }
    if (!row.left_out.empty()) {
      ++group.left_out;
      continue;
    }
    ++group.n;
    group.absolute.push_back(std::abs(row.predicted - row.measured));
    if (row.measured != 0) {
      group.bias.push_back(row.predicted / row.measured - 1.0);
      group.ape.push_back(std::abs(group.bias.back()));
    }
    if (row.low && row.high) {
      ++group.with_band;
      group.in_band += *row.low <= row.measured && row.measured <= *row.high ? 1 : 0;
      group.half_widths.push_back((*row.high - *row.low) / 2.0 / row.predicted);
    }
  }
  for (const GroupErrors& group : groups) {
    answer.groups.push_back(group_json(suite, group));
  }
}

std::vector<std::string> parents_of(const SuiteRequest& request, std::string_view part) {
  std::vector<std::string> parents;
  for (const std::string& folder : request.folders) {
    std::filesystem::path path(folder);
    if (!path.has_filename()) {
      path = path.parent_path();  // "data/" and "data" are the same folder
    }
    std::error_code error;
    if (std::filesystem::is_directory(path / part, error)) {
      parents.push_back(path.string());
    } else if (path.filename() == part && std::filesystem::is_directory(path, error)) {
      parents.push_back(path.has_parent_path() ? path.parent_path().string() : ".");
    }
  }
  return parents;
}

}  // namespace moesim

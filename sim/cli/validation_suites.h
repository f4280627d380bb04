// SPDX-License-Identifier: Apache-2.0
// The suites of `moesim validate`: one visible table, each row a function from folders of measured
// data to rows and groups of errors.
//
// A new suite is a function and a row. Groups and rows are JSON with the keys of
// docs/validation.md, so that suites with figures of their own (bands, absolute errors) need no
// change here.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/json.h"

namespace moesim {

struct SuiteRequest {
  std::vector<std::string> folders;  ///< of --data, in order
  std::string root;                  ///< of the repository: shipped curves and cards
  bool keep_rows = false;
  std::vector<std::string> curves = {};  ///< of --curves: sets tried before the shipped ones
};

struct SuiteAnswer {
  Json groups = Json::array();
  Json rows = Json::array();          ///< empty unless asked for
  std::vector<std::string> problems;  ///< bad cells: file, row, column
  std::vector<std::string> absent;    ///< what was looked for and is not there
};

struct ValidationSuite {
  std::string_view name;
  std::string_view doc;
  SuiteAnswer (*run)(const SuiteRequest& request);
};

std::span<const ValidationSuite> validation_suites();

/// One measured value beside its prediction, or the reason why there is none.
struct SuiteRow {
  std::string group;
  std::string name;  ///< which row of the data
  double measured = 0;
  double predicted = 0;
  std::string basis = "estimate";
  std::string left_out;            ///< not predicted, or not counted, and why
  std::optional<double> low = {};  ///< 80% band
  std::optional<double> high = {};
  std::string outside = {};  ///< why the measured value may lie outside the band
};

/// Adds the rows of one suite: a group for each name, in order of first appearance, with n,
/// left_out, mape, median_ape, p90_ape, bias (median of predicted / measured - 1), the share of
/// rows inside their bands where they have some, and the largest and median absolute error. Rows
/// measured as 0 have no relative error and count in the absolute ones only.
void add_rows(SuiteAnswer& answer, std::string_view suite, const std::vector<SuiteRow>& rows,
              bool keep_rows);

/// The folders that hold `part` ("routing") as a folder, or that are called so themselves: paths
/// of the parents.
std::vector<std::string> parents_of(const SuiteRequest& request, std::string_view part);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Predicted against measured communication: `validate --suite comm`.
//
// Three predictions of each row. `profile`: the shipped constants. `leave EP size out`: constants
// fitted to the given data without the row's group size of its system. `leave system out`: without
// its whole system, transferred from the measured machine with the nearest link rate.
#pragma once

#include <string>
#include <vector>

#include "sim/base/error.h"
#include "sim/input/card_library.h"

namespace moesim {

struct CommComparison {
  std::string group;  ///< "profile: all_gather h100_sxm EP8"
  std::string name;   ///< file and row
  double measured = 0;
  double predicted = 0;
  std::string basis;        ///< fitted, transferred, estimate
  std::string left_out;     ///< why there is no prediction
  bool is_summary = false;  ///< repeats a row under the heading of a whole kind of rows
};

struct CommValidation {
  std::vector<CommComparison> rows;
  std::vector<Diagnostic> problems;
  std::vector<std::string> absent;
};

/// `folder` is a comm/ folder. Throws InputError when a shipped card is broken.
CommValidation validate_comm(const std::string& folder, const CardLibrary& cards);

/// A cluster profile with constants fitted to `folder`: its own rows where there are some, else
/// transferred from the measured machine nearest to it. Throws InputError when neither is possible.
ClusterProfile calibrated_cluster(const std::string& folder, const CardLibrary& cards,
                                  const std::string& id, const std::string& source);

}  // namespace moesim

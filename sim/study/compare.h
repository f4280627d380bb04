// SPDX-License-Identifier: Apache-2.0
// Two results side by side: which keys of their scenarios differ, how every figure differs, and
// whether the difference is larger than what either prediction can be wrong by.
//
// Bands are 80% and taken as independent: two values a, b are told apart when |ln(b / a)| exceeds
// sqrt(ha^2 + hb^2), ha and hb the half-widths of their bands in log space. Errors that both share
// (the same machine, the same kernels) cancel in the ratio, so that this is the careful side.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/base/json.h"

namespace moesim {

/// Where two scenarios differ.
struct KeyDifference {
  std::string pointer;
  std::string a;  ///< JSON text, "" when absent
  std::string b;
};

enum class Verdict {
  same,           ///< equal to the last digit shown
  differs,        ///< told apart by the bands
  within_bands,   ///< not told apart
  without_bands,  ///< at least one has no band
  only_one        ///< the other does not have this figure
};
std::string_view verdict_text(Verdict verdict);

struct FigureDifference {
  std::string name;  ///< "tpot_s.p90"
  std::optional<double> a;
  std::optional<double> b;
  std::optional<double> ratio;  ///< b / a, where a is not 0
  Verdict verdict = Verdict::same;
};

struct ResultComparison {
  std::string title_a;
  std::string title_b;
  std::vector<KeyDifference> keys;
  std::vector<FigureDifference> figures;  ///< in the order of A, then those of B alone
};

/// Both are results of schema moesim/result/1 (`moesim run --format json`). Throws InputError
/// naming `file_a` or `file_b` when one is not.
ResultComparison compare_results(const Json& a, const std::string& file_a, const Json& b,
                                 const std::string& file_b);

Json to_json(const ResultComparison& comparison);

}  // namespace moesim

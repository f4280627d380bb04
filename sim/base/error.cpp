// SPDX-License-Identifier: Apache-2.0
#include "sim/base/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace moesim {
namespace {

std::string joined(const std::vector<Diagnostic>& diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics) {
    if (!text.empty()) {
      text += '\n';
    }
    text += diagnostic.text();
  }
  return text;
}

/// Edit distance with insertions, deletions, substitutions and swaps of neighbours (optimal string
/// alignment).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    d[i][0] = i;
  }
  for (std::size_t j = 0; j <= b.size(); ++j) {
    d[0][j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string Diagnostic::text() const {
  std::string text = file;
  if (!pointer.empty()) {
    text += (pointer.front() == '/' ? "#" : ": ") + pointer;
  }
  if (!text.empty()) {
    text += ": ";
  }
  text += problem;
  if (!allowed.empty()) {
    text += "; " + allowed;
  }
  return text;
}

InputError::InputError(std::vector<Diagnostic> diagnostics)
    : std::runtime_error(joined(diagnostics)), diagnostics_(std::move(diagnostics)) {}

InputError::InputError(std::string file, std::string pointer, std::string problem,
                       std::string allowed)
    : InputError(std::vector<Diagnostic>{
          {std::move(file), std::move(pointer), std::move(problem), std::move(allowed)}}) {}

void Diagnostics::add(std::string file, std::string pointer, std::string problem,
                      std::string allowed) {
  list_.push_back({std::move(file), std::move(pointer), std::move(problem), std::move(allowed)});
}

void Diagnostics::throw_if_any() const {
  if (!list_.empty()) {
    throw InputError(list_);
  }
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestWord =
      64;  // the distance is quadratic in length; a longer key is no slip of the finger
  if (word.size() > kLongestWord) {
    return "";
  }
  std::size_t best_distance = word.size() <= 4 ? 2 : 3;
  std::string best;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongestWord) {
      continue;
    }
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

void check_failed(const char* condition, const char* why, const char* file, int line) {
  std::fprintf(stderr, "moesim: internal error: %s (%s) at %s:%d\n", why, condition, file, line);
  std::abort();
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The three kinds of failure: the user's (InputError), the device's (DeviceError) and ours
// (MOESIM_CHECK).
//
// Readers collect every problem of a file as Diagnostics and throw one InputError at the end, so
// that a user repairs a file in one go. After a Scenario is built it is valid: the engine has no
// error paths.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

/// One problem, for a person: `file#pointer: problem; allowed: ...`.
struct Diagnostic {
  std::string file;     ///< as the user named it; "" when the text came from nowhere
  std::string pointer;  ///< JSON pointer ("/parallelism/expert") or "line 12, column 3"; "" for the
                        ///< whole file
  std::string problem;  ///< what is wrong, with the value
  std::string allowed;  ///< what is allowed or what to do; "" when the problem says it

  std::string text() const;
};

/// The user can fix it. `what()` is one line per diagnostic.
class InputError : public std::runtime_error {
 public:
  explicit InputError(std::vector<Diagnostic> diagnostics);
  InputError(std::string file, std::string pointer, std::string problem, std::string allowed = "");

  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }

 private:
  std::vector<Diagnostic> diagnostics_;
};

/// A GPU call or a measurement failed (exit code 3).
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Collects the problems of one reading; `throw_if_any` ends it.
class Diagnostics {
 public:
  void add(Diagnostic diagnostic) { list_.push_back(std::move(diagnostic)); }
  void add(std::string file, std::string pointer, std::string problem, std::string allowed = "");
  bool empty() const { return list_.empty(); }
  const std::vector<Diagnostic>& list() const { return list_; }
  /// Throws InputError with everything collected, in the order of discovery.
  void throw_if_any() const;

 private:
  std::vector<Diagnostic> list_;
};

/// The candidate nearest to `word` by edit distance, or "" when none is near enough to be a slip of
/// the finger (distance <= 2, or <= 1 for words of up to four letters; a swap of neighbours counts
/// one).
std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates);

[[noreturn]] void check_failed(const char* condition, const char* why, const char* file, int line);

}  // namespace moesim

/// Our bug, on in all builds: prints the place and the reason, then aborts.
#define MOESIM_CHECK(condition, why)                               \
  do {                                                             \
    if (!(condition)) [[unlikely]] {                               \
      ::moesim::check_failed(#condition, why, __FILE__, __LINE__); \
    }                                                              \
  } while (false)

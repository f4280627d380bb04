// SPDX-License-Identifier: Apache-2.0
// How far long work has come: a bar that redraws itself on a terminal, a plain line now and then
// elsewhere (logs, pipes); share, rate and time left.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace moesim {

class ProgressBar {
 public:
  /// `out` null: silent. `is_terminal` chooses the form; `unit` names what is counted ("points").
  ProgressBar(std::ostream* out, bool is_terminal, std::string unit, std::uint64_t total,
              std::uint64_t done = 0);
  /// To be called often; draws at most ten times a second, or one line every ten seconds.
  void advance_to(std::uint64_t done);
  /// Draws the last state and leaves the line.
  void finish();

  /// "1,200 of 10,000 points (12%), 650/s, 14 s left"
  static std::string text(std::uint64_t done, std::uint64_t total, double rate_per_s,
                          const std::string& unit);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  std::ostream* out_;
  bool is_terminal_;
  std::string unit_;
  std::uint64_t total_;
  std::uint64_t done_at_start_;
  std::uint64_t done_;
  Clock::time_point start_;
  Clock::time_point drawn_;
};

/// Whether standard error is a terminal.
bool error_stream_is_terminal();

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/progress_bar.h"

#include <unistd.h>
#include <cmath>
#include <ostream>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

std::string duration_text(double seconds) {
  const auto whole = static_cast<long long>(std::ceil(seconds));
  if (whole < 100) {
    return std::to_string(whole) + " s";
  }
  if (whole < 6000) {
    return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  }
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

}  // namespace

bool error_stream_is_terminal() { return isatty(STDERR_FILENO) == 1; }

ProgressBar::ProgressBar(std::ostream* out, bool is_terminal, std::string unit, std::uint64_t total,
                         std::uint64_t done)
    : out_(out),
      is_terminal_(is_terminal),
      unit_(std::move(unit)),
      total_(total),
      done_at_start_(done),
      done_(done),
      start_(Clock::now()),
      drawn_(start_) {}

std::string ProgressBar::text(std::uint64_t done, std::uint64_t total, double rate_per_s,
                              const std::string& unit) {
  const double share =
      total > 0 ? static_cast<double>(done) / static_cast<double>(total) * 100.0 : 100.0;
  std::string text = count_text(static_cast<double>(done)) + " of " +
                     count_text(static_cast<double>(total)) + " " + unit + " (" +
                     count_text(std::floor(share)) + "%)";
  if (rate_per_s > 0) {
    text += ", " + plain_number_text(rate_per_s) + "/s";
    if (done < total) {
      text += ", " + duration_text(static_cast<double>(total - done) / rate_per_s) + " left";
    }
  }
  return text;
}

void ProgressBar::draw(Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_ - done_at_start_) / seconds : 0.0;
  const std::string words = text(done_, total_, rate, unit_);
  if (!is_terminal_) {
    *out_ << words << std::endl;
    return;
  }
  constexpr std::size_t kWidth = 30;
  const std::size_t filled =
      total_ > 0 ? static_cast<std::size_t>(kWidth * done_ / total_) : kWidth;
  *out_ << "\r\x1b[2K[" << std::string(filled, '#') << std::string(kWidth - filled, '.') << "] "
        << words << std::flush;
}

void ProgressBar::advance_to(std::uint64_t done) {
  done_ = done;
  if (out_ == nullptr) {
    return;
  }
  const Clock::time_point now = Clock::now();
  const auto pause = is_terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
  if (now - drawn_ >= pause) {
    drawn_ = now;
    draw(now);
  }
}

void ProgressBar::finish() {
  if (out_ == nullptr) {
    return;
  }
  draw(Clock::now());
  if (is_terminal_) {
    *out_ << std::endl;
  }
}

}  // namespace moesim

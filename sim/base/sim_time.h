// SPDX-License-Identifier: Apache-2.0
// Engine time: integer picoseconds since the start of a run, exact, totally ordered, the same on
// each machine.
//
// One type serves points and durations. Durations made from real seconds round *up*, so nothing
// ever ends early; 2^63 ps are 106 days, enough for any run, and conversions beyond that are
// refused by MOESIM_CHECK.
#pragma once

#include <compare>
#include <cstdint>

#include "sim/base/units.h"

namespace moesim {

class SimTime {
 public:
  constexpr SimTime() = default;
  explicit constexpr SimTime(std::int64_t picoseconds) : picoseconds_(picoseconds) {}

  /// Rounds up to the next picosecond. `seconds` must be finite, >= 0 and below 9.2e6 s (106 days).
  static SimTime from_seconds(Seconds seconds);
  static constexpr SimTime max() { return SimTime(INT64_MAX); }

  constexpr std::int64_t picoseconds() const { return picoseconds_; }
  constexpr Seconds seconds() const { return Seconds(static_cast<double>(picoseconds_) * 1e-12); }

  constexpr SimTime& operator+=(SimTime other) {
    picoseconds_ += other.picoseconds_;
    return *this;
  }
  friend constexpr SimTime operator+(SimTime a, SimTime b) {
    return SimTime(a.picoseconds_ + b.picoseconds_);
  }
  friend constexpr SimTime operator-(SimTime a, SimTime b) {
    return SimTime(a.picoseconds_ - b.picoseconds_);
  }
  friend constexpr auto operator<=>(SimTime a, SimTime b) = default;

 private:
  std::int64_t picoseconds_ = 0;
};

}  // namespace moesim

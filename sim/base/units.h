// SPDX-License-Identifier: Apache-2.0
// Physical quantities that cannot be mixed up.
//
// A Quantity holds an unscaled SI number (seconds, bytes, bytes per second ...); only sums of like
// quantities and the products listed below compile, so `Bytes / BytesPerSecond` is `Seconds` and
// `Bytes + Seconds` is an error. A bare `double` in a signature is a ratio or a count. Scale words
// follow the literature: GB = 1e9 bytes; only memory sizes may use GiB.
#pragma once

#include <compare>

namespace moesim {

/// A number with a dimension. `value()` is always the unscaled SI number.
template <class Dimension>
class Quantity {
 public:
  constexpr Quantity() = default;
  explicit constexpr Quantity(double value) : value_(value) {}

  constexpr double value() const { return value_; }

  constexpr Quantity& operator+=(Quantity other) {
    value_ += other.value_;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity other) {
    value_ -= other.value_;
    return *this;
  }
  constexpr Quantity& operator*=(double factor) {
    value_ *= factor;
    return *this;
  }

  friend constexpr Quantity operator+(Quantity a, Quantity b) {
    return Quantity(a.value_ + b.value_);
  }
  friend constexpr Quantity operator-(Quantity a, Quantity b) {
    return Quantity(a.value_ - b.value_);
  }
  friend constexpr Quantity operator-(Quantity a) { return Quantity(-a.value_); }
  friend constexpr Quantity operator*(Quantity a, double factor) {
    return Quantity(a.value_ * factor);
  }
  friend constexpr Quantity operator*(double factor, Quantity a) {
    return Quantity(a.value_ * factor);
  }
  friend constexpr Quantity operator/(Quantity a, double divisor) {
    return Quantity(a.value_ / divisor);
  }
  /// A ratio of like quantities is a plain number.
  friend constexpr double operator/(Quantity a, Quantity b) { return a.value_ / b.value_; }
  friend constexpr auto operator<=>(Quantity a, Quantity b) = default;

 private:
  double value_ = 0.0;
};

using Seconds = Quantity<struct SecondsDimension>;
using Bytes = Quantity<struct BytesDimension>;
using Flops = Quantity<struct FlopsDimension>;
using BytesPerSecond = Quantity<struct BytesPerSecondDimension>;
using FlopsPerSecond = Quantity<struct FlopsPerSecondDimension>;
using Watts = Quantity<struct WattsDimension>;
using Joules = Quantity<struct JoulesDimension>;
using Dollars = Quantity<struct DollarsDimension>;

constexpr Seconds operator/(Bytes bytes, BytesPerSecond rate) {
  return Seconds(bytes.value() / rate.value());
}
constexpr Seconds operator/(Flops flops, FlopsPerSecond rate) {
  return Seconds(flops.value() / rate.value());
}
constexpr Bytes operator*(BytesPerSecond rate, Seconds time) {
  return Bytes(rate.value() * time.value());
}
constexpr Flops operator*(FlopsPerSecond rate, Seconds time) {
  return Flops(rate.value() * time.value());
}
constexpr BytesPerSecond operator/(Bytes bytes, Seconds time) {
  return BytesPerSecond(bytes.value() / time.value());
}
constexpr FlopsPerSecond operator/(Flops flops, Seconds time) {
  return FlopsPerSecond(flops.value() / time.value());
}
constexpr Joules operator*(Watts power, Seconds time) {
  return Joules(power.value() * time.value());
}
constexpr Watts operator/(Joules energy, Seconds time) {
  return Watts(energy.value() / time.value());
}

namespace literals {
// clang-format off
constexpr Seconds operator""_s(long double x) { return Seconds(static_cast<double>(x)); }
constexpr Seconds operator""_s(unsigned long long x) { return Seconds(static_cast<double>(x)); }
constexpr Seconds operator""_ms(long double x) { return Seconds(static_cast<double>(x) * 1e-3); }
constexpr Seconds operator""_ms(unsigned long long x) { return Seconds(static_cast<double>(x) * 1e-3); }
constexpr Seconds operator""_us(long double x) { return Seconds(static_cast<double>(x) * 1e-6); }
constexpr Seconds operator""_us(unsigned long long x) { return Seconds(static_cast<double>(x) * 1e-6); }
constexpr Bytes operator""_B(unsigned long long x) { return Bytes(static_cast<double>(x)); }
constexpr Bytes operator""_MB(unsigned long long x) { return Bytes(static_cast<double>(x) * 1e6); }
constexpr Bytes operator""_GB(unsigned long long x) { return Bytes(static_cast<double>(x) * 1e9); }
constexpr Bytes operator""_GB(long double x) { return Bytes(static_cast<double>(x) * 1e9); }
constexpr Bytes operator""_GiB(unsigned long long x) { return Bytes(static_cast<double>(x) * 1073741824.0); }
constexpr BytesPerSecond operator""_GBps(long double x) { return BytesPerSecond(static_cast<double>(x) * 1e9); }
constexpr BytesPerSecond operator""_GBps(unsigned long long x) { return BytesPerSecond(static_cast<double>(x) * 1e9); }
constexpr FlopsPerSecond operator""_TFLOPs(long double x) { return FlopsPerSecond(static_cast<double>(x) * 1e12); }
constexpr FlopsPerSecond operator""_TFLOPs(unsigned long long x) { return FlopsPerSecond(static_cast<double>(x) * 1e12); }
// clang-format on
}  // namespace literals

}  // namespace moesim

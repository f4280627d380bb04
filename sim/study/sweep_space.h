// SPDX-License-Identifier: Apache-2.0
// The points of a sweep: which keys vary, over which values, and how the axes combine.
//
//     /routing/sigma=0,0.7,1.1        a list (JSON values, scaled quantities where the key has a
//                                     unit, or words)
//     /workload/batch_per_gpu=1:256:9      9 values from 1 to 256, evenly spaced
//     /workload/batch_per_gpu=log:1:256:9  the same with a constant ratio
//
// Axes combine as a Cartesian product (the last axis turns fastest), zipped, as independent random
// points, or as a Latin hypercube: each range is cut into as many strata as there are points and
// every stratum is used once. A point is a pure function of its number, so any worker can make it.
// Source of the Latin hypercube: McKay, Beckman & Conover, Technometrics 21 (1979).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/input/scenario.h"

namespace moesim {

enum class SweepMode : std::uint8_t { cartesian, zip, random, latin };

/// One varied key.
struct SweepAxis {
  std::string pointer;
  std::string text;          ///< as the user wrote it, after the "="
  std::vector<Json> values;  ///< of a list, or of a range at its grid
  bool is_range = false;
  bool logarithmic = false;
  bool whole = false;  ///< the key takes whole numbers
  double low = 0;
  double high = 0;

  /// The value at `fraction` in [0, 1): a grid or list value, or a number inside the range.
  Json at_fraction(double fraction) const;
};

class SweepSpace {
 public:
  /// `varied` are "/pointer=..." texts. `count` is the number of points of the random modes.
  /// Throws InputError naming each text that has no such key, no value, a value that the key does
  /// not take, or zipped axes of different lengths.
  SweepSpace(const ScenarioSpec& base, const std::vector<std::string>& varied, SweepMode mode,
             std::uint64_t count = 0);

  std::uint64_t num_points() const { return num_points_; }
  const std::vector<SweepAxis>& axes() const { return axes_; }
  const ScenarioSpec& base() const { return base_; }
  SweepMode mode() const { return mode_; }

  /// Value of each axis at `point`.
  std::vector<Json> values(std::uint64_t point) const;
  /// The same into `values`, whose memory is used again.
  void values(std::uint64_t point, std::vector<Json>& values) const;
  /// The base with these values set.
  ScenarioSpec spec(const std::vector<Json>& values) const;
  /// Sets one axis of a spec made from this space. Throws InputError as `spec` does.
  void set(ScenarioSpec& spec, std::size_t axis, const Json& value) const;
  /// Everything that defines the points, as text: base, axes, mode, count.
  std::string definition() const;

 private:
  ScenarioSpec base_;
  std::vector<SweepAxis> axes_;
  std::vector<Setter> setters_;
  SweepMode mode_;
  std::uint64_t num_points_ = 0;
  std::vector<std::vector<std::uint32_t>> strata_;  // latin: [axes][points]
};

/// `text` as a value of `field`: JSON, else a scaled quantity where the field has a unit ("80
/// GiB"), else text.
Json field_value(const std::string& text, const Field& field);

}  // namespace moesim

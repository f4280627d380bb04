// SPDX-License-Identifier: Apache-2.0
// How much longer a fused MoE takes when its routing is skewed: predicted against measured.
//
// A pair is two rows of one table that differ in the routing alone (the same shape, tokens, number
// format and kernel; one balanced, one with a power law). A cell is (tokens, expert-parallel ways,
// power law); its figure is the median over all pairs of latency(skewed) / latency(balanced), once
// of the measured latencies and once of the predicted ones. So what a curve says of skew is judged
// apart from what it says of size. Cells of fewer than five pairs are left out.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/calibration_rows.h"
#include "sim/cost/cost_curve.h"

namespace moesim {

struct SkewCell {
  std::string name;  ///< "T 2048 EP 32 power_law_1.2"
  std::size_t pairs = 0;
  double measured = 0;   ///< median ratio to balanced
  double predicted = 0;  ///< the same of the predictions
};

class SkewTable {
 public:
  /// Pairs among `rows`, which `curve` predicts. Rows of other tables than "moe" have none.
  void add(const CurveRows& rows, const CostCurve& curve, const DevicePeaks& peaks);
  /// By "system software", in order; cells by tokens, ways, power law.
  std::map<std::string, std::vector<SkewCell>> cells() const;

 private:
  struct Ratio {
    double measured, predicted;
  };
  struct Cell {
    double tokens, ways;
    std::string law;
    auto operator<=>(const Cell&) const = default;
  };
  std::map<std::pair<std::string, Cell>, std::vector<Ratio>> ratios_;
};

}  // namespace moesim

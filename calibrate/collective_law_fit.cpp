// SPDX-License-Identifier: Apache-2.0
#include "calibrate/collective_law_fit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "calibrate/nonnegative_fit.h"
#include "sim/cluster/collective.h"

namespace moesim {
namespace {

constexpr double kRangePenalty = 0.15;  // in sizes: a range must save 15% error at one size
constexpr std::size_t kMinSizes = 2;    // of a range
constexpr std::size_t kMaxRanges = 6;
constexpr double kErrorCap = 1.0;  // one odd row cannot buy a range

/// The samples of one x.
struct SizeColumn {
  double x = 0;
  std::vector<const CollectiveSample*> samples;
};

struct RangeFit {
  CollectiveProtocol protocol;
  double cost = 0;  ///< summed relative error
};

RangeFit fit_range(const std::vector<SizeColumn>& columns, std::size_t from, std::size_t to,
                   StepPattern pattern) {
  std::vector<double> features;
  std::vector<double> measured;
  for (std::size_t i = from; i < to; ++i) {
    for (const CollectiveSample* sample : columns[i].samples) {
      const double steps = steps_of(pattern, static_cast<double>(sample->ranks));
      const double x = columns[i].x;
      features.insert(features.end(), {1.0, steps, x, steps * x});
      measured.push_back(sample->seconds);
    }
  }
  const NonnegativeFit fit = fit_nonnegative(features, 4, measured, 4);
  RangeFit range;
  range.protocol.steps = pattern;
  range.protocol.start = Seconds(fit.coefficients[0]);
  range.protocol.step = Seconds(fit.coefficients[1]);
  range.protocol.own_s_per_byte = fit.coefficients[2];
  range.protocol.wire_s_per_byte = fit.coefficients[3];
  for (std::size_t r = 0; r < measured.size(); ++r) {
    double predicted = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      predicted += fit.coefficients[j] * features[r * 4 + j];
    }
    range.cost +=
        std::min(kErrorCap, std::fabs(std::log(std::max(predicted, 1e-12) / measured[r])));
  }
  return range;
}

}  // namespace

std::optional<CollectiveLaw> fit_collective_law(
    const std::vector<const CollectiveSample*>& samples) {
  std::map<double, SizeColumn> by_size;
  std::set<std::int64_t> groups;
  for (const CollectiveSample* sample : samples) {
    const double x = sample->bytes / static_cast<double>(sample->ranks);
    by_size[x].x = x;
    by_size[x].samples.push_back(sample);
    groups.insert(sample->ranks);
  }
  if (groups.size() < 2 || by_size.size() < kMinSizes) {
    return std::nullopt;
  }
  std::vector<SizeColumn> columns;
  for (auto& [x, column] : by_size) {
    columns.push_back(std::move(column));
  }
  const CollectiveOp op = samples.front()->op;
  const std::size_t count = columns.size();
  const double penalty =
      kRangePenalty * static_cast<double>(samples.size()) / static_cast<double>(count);

  // best[j][k]: columns before j in k ranges.
  struct Cut {
    double cost = 1e300;
    std::size_t from = 0;
    CollectiveProtocol protocol;
  };
  std::vector<std::vector<Cut>> best(count + 1, std::vector<Cut>(kMaxRanges + 1));
  best[0][0].cost = 0;
  for (std::size_t to = kMinSizes; to <= count; ++to) {
    for (std::size_t from = 0; from + kMinSizes <= to; ++from) {
      if (std::all_of(best[from].begin(), best[from].end(),
                      [](const Cut& cut) { return cut.cost >= 1e300; })) {
        continue;
      }
      RangeFit range = fit_range(columns, from, to, StepPattern::peers);
      if (op == CollectiveOp::all_reduce) {
        const RangeFit in_switch = fit_range(columns, from, to, StepPattern::in_switch);
        if (in_switch.cost < range.cost) {
          range = in_switch;
        }
      }
      for (std::size_t k = 0; k < kMaxRanges; ++k) {
        const double cost = best[from][k].cost + range.cost + penalty;
        if (best[from][k].cost < 1e300 && cost < best[to][k + 1].cost) {
          best[to][k + 1] = {cost, from, range.protocol};
        }
      }
    }
  }
  CollectiveLaw law;
  law.op = op;
  law.library = samples.front()->library;
  law.software = samples.front()->software;
  law.origin = Origin::fitted;
  std::size_t k = 0;
  for (std::size_t i = 1; i <= kMaxRanges; ++i) {
    if (k == 0 || best[count][i].cost < best[count][k].cost) {
      k = i;
    }
  }
  for (std::size_t to = count; to > 0; --k) {
    const Cut& cut = best[to][k];
    law.protocols.push_back(cut.protocol);
    // Between the last size of one protocol and the first of the next.
    law.protocols.back().from = Bytes(
        cut.from == 0 ? 0 : std::round(std::sqrt(columns[cut.from - 1].x * columns[cut.from].x)));
    to = cut.from;
  }
  std::reverse(law.protocols.begin(), law.protocols.end());

  double sum = 0;
  for (const CollectiveSample* sample : samples) {
    const double predicted =
        law_time(law, static_cast<double>(sample->ranks), Bytes(sample->bytes)).value();
    sum += std::fabs(predicted / sample->seconds - 1.0);
  }
  law.points = static_cast<std::int64_t>(samples.size());
  law.residual_fraction = sum / static_cast<double>(samples.size());
  return law;
}

CollectiveLaw transferred(const CollectiveLaw& law, double rate_ratio) {
  CollectiveLaw copy = law;
  copy.origin = Origin::transferred;
  for (CollectiveProtocol& protocol : copy.protocols) {
    protocol.own_s_per_byte /= rate_ratio;
    protocol.wire_s_per_byte /= rate_ratio;
  }
  return copy;
}

}  // namespace moesim

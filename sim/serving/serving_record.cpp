// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/serving_record.h"

#include <algorithm>
#include <cmath>

#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr double kLogStep = 0.009950330853168083;  // log(1.01)

int bin_of(double value) { return static_cast<int>(std::floor(portable_log(value) / kLogStep)); }
double bin_start(int bin) { return portable_exp(static_cast<double>(bin) * kLogStep); }

}  // namespace

void LogHistogram::add_to(int bin, double weight) {
  if (bins_.empty()) {
    first_bin_ = bin;
  }
  if (bin < first_bin_) {
    bins_.insert(bins_.begin(), static_cast<std::size_t>(first_bin_ - bin), 0.0);
    first_bin_ = bin;
  }
  const auto index = static_cast<std::size_t>(bin - first_bin_);
  if (index >= bins_.size()) {
    bins_.resize(index + 1, 0.0);
  }
  bins_[index] += weight;
}

void LogHistogram::add(double first, double last, double weight) {
  const double low = std::min(first, last);
  const double high = std::max(first, last);
  total_ += weight;
  sum_ += weight * (low + high) / 2;
  const int from = bin_of(low);
  const int to = high > low * 1.000001 ? bin_of(high) : from;
  if (from == to) {
    add_to(from, weight);
    return;
  }
  for (int bin = from; bin <= to; ++bin) {
    const double share =
        (std::min(high, bin_start(bin + 1)) - std::max(low, bin_start(bin))) / (high - low);
    add_to(bin, weight * std::max(0.0, share));
  }
}

double LogHistogram::quantile(double q) const {
  double left = q * total_;
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    if (bins_[i] > 0 && left <= bins_[i]) {
      const int bin = first_bin_ + static_cast<int>(i);
      return bin_start(bin) * (1 + 0.01 * left / bins_[i]);
    }
    left -= bins_[i];
  }
  return bins_.empty() ? 0 : bin_start(first_bin_ + static_cast<int>(bins_.size()));
}

void SeriesRecorder::reach(double time) {
  while (time >= width_ * static_cast<double>(kBuckets)) {
    for (auto& sums : sums_) {
      for (std::size_t i = 0; i < kBuckets / 2; ++i) {
        sums[i] = sums[2 * i] + sums[2 * i + 1];
      }
      std::fill(sums.begin() + kBuckets / 2, sums.end(), 0.0);
    }
    width_ *= 2;
  }
}

void SeriesRecorder::add(Quantity quantity, double from, double to, double amount) {
  reach(to);
  auto& sums = sums_[quantity];
  const auto last = std::min<std::size_t>(kBuckets - 1, static_cast<std::size_t>(to / width_));
  const auto first = std::min(last, static_cast<std::size_t>(from / width_));
  if (first == last) {
    sums[first] += amount;
    return;
  }
  for (std::size_t i = first; i <= last; ++i) {
    const double begin = std::max(from, width_ * static_cast<double>(i));
    const double end = std::min(to, width_ * static_cast<double>(i + 1));
    sums[i] += amount * (end - begin) / (to - from);
  }
}

}  // namespace moesim

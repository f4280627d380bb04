// SPDX-License-Identifier: Apache-2.0
#include "calibrate/boosted_trees.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

constexpr double kClipQuantile = 0.8;
constexpr double kSmallestClip = 0.005;

/// Midpoints between distinct values, or at quantiles when there are too many of them.
std::vector<float> thresholds_of(std::vector<float> values, int most) {
  std::sort(values.begin(), values.end());
  std::vector<float> distinct = values;
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  std::vector<float> thresholds;
  if (distinct.size() <= static_cast<std::size_t>(most)) {
    for (std::size_t i = 0; i + 1 < distinct.size(); ++i) {
      thresholds.push_back(0.5F * (distinct[i] + distinct[i + 1]));
    }
    return thresholds;
  }
  for (int step = 1; step < most; ++step) {
    const float value =
        values[values.size() * static_cast<std::size_t>(step) / static_cast<std::size_t>(most)];
    const auto above = std::upper_bound(distinct.begin(), distinct.end(), value);
    if (above == distinct.end()) {
      continue;
    }
    const float threshold = 0.5F * (value + *above);
    if (thresholds.empty() || threshold > thresholds.back()) {
      thresholds.push_back(threshold);
    }
  }
  return thresholds;
}

class Booster {
 public:
  Booster(std::span<const float> features, std::size_t num_features,
          std::span<const double> targets, std::span<const std::uint32_t> rows,
          const BoostingOptions& options)
      : options_(options), num_rows_(rows.size()) {
    thresholds_.resize(num_features);
    bins_.resize(num_features * num_rows_);
    std::vector<float> column(num_rows_);
    for (std::size_t f = 0; f < num_features; ++f) {
      for (std::size_t i = 0; i < num_rows_; ++i) {
        // Files hold thresholds in short text: round here, so that the file's tree is this tree.
        column[i] = features[rows[i] * num_features + f];
      }
      thresholds_[f] = thresholds_of(column, options.thresholds);
      for (std::size_t i = 0; i < num_rows_; ++i) {
        const auto bin = std::lower_bound(thresholds_[f].begin(), thresholds_[f].end(), column[i]);
        bins_[f * num_rows_ + i] = static_cast<std::uint8_t>(bin - thresholds_[f].begin());
      }
    }
    residual_.resize(num_rows_);
    for (std::size_t i = 0; i < num_rows_; ++i) {
      residual_[i] = targets[rows[i]];
    }
  }

  ResidualTrees fit() {
    std::vector<double> sorted = residual_;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(num_rows_ / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    const double base = *middle;
    for (double& value : residual_) {
      value -= base;
    }
    ResidualTrees trees(options_.depth, base, thresholds_);
    RandomStream random(1, "calibrate/boosting");
    clipped_.resize(num_rows_);
    leaf_.resize(num_rows_);
    const auto keep = static_cast<std::uint64_t>(options_.row_fraction * 0x1p32);
    for (int tree = 0; tree < options_.trees; ++tree) {
      drawn_.clear();
      for (std::size_t i = 0; i < num_rows_; ++i) {
        if ((random.next() >> 32) < keep) {
          drawn_.push_back(static_cast<std::uint32_t>(i));
        }
      }
      if (!add_tree(trees)) {
        break;
      }
    }
    return trees;
  }

 private:
  bool add_tree(ResidualTrees& trees) {
    clip_residuals();
    std::fill(leaf_.begin(), leaf_.end(), 0);
    std::vector<ResidualTrees::Question> questions;
    for (int depth = 0; depth < options_.depth; ++depth) {
      const auto question = best_question(std::size_t{1} << depth);
      if (question.feature == kNone) {
        return false;
      }
      questions.push_back(question);
      const std::uint8_t* bins = &bins_[question.feature * num_rows_];
      for (std::size_t i = 0; i < num_rows_; ++i) {
        leaf_[i] = static_cast<std::uint16_t>(leaf_[i] | (bins[i] > question.threshold) << depth);
      }
    }
    const std::size_t num_leaves = std::size_t{1} << options_.depth;
    std::vector<double> sums(num_leaves);
    std::vector<double> counts(num_leaves);
    for (const std::uint32_t i : drawn_) {
      sums[leaf_[i]] += clipped_[i];
      counts[leaf_[i]] += 1;
    }
    for (std::size_t leaf = 0; leaf < num_leaves; ++leaf) {
      sums[leaf] *= options_.rate / (counts[leaf] + options_.leaf_prior);
    }
    trees.add_tree(questions, sums);
    for (std::size_t i = 0; i < num_rows_; ++i) {
      residual_[i] -= sums[leaf_[i]];
    }
    return true;
  }

  void clip_residuals() {
    std::vector<float> sizes(num_rows_);
    for (std::size_t i = 0; i < num_rows_; ++i) {
      sizes[i] = static_cast<float>(std::fabs(residual_[i]));
    }
    const auto at =
        sizes.begin() + static_cast<std::ptrdiff_t>(kClipQuantile * static_cast<double>(num_rows_));
    std::nth_element(sizes.begin(), at, sizes.end());
    const double clip = std::clamp(static_cast<double>(*at), kSmallestClip, options_.largest_clip);
    for (std::size_t i = 0; i < num_rows_; ++i) {
      clipped_[i] = static_cast<float>(std::clamp(residual_[i], -clip, clip));
    }
  }

  ResidualTrees::Question best_question(std::size_t num_leaves) {
    ResidualTrees::Question best{kNone, 0};
    double best_gain = -1;
    const double prior = options_.leaf_prior;
    for (std::size_t f = 0; f < thresholds_.size(); ++f) {
      const std::size_t num_bins = thresholds_[f].size() + 1;
      if (num_bins < 2) {
        continue;
      }
      cells_.assign(num_leaves * num_bins, {});
      const std::uint8_t* bins = &bins_[f * num_rows_];
      for (const std::uint32_t i : drawn_) {
        Cell& cell = cells_[leaf_[i] * num_bins + bins[i]];
        cell.sum += clipped_[i];
        cell.count += 1;
      }
      gain_.assign(num_bins - 1, 0.0);
      for (std::size_t leaf = 0; leaf < num_leaves; ++leaf) {
        const Cell* cells = &cells_[leaf * num_bins];
        double all_sum = 0;
        double all_count = 0;
        for (std::size_t bin = 0; bin < num_bins; ++bin) {
          all_sum += cells[bin].sum;
          all_count += cells[bin].count;
        }
        if (all_count == 0) {
          continue;
        }
        double sum = 0;
        double count = 0;
        for (std::size_t bin = 0; bin + 1 < num_bins; ++bin) {
          sum += cells[bin].sum;
          count += cells[bin].count;
          gain_[bin] += sum * sum / (count + prior) +
                        (all_sum - sum) * (all_sum - sum) / (all_count - count + prior);
        }
      }
      for (std::size_t bin = 0; bin + 1 < num_bins; ++bin) {
        if (gain_[bin] > best_gain) {
          best_gain = gain_[bin];
          best = {static_cast<std::uint8_t>(f), static_cast<std::uint8_t>(bin)};
        }
      }
    }
    return best;
  }

  static constexpr std::uint8_t kNone = 255;
  struct Cell {
    float sum = 0;
    float count = 0;
  };

  const BoostingOptions options_;
  const std::size_t num_rows_;
  std::vector<std::vector<float>> thresholds_;
  std::vector<std::uint8_t> bins_;  // [features][rows]
  std::vector<double> residual_;
  std::vector<float> clipped_;
  std::vector<std::uint16_t> leaf_;
  std::vector<std::uint32_t> drawn_;
  std::vector<Cell> cells_;
  std::vector<double> gain_;
};

}  // namespace

ResidualTrees fit_boosted_trees(std::span<const float> features, std::size_t num_features,
                                std::span<const double> targets,
                                std::span<const std::uint32_t> rows,
                                const BoostingOptions& options) {
  MOESIM_CHECK(!rows.empty(), "a fit needs rows");
  return Booster(features, num_features, targets, rows, options).fit();
}

}  // namespace moesim

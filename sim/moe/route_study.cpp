// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/route_study.h"

#include <algorithm>
#include <cmath>

#include "sim/base/error.h"

namespace moesim {
namespace {

class Mean {
 public:
  void add(double x) {
    ++n_;
    const double off = x - mean_;
    mean_ += off / static_cast<double>(n_);
    squares_ += off * (x - mean_);
  }
  BatchMean result() const {
    const double n = static_cast<double>(n_);
    return {mean_, n_ > 1 ? std::sqrt(squares_ / (n - 1.0) / n) : 0.0};
  }

 private:
  std::int64_t n_ = 0;
  double mean_ = 0.0;
  double squares_ = 0.0;
};

std::vector<std::int64_t> loads_of(std::span<const std::int16_t> sets, std::int32_t experts) {
  std::vector<std::int64_t> loads(static_cast<std::size_t>(experts), 0);
  for (const std::int16_t e : sets) {
    if (e >= 0) {
      ++loads[static_cast<std::size_t>(e)];
    }
  }
  return loads;
}

}  // namespace

RouteStudy study_routing(const RoutingSpec& spec, std::int32_t num_layers,
                         const RouteStudyOptions& options, const Router* router) {
  check_routing(spec, "routing", "");
  MOESIM_CHECK(num_layers >= 1 && options.batches >= 2 && options.batch_tokens >= 1,
               "a study has layers and batches");
  RoutingSpec drawn = spec;
  drawn.replay = ReplayOrder::shuffled;
  const bool recorded = spec.kind == RoutingKind::trace;
  const std::int64_t batch = options.batch_tokens;
  RouteStudy study;
  study.experts = spec.gate.experts;
  study.top_k = spec.gate.top_k;
  study.recorded_tokens = recorded ? spec.trace->num_tokens() : 0;
  study.batch_tokens = batch;
  study.batches = options.batches;
  const std::size_t num_factors = options.capacity_factors.size();
  for (const double factor : options.capacity_factors) {
    const CapacityRule rule = {.factor = factor, .overflow = OverflowPolicy::drop};
    study.drops.push_back({.capacity_factor = factor, .capacity = rule.capacity(spec.gate, batch)});
  }

  const std::size_t layers = static_cast<std::size_t>(num_layers);
  const std::size_t draws = static_cast<std::size_t>(options.batches);
  // Batches are the unit of the error: layers of one batch share their tokens.
  std::vector<double> hottest(draws, 0.0);
  std::vector<double> active(draws, 0.0);
  std::vector<double> width(draws, 0.0);
  std::vector<std::vector<double>> dropped(num_factors, std::vector<double>(draws, 0.0));
  const double share = 1.0 / static_cast<double>(num_layers);
  for (std::size_t l = 0; l < layers; ++l) {
    const std::int32_t layer = static_cast<std::int32_t>(l);
    const LayerRouting routing(drawn, layer);
    Mean layer_hottest;
    Mean layer_active;
    std::vector<double> sum(static_cast<std::size_t>(spec.gate.experts), 0.0);
    for (std::size_t b = 0; b < draws; ++b) {
      std::vector<std::int16_t> sets =
          router != nullptr ? router->route(draw_scores(spec, layer, batch, b), b).sets
                            : routing.draw_tokens(batch, b);
      const std::vector<std::int64_t> loads = loads_of(sets, spec.gate.experts);
      std::vector<double> real(loads.begin(), loads.end());
      double selections = 0.0;
      double used = 0.0;
      for (std::size_t e = 0; e < real.size(); ++e) {
        selections += real[e];
        used += real[e] > 0.0 ? 1.0 : 0.0;
        sum[e] += real[e];
      }
      const double ratio = max_over_mean(real);
      layer_hottest.add(ratio);
      layer_active.add(used);
      hottest[b] += share * ratio;
      active[b] += share * used;
      width[b] += share * selections / static_cast<double>(batch);
      for (std::size_t f = 0; f < num_factors && !recorded; ++f) {
        dropped[f][b] += share * static_cast<double>(overflow_of(loads, study.drops[f].capacity)) /
                         std::max(1.0, selections);
      }
    }
    RouteStudy::Layer row{.layer = layer};
    if (recorded) {
      const std::size_t index = l % spec.trace->layers.size();
      row.layer = spec.trace->layers[index];
      row.overlap_previous = lag_overlap(*spec.trace, index, 1);
    }
    row.loads =
        load_statistics(router != nullptr ? std::span<const double>(sum) : routing.inclusion());
    row.max_over_mean = layer_hottest.result();
    row.active_experts = layer_active.result();
    study.layers.push_back(row);
  }
  const auto mean_of = [](const std::vector<double>& values) {
    Mean mean;
    for (const double x : values) {
      mean.add(x);
    }
    return mean.result();
  };
  study.max_over_mean = mean_of(hottest);
  study.batch_max_over_mean = hottest;
  study.active_experts = mean_of(active);
  study.experts_per_token = mean_of(width);
  for (std::size_t f = 0; f < num_factors && !recorded; ++f) {
    study.drops[f].dropped_fraction = mean_of(dropped[f]);
    study.drops[f].batch_fractions = dropped[f];
    study.drops[f].batches = options.batches;
  }

  if (recorded) {
    const std::int64_t size = std::min(batch, spec.trace->num_tokens());
    const std::int64_t consecutive = spec.trace->num_tokens() / size;
    for (RouteStudy::Drop& drop : study.drops) {
      Mean mean;
      for (std::int64_t b = 0; b < consecutive; ++b) {
        const std::vector<std::int64_t> tokens = replay_batch(
            *spec.trace, ReplayOrder::token, size, spec.seed, static_cast<std::uint64_t>(b));
        double fraction = 0.0;
        for (std::size_t l = 0; l < layers; ++l) {
          const std::vector<std::int16_t> sets =
              gather_sets(*spec.trace, l % spec.trace->layers.size(), tokens);
          fraction +=
              share *
              static_cast<double>(overflow_of(loads_of(sets, spec.gate.experts), drop.capacity)) /
              static_cast<double>(sets.size());
        }
        mean.add(fraction);
        drop.batch_fractions.push_back(fraction);
      }
      drop.dropped_fraction = mean.result();
      drop.batches = consecutive;
    }
  }
  return study;
}

PairedDifference paired_difference(std::span<const double> first, std::span<const double> second) {
  MOESIM_CHECK(first.size() == second.size() && first.size() >= 2, "batches come in pairs");
  Mean mean;
  for (std::size_t b = 0; b < first.size(); ++b) {
    mean.add(second[b] - first[b]);
  }
  const BatchMean result = mean.result();
  const double half = 1.96 * result.standard_error;
  return {result.mean, result.mean - half, result.mean + half};
}

}  // namespace moesim

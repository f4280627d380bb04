// SPDX-License-Identifier: Apache-2.0
// What a serving run leaves behind: the requests with their times, time integrals of the state, and
// series over time whose resolution adapts to a run of unknown length.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "sim/serving/batch_scheduler.h"

namespace moesim {

/// Weights by value in bins 1% apart: quantiles of quantities that occur millions of times.
class LogHistogram {
 public:
  /// `weight` of values spread evenly from `first` to `last` (both > 0).
  void add(double first, double last, double weight);
  double total() const { return total_; }
  double mean() const { return total_ > 0 ? sum_ / total_ : 0; }
  /// Within 0.5%; 0 when empty.
  double quantile(double q) const;

 private:
  void add_to(int bin, double weight);
  int first_bin_ = 0;
  std::vector<double> bins_;
  double total_ = 0;
  double sum_ = 0;
};

/// Time series in at most kBuckets equal buckets from 0; the width doubles when time runs over.
class SeriesRecorder {
 public:
  static constexpr std::size_t kBuckets = 128;
  enum Quantity : std::uint8_t {
    running,
    waiting,
    cache_tokens,
    output_tokens,
    prompt_tokens,
    busy,
    arrivals,
    decoding,        ///< sequences that generate x seconds: over output_tokens, the time of a token
    expert_lookups,  ///< with /offload: experts needed, of every instance's mean GPU
    expert_hits,     ///< of these, on the GPU when needed
    expert_bytes,    ///< over the host link of every instance's mean GPU
    expert_stall     ///< seconds for which steps waited for experts
  };
  static constexpr std::size_t kQuantities = 12;

  /// Adds `amount` spread evenly over [from, to].
  void add(Quantity quantity, double from, double to, double amount);
  double width() const { return width_; }
  const std::array<double, kBuckets>& buckets(Quantity quantity) const { return sums_[quantity]; }

 private:
  void reach(double time);
  double width_ = 1.0 / 64;
  std::array<std::array<double, kBuckets>, kQuantities> sums_{};
};

/// Totals of one pool.
struct PoolTotals {
  double busy_s = 0;  ///< of instances
  double steps = 0;
  double prompt_steps = 0;       ///< of these, that read prompts
  double prompt_s = 0;           ///< time in them
  double output_tokens = 0;      ///< generated in decode steps
  double prompt_tokens = 0;      ///< read, cached ones not counted
  double decoding_integral = 0;  ///< sequences x busy time
  double context_integral = 0;   ///< cached tokens of these x busy time
  double waiting_integral = 0;
  double running_integral = 0;
  double cache_integral = 0;  ///< tokens in use x busy time
  double peak_cache_fraction = 0;
  double imbalance_integral = 0;  ///< (slowest rank's own time / mean - 1) x busy time
  std::int64_t preemptions = 0;
  double swap_s = 0;
  double moving_s = 0;  ///< steps waited for expert weights being moved
  // With /offload, of every instance's mean GPU, steps together:
  double expert_lookups = 0;  ///< experts needed
  double expert_hits = 0;     ///< of these, on the GPU when needed
  double expert_bytes = 0;    ///< over its host link
  double expert_stall_s = 0;  ///< steps waited for experts that were not there
};

struct ServingRecord {
  std::vector<RequestState> requests;
  std::vector<std::uint8_t> rejected;  ///< [requests] could never be served
  double end_s = 0;
  LogHistogram step_s;    ///< of decode steps, by sequences in them: inter-token latency
  PoolTotals serving;     ///< the scenario's own instances
  PoolTotals prefill;     ///< of the prefill pool
  double transfer_s = 0;  ///< cache transfers, sum
  double transfers = 0;
  double blocked_s = 0;      ///< read prompts that waited for room in the decode pool, sum
  double lost_requests = 0;  ///< restarted after a failure
  SeriesRecorder series;
  std::int64_t events = 0;
  std::int64_t step_evaluations = 0;
};

}  // namespace moesim

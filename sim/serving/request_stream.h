// SPDX-License-Identifier: Apache-2.0
// The requests of a run: when they come and how long they are, one after the other.
//
// Gaps: exponential (Poisson); gamma with shape 1 / cv^2; Weibull with the shape whose cv is the
// given one; diurnal by the inverse of the rate's integral, so that the process is an exact
// non-homogeneous Poisson process; or recorded. Lengths: fixed, uniform from ratio to 1 times
// nominal, lognormal or exponential with the given mean, or recorded. Every stream of numbers is
// its own, so that changing one law leaves the others' draws alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "sim/base/random.h"
#include "sim/input/request_trace.h"
#include "sim/input/scenario.h"
#include "sim/serving/batch_scheduler.h"

namespace moesim {

class RequestStream {
 public:
  /// Reads the scenario's request trace if it names one. Throws InputError.
  explicit RequestStream(const Scenario& scenario);

  /// Time of the next arrival; absent at the end, and in a closed loop, where the caller says when.
  std::optional<double> next_arrival() const;
  /// Requests still to come.
  bool has_more() const { return made_ < count_; }
  /// The next request, arriving at `now`.
  RequestState next(double now);

  bool is_closed_loop() const { return process_ == ArrivalProcess::closed; }
  /// Requests in flight of a closed loop.
  std::int64_t concurrency() const { return concurrency_; }
  /// Upper bound of the number of requests (arrivals may end earlier by duration).
  std::int64_t count() const { return count_; }
  const RequestTrace* trace() const { return trace_.get(); }
  /// Means of the lengths that will come.
  double mean_prompt() const { return mean_prompt_; }
  double mean_output() const { return mean_output_; }
  /// Cached tokens of a sequence, mean over the steps in which it generates.
  double mean_context() const { return mean_context_; }
  /// Requests a second in the mean, absent for closed and offline.
  std::optional<double> mean_rate() const;

 private:
  void draw_arrival();
  void mean_lengths();
  std::int32_t draw_length(double nominal, double cv, RandomStream& random);

  WorkloadSpec workload_;
  ArrivalProcess process_;
  std::shared_ptr<const RequestTrace> trace_;
  RandomStream gaps_;
  RandomStream prompts_;
  RandomStream outputs_;
  RandomStream groups_;
  std::int64_t count_ = 0;
  std::int64_t made_ = 0;
  std::int64_t concurrency_ = 0;
  double arrival_ = 0;
  double unit_time_ = 0;  ///< diurnal: sum of unit exponentials
  double weibull_shape_ = 1;
  double weibull_scale_ = 1;
  double mean_prompt_ = 0;
  double mean_output_ = 0;
  double mean_context_ = 0;
  bool ended_ = false;
};

/// Shape k of the Weibull law whose coefficient of variation is `cv`.
double weibull_shape(double cv);
/// Gamma function for x > 0, relative error < 1e-13, the same bits everywhere.
double portable_gamma(double x);
/// Sine, absolute error < 1e-14 for |x| < 1e6, the same bits everywhere.
double portable_sin(double x);

}  // namespace moesim

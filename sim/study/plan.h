// SPDX-License-Identifier: Apache-2.0
// The cheapest deployments that carry a load within its limits, and how sure that is.
//
// Every layout of the search is evaluated in closed form at every batch limit (tens of thousands of
// configurations a second); sizing then needs arithmetic only, so sensitivities, bands and the
// front come from the same points. Finalists are confirmed with every rank and op as events, and by
// simulating their requests over time.
//
// Every step has a band of its own (study/time_error.h): an option's band is the cost of the
// cheapest deployment of its kind when all steps are as fast or slow as the 10% and 90% quantiles
// of their errors. Two options differ when the chance that the dearer one is really cheaper is
// below 10%; on one cluster, what both steps owe to the same source of error cancels.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/study/plan_launch.h"
#include "sim/study/plan_pool.h"

namespace moesim {

struct PlannedPool {
  PoolPoint point;
  std::int64_t instances = 0;
  PoolAnswer answer;
  ScenarioSpec spec;  ///< one instance at its batch limit, to run by itself
};

struct PlanOption {
  std::string cluster;
  ServingMode mode = ServingMode::aggregated;
  std::vector<PlannedPool> pools;
  std::int64_t gpus = 0;
  double usd_per_hour = 0;
  double usd_low = 0;  ///< 80% band; infinite: no such deployment would meet the limits
  double usd_high = 0;
  double ttft_s = 0;
  double tpot_s = 0;
  double tokens_per_s_per_gpu = 0;   ///< output tokens at the load
  double tokens_per_s_per_user = 0;  ///< at the batch limit
  bool same_as_best = false;         ///< not distinguishable from the cheapest option
  TimeError error;                   ///< of its steps, pools weighted by their GPUs
};

struct FrontPoint {
  std::string cluster;
  ServingMode mode = ServingMode::aggregated;
  PoolLayout layout;
  double batch_per_gpu = 0;
  double tokens_per_s_per_gpu = 0;
  double tokens_per_s_per_user = 0;
  double low = 0;  ///< of tokens/s/GPU: 80% band
  double high = 0;
};

/// How the cheapest cost moves with one assumption.
struct TornadoBar {
  std::string name;
  std::string low_text;
  std::string high_text;
  double usd_low = 0;  ///< with the lower value; infinite: nothing meets the limits
  double usd_high = 0;
};

/// At which multiple of the load a limit of the cheapest deployment breaks.
struct Breakage {
  PoolRole pool = PoolRole::decode;
  std::string limit;
  double load_factor = 0;  ///< infinite: not up to 16 times the load
};

/// One figure of the plan beside the same from a more faithful simulation.
struct Confirmation {
  std::string what;  ///< or why there is no such figure
  std::string unit;  ///< "s", "fraction"; "" when there is no figure
  double planned = 0;
  double confirmed = 0;
};

struct ServicePlan {
  ServiceRequest service;
  std::vector<PlanOption> options;  ///< cheapest of every cluster and mode, then other layouts
  /// Cheapest of every cluster and mode when times are longer by the request's confidence in them.
  std::vector<PlanOption> robust;
  std::vector<FrontPoint> front;  ///< of every cluster and mode
  std::vector<TornadoBar> tornado;
  std::vector<Breakage> breakages;
  std::vector<PoolLaunch> launch;                              ///< [pools] of the cheapest option
  std::vector<std::vector<Confirmation>> confirmations;        ///< [first options]
  std::vector<std::pair<std::string, std::int64_t>> left_out;  ///< reasons and how many layouts
  std::int64_t evaluated = 0;                                  ///< pool points
  double least_tpot_s = 0;       ///< of any point that fits; 0: none does
  std::int64_t fewest_gpus = 0;  ///< of any instance that fits and generates
};

struct PlanOptions {
  bool confirm = true;
  /// Called once the front is known, before options, sensitivities and confirmation.
  std::function<void()> front_ready;
  std::function<void(double fraction)> progress;
};

/// Every point of the search for one service, out-of-memory ones left out, in a fixed order.
struct PoolPoints {
  std::vector<PoolPoint> points;
  std::vector<std::pair<std::string, std::int64_t>> left_out;
  std::int64_t evaluated = 0;
};
PoolPoints pool_points(const ServiceRequest& service, const PlanRequest& request,
                       const CardLibrary& cards);
/// The same for given layouts only.
PoolPoints pool_points(const ServiceRequest& service, const PlanRequest& request,
                       const std::vector<PoolLayout>& layouts, const CardLibrary& cards);

/// Cheaper, or as cheap and faster.
bool is_better(const PlanOption& a, const PlanOption& b);

/// Recomputes GPUs, cost and rates of `option` from its pools' instances. `price`: USD an hour and
/// GPU.
void size_up(PlanOption& option, const ServiceRequest& service, double price);

/// Cheapest options of every (cluster, mode), at most `per_kind` layouts each, by rising cost.
/// `prices` [hardware]. `z`: every step as slow as that standard normal quantile of its error.
std::vector<PlanOption> cheapest_options(const PoolPoints& points, const ServiceRequest& service,
                                         const PlanRequest& request,
                                         const std::vector<double>& prices, double z = 0,
                                         std::size_t per_kind = 3);

/// The option under its load as a scenario of kind serving, every request simulated.
ScenarioSpec serving_scenario(const PlanOption& option, const ServiceRequest& service,
                              const CardLibrary& cards);

/// Throws InputError for cards or prices that are missing.
ServicePlan plan_service(const ServiceRequest& service, const PlanRequest& request,
                         const CardLibrary& cards, const std::string& file,
                         const PlanOptions& options = {});

/// Prices of the request's hardware [hardware], in its order. Throws InputError with all problems.
std::vector<GpuPrice> prices_of(const PlanRequest& request, const CardLibrary& cards,
                                const std::string& file);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Several models, an inventory and a day of forecasts: who runs where in each period, what to
// reserve and what to rent, and how likely each limit is met.
//
// Each (service, hardware) pair gets the layout that serves the service's peak on the fewest GPUs;
// a period's need follows by sizing it for forecast x exp(z s) with steps longer by exp(z e), s the
// load's uncertainty, e the deviation of the steps' error, z the quantile of `confidence`, plus
// spare instances for failures at the same confidence. A service may be split over two kinds of
// hardware in quarters. The assignment of a period is found by trying every combination (by
// exchanges of pairs when there are too many); reserved GPUs follow from the day's use, level by
// level, and both are repeated until they agree.
//
// P(limits met) integrates over load (log-normal), errors of steps (log-normal, one draw a kind of
// hardware, each pool as wide as its band) and failed instances (binomial); nothing is sampled.
#pragma once

#include <string>
#include <vector>

#include "sim/study/plan.h"

namespace moesim {

/// A share of one service on one kind of hardware in one period.
struct FleetPart {
  std::size_t service = 0;
  std::size_t hardware = 0;
  double share = 1;                     ///< of the service's requests
  std::vector<std::int64_t> instances;  ///< [pools] of the deployment, spares included
  std::int64_t gpus = 0;
};

struct FleetPeriod {
  std::vector<FleetPart> parts;
  std::vector<double> p_slo;  ///< [services] chance that the limits are met
  double usd = 0;             ///< on demand, in this period
};

struct FleetHardware {
  std::int64_t owned = 0;
  std::int64_t reserved = 0;        ///< to be paid around the clock
  std::int64_t most_on_demand = 0;  ///< in any period
  std::vector<std::int64_t> used;   ///< [periods]
};

struct FleetPlan {
  std::vector<std::vector<std::vector<PoolPoint>>> deployments;  ///< [services][hardware][pools]
  std::vector<FleetHardware> hardware;
  std::vector<FleetPeriod> periods;
  double usd_per_day = 0;  ///< reserved and on demand, the periods taken as one day
  double confidence = 0.9;
  std::vector<std::string> problems;  ///< services that cannot be served in some period
};

/// Throws InputError for cards or prices that are missing.
FleetPlan plan_fleet(const PlanRequest& request, const std::vector<ServicePlan>& services,
                     const std::vector<double>& prices);

/// Chance that all `parts` of one service meet its limits when `requests_per_s` are forecast.
double chance_of_limits(const FleetPlan& plan, const PlanRequest& request, std::size_t service,
                        const std::vector<FleetPart>& parts, double requests_per_s);

/// Chance that an instance of so many GPUs is up.
double availability(const FailureRates& failures, std::int64_t gpus);
/// Fewest instances such that `needed` are up with probability `confidence`.
std::int64_t with_spares(std::int64_t needed, double up, double confidence);

}  // namespace moesim

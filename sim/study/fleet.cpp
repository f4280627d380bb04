// SPDX-License-Identifier: Apache-2.0
#include "sim/study/fleet.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "sim/study/queueing.h"

namespace moesim {
namespace {

constexpr std::size_t kMostCombinations = 200'000;
constexpr int kNodes = 41;  // of each integral over a log-normal factor

std::size_t num_periods(const PlanRequest& request) {
  std::size_t periods = 1;
  for (const ServiceRequest& service : request.services) {
    periods = std::max(periods, service.load.by_hour.size());
  }
  return periods;
}

double rate_in(const ServiceRequest& service, std::size_t period) {
  return service.load.requests_per_s *
         (service.load.by_hour.empty() ? 1.0 : service.load.by_hour[period]);
}

/// One way to serve one service in one period.
struct Alternative {
  std::vector<FleetPart> parts;
};

/// Sizes `share` of a load for confidence and spares; nothing when the quota does not allow it.
std::optional<FleetPart> sized_part(const PlanRequest& request, const FleetPlan& plan,
                                    std::size_t service, std::size_t hardware, double rate,
                                    double share) {
  const std::vector<PoolPoint>& pools = plan.deployments[service][hardware];
  if (pools.empty()) {
    return std::nullopt;
  }
  const ServiceRequest& asked = request.services[service];
  FleetPart part;
  part.service = service;
  part.hardware = hardware;
  part.share = share;
  const double z = normal_quantile(plan.confidence);
  const PoolLoad load = {rate * share * std::exp(z * asked.load.uncertainty),
                         asked.load.output_tokens, asked.slo};
  for (const PoolPoint& point : pools) {
    std::int64_t instances = 0;
    if (load.requests_per_s > 0) {
      const std::int64_t most = request.hardware[hardware].max_gpus / point.layout.gpus;
      // With less time in hand than the model may be wrong by, more GPUs help only against queues.
      instances = instances_needed(point, load, most, std::exp(z * point.error.deviation()));
      if (instances == 0) {
        instances = instances_needed(point, load, most);
      }
      if (instances == 0) {
        return std::nullopt;
      }
      instances = with_spares(instances, availability(request.failures, point.layout.gpus),
                              plan.confidence);
    }
    part.instances.push_back(instances);
    part.gpus += instances * point.layout.gpus;
  }
  if (part.gpus > request.hardware[hardware].max_gpus) {
    return std::nullopt;
  }
  return part;
}

std::vector<Alternative> alternatives_of(const PlanRequest& request, const FleetPlan& plan,
                                         std::size_t service, double rate) {
  std::vector<Alternative> list;
  const std::size_t kinds = request.hardware.size();
  for (std::size_t a = 0; a < kinds; ++a) {
    if (const auto whole = sized_part(request, plan, service, a, rate, 1)) {
      list.push_back({{*whole}});
    }
    for (std::size_t b = a + 1; b < kinds; ++b) {
      for (const double share : {0.25, 0.5, 0.75}) {
        const auto first = sized_part(request, plan, service, a, rate, share);
        const auto second = sized_part(request, plan, service, b, rate, 1 - share);
        if (first && second) {
          list.push_back({{*first, *second}});
        }
      }
    }
  }
  return list;
}

/// Cheapest combination of one period for given GPUs that are paid anyway.
class PeriodSearch {
 public:
  PeriodSearch(const PlanRequest& request, const std::vector<double>& prices,
               const std::vector<std::int64_t>& paid,
               const std::vector<std::vector<Alternative>>& alternatives)
      : request_(request), prices_(prices), paid_(paid), alternatives_(alternatives) {}

  /// Chosen alternative of each service; empty when no combination keeps the quotas.
  std::vector<std::size_t> best() {
    double combinations = 1;
    for (const auto& list : alternatives_) {
      combinations *= static_cast<double>(list.size());
    }
    if (combinations == 0) {
      return {};
    }
    choice_.assign(alternatives_.size(), 0);
    if (combinations <= static_cast<double>(kMostCombinations)) {
      used_.assign(request_.hardware.size(), 0);
      try_all(0);
    } else {
      exchange();
    }
    return best_;
  }
  double cost() const { return best_cost_; }

 private:
  double cost_of(const std::vector<std::int64_t>& used) const {
    double cost = 0;
    for (std::size_t h = 0; h < used.size(); ++h) {
      if (used[h] > request_.hardware[h].max_gpus) {
        return std::numeric_limits<double>::infinity();
      }
      cost += prices_[h] * static_cast<double>(std::max<std::int64_t>(0, used[h] - paid_[h]));
      cost += 1e-9 * static_cast<double>(used[h]);  // of two equally dear ways the smaller
    }
    return cost;
  }

  void add(std::size_t service, std::size_t alternative, std::int64_t sign) {
    for (const FleetPart& part : alternatives_[service][alternative].parts) {
      used_[part.hardware] += sign * part.gpus;
    }
  }

  void try_all(std::size_t service) {
    if (service == alternatives_.size()) {
      const double cost = cost_of(used_);
      if (cost < best_cost_) {
        best_cost_ = cost;
        best_ = choice_;
      }
      return;
    }
    for (std::size_t a = 0; a < alternatives_[service].size(); ++a) {
      choice_[service] = a;
      add(service, a, 1);
      if (cost_of(used_) < best_cost_) {  // costs only grow as services are added
        try_all(service + 1);
      }
      add(service, a, -1);
    }
  }

  /// Best change of two services at a time, from the cheapest of each service alone.
  void exchange() {
    used_.assign(request_.hardware.size(), 0);
    for (std::size_t s = 0; s < alternatives_.size(); ++s) {
      add(s, choice_[s], 1);
    }
    double current = cost_of(used_);
    for (bool improved = true; improved;) {
      improved = false;
      for (std::size_t s = 0; s < alternatives_.size(); ++s) {
        for (std::size_t t = s; t < alternatives_.size(); ++t) {
          for (std::size_t a = 0; a < alternatives_[s].size(); ++a) {
            for (std::size_t b = 0; b < (t == s ? 1 : alternatives_[t].size()); ++b) {
              const std::vector<std::int64_t> before = used_;
              add(s, choice_[s], -1);
              add(s, a, 1);
              if (t != s) {
                add(t, choice_[t], -1);
                add(t, b, 1);
              }
              const double cost = cost_of(used_);
              if (cost < current) {
                current = cost;
                choice_[s] = a;
                choice_[t] = t == s ? a : b;
                improved = true;
              } else {
                used_ = before;
              }
            }
          }
        }
      }
    }
    if (std::isfinite(current)) {
      best_cost_ = current;
      best_ = choice_;
    }
  }

  const PlanRequest& request_;
  const std::vector<double>& prices_;
  const std::vector<std::int64_t>& paid_;
  const std::vector<std::vector<Alternative>>& alternatives_;
  std::vector<std::size_t> choice_;
  std::vector<std::size_t> best_;
  std::vector<std::int64_t> used_;
  double best_cost_ = std::numeric_limits<double>::infinity();
};

/// The level of reserved GPUs that makes reserved plus rented hours cheapest.
std::int64_t best_reserve(const std::vector<std::int64_t>& used, std::int64_t owned,
                          double reserved_price, double price) {
  std::vector<std::int64_t> levels = {0};
  for (const std::int64_t gpus : used) {
    levels.push_back(std::max<std::int64_t>(0, gpus - owned));
  }
  std::sort(levels.begin(), levels.end());
  std::int64_t best = 0;
  double best_cost = std::numeric_limits<double>::infinity();
  for (const std::int64_t level : levels) {
    double cost = reserved_price * static_cast<double>(level) * static_cast<double>(used.size());
    for (const std::int64_t gpus : used) {
      cost += price * static_cast<double>(std::max<std::int64_t>(0, gpus - owned - level));
    }
    if (cost < best_cost) {
      best_cost = cost;
      best = level;
    }
  }
  return best;
}

/// Equally likely values of a standard normal: midpoints of `kNodes` strata.
const std::vector<double>& normal_nodes() {
  static const std::vector<double> nodes = [] {
    std::vector<double> list;
    for (int i = 0; i < kNodes; ++i) {
      list.push_back(normal_quantile((i + 0.5) / kNodes));
    }
    return list;
  }();
  return nodes;
}

/// P(k of n instances are up), largest k first, until what is left cannot matter.
std::vector<std::pair<std::int64_t, double>> up_distribution(std::int64_t n, double up) {
  std::vector<std::pair<std::int64_t, double>> list;
  double probability = std::pow(up, static_cast<double>(n));
  double sum = 0;
  for (std::int64_t k = n; k >= 0 && sum < 1 - 1e-6; --k) {
    list.emplace_back(k, probability);
    sum += probability;
    probability *= static_cast<double>(k) / static_cast<double>(n - k + 1) * (1 - up) / up;
  }
  return list;
}

}  // namespace

double availability(const FailureRates& failures, std::int64_t gpus) {
  if (failures.gpu_mtbf_hours <= 0) {
    return 1;
  }
  const double instance_mtbf = failures.gpu_mtbf_hours / static_cast<double>(gpus);
  return instance_mtbf / (instance_mtbf + failures.repair_hours);
}

std::int64_t with_spares(std::int64_t needed, double up, double confidence) {
  std::int64_t instances = needed;
  while (up < 1) {
    double enough = 0;
    for (const auto& [k, probability] : up_distribution(instances, up)) {
      enough += k >= needed ? probability : 0;
    }
    if (enough >= confidence || instances >= 2 * needed + 16) {
      break;
    }
    ++instances;
  }
  return instances;
}

double chance_of_limits(const FleetPlan& plan, const PlanRequest& request, std::size_t service,
                        const std::vector<FleetPart>& parts, double requests_per_s) {
  if (requests_per_s <= 0) {
    return 1;
  }
  const ServiceRequest& asked = request.services[service];
  const PoolLoad load = {0, asked.load.output_tokens, asked.slo};
  const std::vector<double>& nodes = normal_nodes();
  // [parts][error nodes][pools]: what each number of instances that are up can carry.
  std::vector<double> chance(nodes.size(), 1.0);  // [load nodes]
  for (const FleetPart& part : parts) {
    const std::vector<PoolPoint>& pools = plan.deployments[service][part.hardware];
    std::vector<double> part_chance(nodes.size(), 0.0);
    for (const double e : nodes) {
      std::vector<double> all(nodes.size(), 1.0);
      for (std::size_t p = 0; p < pools.size(); ++p) {
        std::vector<std::pair<double, double>> carried;  // (requests/s, probability)
        const double factor = std::exp(e * pools[p].error.deviation());
        for (const auto& [up, probability] : up_distribution(
                 part.instances[p], availability(request.failures, pools[p].layout.gpus))) {
          carried.emplace_back(capacity(pools[p], static_cast<double>(up), load, factor),
                               probability);
        }
        for (std::size_t u = 0; u < nodes.size(); ++u) {
          const double rate =
              requests_per_s * part.share * std::exp(nodes[u] * asked.load.uncertainty);
          double enough = 0;
          for (const auto& [rate_carried, probability] : carried) {
            enough += rate_carried >= rate ? probability : 0;
          }
          all[u] *= enough;
        }
      }
      for (std::size_t u = 0; u < nodes.size(); ++u) {
        part_chance[u] += all[u] / static_cast<double>(nodes.size());
      }
    }
    for (std::size_t u = 0; u < nodes.size(); ++u) {
      chance[u] *= part_chance[u];
    }
  }
  double sum = 0;
  for (const double one : chance) {
    sum += one;
  }
  return std::min(1.0, sum / static_cast<double>(nodes.size()));
}

FleetPlan plan_fleet(const PlanRequest& request, const std::vector<ServicePlan>& services,
                     const std::vector<double>& prices) {
  FleetPlan plan;
  plan.confidence = request.confidence;
  const std::size_t kinds = request.hardware.size();
  for (const ServicePlan& service : services) {
    std::vector<std::vector<PoolPoint>> by_hardware(kinds);
    for (std::size_t h = 0; h < kinds; ++h) {
      for (const auto* options : {&service.robust, &service.options}) {
        for (const PlanOption& option : *options) {
          if (by_hardware[h].empty() && option.cluster == request.hardware[h].cluster) {
            for (const PlannedPool& pool : option.pools) {
              by_hardware[h].push_back(pool.point);
            }
          }
        }
      }
    }
    plan.deployments.push_back(std::move(by_hardware));
  }
  const std::size_t periods = num_periods(request);
  std::vector<std::vector<std::vector<Alternative>>> alternatives(periods);
  for (std::size_t t = 0; t < periods; ++t) {
    for (std::size_t s = 0; s < services.size(); ++s) {
      alternatives[t].push_back(alternatives_of(request, plan, s, rate_in(request.services[s], t)));
      if (alternatives[t].back().empty()) {
        plan.problems.push_back(request.services[s].name + " in period " + std::to_string(t) +
                                ": no hardware serves it within its quota");
      }
    }
  }
  if (!plan.problems.empty()) {
    return plan;
  }
  const auto solve = [&](std::vector<std::int64_t> reserved) {
    FleetPlan best = plan;
    best.usd_per_day = std::numeric_limits<double>::infinity();
    for (int round = 0; round < 8; ++round) {
      FleetPlan now = plan;
      now.hardware.assign(kinds, {});
      std::vector<std::int64_t> paid(kinds);
      for (std::size_t h = 0; h < kinds; ++h) {
        now.hardware[h].owned = request.hardware[h].owned_gpus;
        now.hardware[h].used.assign(periods, 0);
        paid[h] = now.hardware[h].owned + reserved[h];
      }
      for (std::size_t t = 0; t < periods; ++t) {
        PeriodSearch search(request, prices, paid, alternatives[t]);
        const std::vector<std::size_t> choice = search.best();
        if (choice.empty()) {
          now.problems.push_back("period " + std::to_string(t) +
                                 ": the quotas do not hold all services");
          return now;
        }
        FleetPeriod period;
        for (std::size_t s = 0; s < choice.size(); ++s) {
          for (const FleetPart& part : alternatives[t][s][choice[s]].parts) {
            now.hardware[part.hardware].used[t] += part.gpus;
            period.parts.push_back(part);
          }
        }
        now.periods.push_back(std::move(period));
      }
      std::vector<std::int64_t> next(kinds, 0);
      for (std::size_t h = 0; h < kinds; ++h) {
        FleetHardware& hardware = now.hardware[h];
        if (request.hardware[h].usd_per_reserved_gpu_hour) {
          hardware.reserved =
              best_reserve(hardware.used, hardware.owned,
                           *request.hardware[h].usd_per_reserved_gpu_hour, prices[h]);
          now.usd_per_day += *request.hardware[h].usd_per_reserved_gpu_hour *
                             static_cast<double>(hardware.reserved) * 24.0;
        }
        next[h] = hardware.reserved;
        for (std::size_t t = 0; t < periods; ++t) {
          const std::int64_t rented =
              std::max<std::int64_t>(0, hardware.used[t] - hardware.owned - hardware.reserved);
          hardware.most_on_demand = std::max(hardware.most_on_demand, rented);
          const double usd =
              prices[h] * static_cast<double>(rented) * 24.0 / static_cast<double>(periods);
          now.periods[t].usd += usd;
          now.usd_per_day += usd;
        }
      }
      if (now.usd_per_day < best.usd_per_day) {
        best = now;
      }
      if (next == reserved) {
        break;
      }
      reserved = next;
    }
    return best;
  };
  FleetPlan best = solve(std::vector<std::int64_t>(kinds, 0));
  // Reserving as much as one kind could need at most can make that kind the cheapest for all.
  for (std::size_t h = 0; h < kinds && best.problems.empty(); ++h) {
    if (request.hardware[h].usd_per_reserved_gpu_hour) {
      std::vector<std::int64_t> start(kinds, 0);
      start[h] = request.hardware[h].max_gpus - request.hardware[h].owned_gpus;
      FleetPlan other = solve(start);
      if (other.problems.empty() && other.usd_per_day < best.usd_per_day) {
        best = std::move(other);
      }
    }
  }
  for (std::size_t t = 0; t < best.periods.size(); ++t) {
    FleetPeriod& period = best.periods[t];
    for (std::size_t s = 0; s < services.size(); ++s) {
      std::vector<FleetPart> parts;
      for (const FleetPart& part : period.parts) {
        if (part.service == s) {
          parts.push_back(part);
        }
      }
      period.p_slo.push_back(
          chance_of_limits(best, request, s, parts, rate_in(request.services[s], t)));
    }
  }
  return best;
}

}  // namespace moesim

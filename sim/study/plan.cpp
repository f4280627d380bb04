// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "sim/study/plan_confirm.h"
#include "sim/study/plan_growth.h"
#include "sim/study/plan_scenarios.h"
#include "sim/study/plan_sensitivity.h"
#include "sim/study/queueing.h"
#include "sim/study/sweep_table.h"

namespace moesim {
namespace {

constexpr std::size_t kPerKind = 3;    // layouts shown of a cluster and mode
constexpr std::size_t kConfirmed = 4;  // finalists run as events ...
constexpr std::size_t kServed = 2;     // ... and with their requests over time

/// Layouts of the search on one cluster that could exist at all.
std::vector<PoolLayout> layouts_on(const HardwareChoice& hardware, const PlanSearch& search) {
  std::vector<std::int64_t> sizes = search.gpus_per_instance;
  if (sizes.empty()) {
    for (std::int64_t gpus = 1; gpus <= hardware.max_gpus; gpus *= 2) {
      sizes.push_back(gpus);
    }
  }
  std::vector<PoolLayout> layouts;
  for (const std::int64_t gpus : sizes) {
    for (const std::int64_t tensor : search.tensor) {
      for (const OverlapRule overlap : search.overlap) {
        const bool exchanges = tensor < gpus;  // one replica has no exchange to hide
        if (tensor <= gpus && gpus <= hardware.max_gpus &&
            (exchanges || overlap == search.overlap.front())) {
          layouts.push_back({hardware.cluster, gpus, tensor, overlap});
        }
      }
    }
  }
  return layouts;
}

std::vector<PoolRole> roles_of(const PlanSearch& search) {
  std::vector<PoolRole> roles;
  for (const ServingMode mode : search.modes) {
    if (mode == ServingMode::aggregated) {
      roles.push_back(PoolRole::aggregated);
    } else {
      roles.push_back(PoolRole::prefill);
      roles.push_back(PoolRole::decode);
    }
  }
  return roles;
}

struct LayoutPoints {
  std::vector<PoolPoint> points;
  std::string reason;
  std::int64_t evaluated = 0;
};

LayoutPoints points_of(const ServiceRequest& service, const PlanRequest& request, PoolRole role,
                       const PoolLayout& layout, const CardLibrary& cards) {
  LayoutPoints found;
  std::optional<PoolModel> model;
  try {
    model.emplace(service, role, layout, cards, request.seed, request.model_error);
  } catch (const InputError& error) {
    const Diagnostic& first = error.diagnostics().front();
    found.reason = first.pointer + " does not fit the model or the nodes";
    if (first.pointer == "/model" || first.pointer == "/cluster" || first.pointer.empty()) {
      throw;
    }
    return found;
  }
  const auto keep = [&found](const PoolPoint& point, bool fits) {
    ++found.evaluated;
    if (fits) {
      found.points.push_back(point);
    }
    return fits;
  };
  bool fits = false;
  if (role == PoolRole::prefill) {
    for (const double prompts : request.search.prompts_per_step) {
      const PoolPoint point = model->reading(prompts, fits);
      keep(point, fits);
    }
  } else {
    const std::vector<double> one = {0};
    for (const double chunk : role == PoolRole::aggregated ? request.search.chunk_tokens : one) {
      for (const double batch : request.search.batch_per_gpu) {
        const PoolPoint point = model->generating(batch, chunk, fits);
        keep(point, fits);
      }
    }
  }
  if (found.points.empty()) {
    found.reason = "out of memory at every batch";
  }
  return found;
}

double price_for(const std::string& cluster, const PlanRequest& request,
                 const std::vector<double>& prices) {
  for (std::size_t h = 0; h < request.hardware.size(); ++h) {
    if (request.hardware[h].cluster == cluster) {
      return prices[h];
    }
  }
  return 0;
}

/// A sized pool, cheap to compare; ties go to the earlier point.
struct Sized {
  const PoolPoint* point = nullptr;
  std::int64_t instances = 0;
  std::int64_t gpus = 0;
};

/// Fewest GPUs first; one entry a layout (its best batch), at most `count`.
std::vector<Sized> fewest_gpus(const std::vector<const PoolPoint*>& points, const PoolLoad& load,
                               std::int64_t max_gpus, double z, std::size_t count) {
  std::vector<Sized> sized;
  for (const PoolPoint* point : points) {
    const double time_factor = z == 0 ? 1.0 : std::exp(z * point->error.deviation());
    const std::int64_t instances =
        instances_needed(*point, load, max_gpus / point->layout.gpus, time_factor);
    if (instances > 0) {
      sized.push_back({point, instances, instances * point->layout.gpus});
    }
  }
  std::stable_sort(sized.begin(), sized.end(), [](const Sized& a, const Sized& b) {
    return a.gpus != b.gpus ? a.gpus < b.gpus : a.point->step_s < b.point->step_s;
  });
  std::vector<Sized> kept;
  std::set<std::tuple<std::int64_t, std::int64_t, OverlapRule>> seen;
  for (const Sized& one : sized) {
    const PoolLayout& layout = one.point->layout;
    if (kept.size() < count && seen.insert({layout.gpus, layout.tensor, layout.overlap}).second) {
      kept.push_back(one);
    }
  }
  return kept;
}

PlanOption option_of(const std::string& cluster, ServingMode mode, const std::vector<Sized>& pools,
                     const ServiceRequest& service, double price) {
  PlanOption option;
  option.cluster = cluster;
  option.mode = mode;
  for (const Sized& pool : pools) {
    option.pools.emplace_back();
    option.pools.back().point = *pool.point;
    option.pools.back().instances = pool.instances;
  }
  size_up(option, service, price);
  return option;
}

void mark_alike(std::vector<PlanOption>& options) {
  // Half a band in standard deviations of ln cost.
  const auto spread = [](const PlanOption& option) {
    return std::isfinite(option.usd_high) && option.usd_low > 0
               ? std::log(option.usd_high / option.usd_low) / (2 * kHalfWidthOf80Percent)
               : std::numeric_limits<double>::infinity();
  };
  if (options.empty() || options.front().usd_per_hour <= 0) {
    return;
  }
  const double best = spread(options.front());
  for (std::size_t i = 1; i < options.size(); ++i) {
    const double other = spread(options[i]);
    const double shared = options[i].cluster == options.front().cluster
                              ? options[i].error.correlation(options.front().error)
                              : 0.0;
    const double deviation = std::sqrt(best * best + other * other - 2 * shared * best * other);
    const double distance = std::log(options[i].usd_per_hour / options.front().usd_per_hour);
    options[i].same_as_best = !(distance > kHalfWidthOf80Percent * deviation);
  }
}

}  // namespace

PoolPoints pool_points(const ServiceRequest& service, const PlanRequest& request,
                       const std::vector<PoolLayout>& layouts, const CardLibrary& cards) {
  struct Task {
    PoolRole role;
    const PoolLayout* layout;
  };
  std::vector<Task> tasks;
  for (const PoolLayout& layout : layouts) {
    for (const PoolRole role : roles_of(request.search)) {
      tasks.push_back({role, &layout});
    }
  }
  std::vector<LayoutPoints> found(tasks.size());
  tbb::parallel_for(std::size_t{0}, tasks.size(), [&](std::size_t i) {
    found[i] = points_of(service, request, tasks[i].role, *tasks[i].layout, cards);
  });
  PoolPoints all;
  std::map<std::string, std::int64_t> reasons;
  for (LayoutPoints& one : found) {
    all.points.insert(all.points.end(), one.points.begin(), one.points.end());
    all.evaluated += one.evaluated;
    if (!one.reason.empty()) {
      reasons[one.reason]++;
    }
  }
  all.left_out.assign(reasons.begin(), reasons.end());
  return all;
}

PoolPoints pool_points(const ServiceRequest& service, const PlanRequest& request,
                       const CardLibrary& cards) {
  std::vector<PoolLayout> layouts;
  for (const HardwareChoice& hardware : request.hardware) {
    const std::vector<PoolLayout> some = layouts_on(hardware, request.search);
    layouts.insert(layouts.end(), some.begin(), some.end());
  }
  return pool_points(service, request, layouts, cards);
}

bool is_better(const PlanOption& a, const PlanOption& b) {
  return a.usd_per_hour != b.usd_per_hour ? a.usd_per_hour < b.usd_per_hour : a.tpot_s < b.tpot_s;
}

void size_up(PlanOption& option, const ServiceRequest& service, double price) {
  const PoolLoad load = {service.load.requests_per_s, service.load.output_tokens, service.slo};
  option.gpus = 0;
  option.ttft_s = 0;
  option.tpot_s = 0;
  option.error = {};
  for (PlannedPool& pool : option.pools) {
    const std::int64_t gpus = pool.instances * pool.point.layout.gpus;
    option.gpus += gpus;
    pool.answer = answer(pool.point, static_cast<double>(pool.instances), load);
    option.ttft_s = std::max(option.ttft_s, pool.answer.ttft_s);
    option.tpot_s = std::max(option.tpot_s, pool.answer.tpot_s);
    option.error = pool.point.error.mixed(
        option.error, static_cast<double>(gpus) / static_cast<double>(option.gpus));
  }
  option.usd_per_hour = price * static_cast<double>(option.gpus);
  option.tokens_per_s_per_gpu =
      load.requests_per_s * load.output_tokens / static_cast<double>(option.gpus);
  option.tokens_per_s_per_user = 1.0 / option.tpot_s;
}

std::vector<PlanOption> cheapest_options(const PoolPoints& points, const ServiceRequest& service,
                                         const PlanRequest& request,
                                         const std::vector<double>& prices, double z,
                                         std::size_t per_kind) {
  const PoolLoad load = {service.load.requests_per_s, service.load.output_tokens, service.slo};
  std::vector<PlanOption> options;
  for (const HardwareChoice& hardware : request.hardware) {
    const double price = price_for(hardware.cluster, request, prices);
    const auto with_role = [&](PoolRole role) {
      std::vector<const PoolPoint*> some;
      for (const PoolPoint& point : points.points) {
        if (point.role == role && point.layout.cluster == hardware.cluster) {
          some.push_back(&point);
        }
      }
      return some;
    };
    for (const ServingMode mode : request.search.modes) {
      if (mode == ServingMode::aggregated) {
        for (const Sized& one :
             fewest_gpus(with_role(PoolRole::aggregated), load, hardware.max_gpus, z, per_kind)) {
          options.push_back(option_of(hardware.cluster, mode, {one}, service, price));
        }
        continue;
      }
      // Pools do not touch each other's limits, so the cheapest pair is the pair of the cheapest.
      const std::vector<Sized> reading =
          fewest_gpus(with_role(PoolRole::prefill), load, hardware.max_gpus, z, 1);
      if (reading.empty()) {
        continue;
      }
      for (const Sized& one : fewest_gpus(with_role(PoolRole::decode), load,
                                          hardware.max_gpus - reading[0].gpus, z, per_kind)) {
        options.push_back(option_of(hardware.cluster, mode, {reading[0], one}, service, price));
      }
    }
  }
  std::stable_sort(options.begin(), options.end(), is_better);
  return options;
}

std::vector<GpuPrice> prices_of(const PlanRequest& request, const CardLibrary& cards,
                                const std::string& file) {
  std::vector<GpuPrice> prices;
  Diagnostics diagnostics;
  for (std::size_t h = 0; h < request.hardware.size(); ++h) {
    try {
      const std::string pointer = "/hardware/" + std::to_string(h) + "/cluster";
      const auto cluster = cards.shared_cluster(request.hardware[h].cluster, file, pointer);
      const auto device = cards.shared_device(cluster->node_groups.front().device, file, pointer);
      prices.push_back(price_of(request.hardware[h], *device, file));
    } catch (const InputError& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        diagnostics.add(diagnostic);
      }
    }
  }
  for (std::size_t s = 0; s < request.services.size(); ++s) {
    try {
      cards.shared_model(request.services[s].model, file,
                         "/services/" + std::to_string(s) + "/model");
    } catch (const InputError& error) {
      for (const Diagnostic& diagnostic : error.diagnostics()) {
        diagnostics.add(diagnostic);
      }
    }
  }
  diagnostics.throw_if_any();
  return prices;
}

namespace {

std::vector<FrontPoint> front_of(const PoolPoints& points, const ServiceRequest& service,
                                 const PlanRequest& request) {
  std::vector<FrontPoint> all;
  for (const HardwareChoice& hardware : request.hardware) {
    double reading = 0;  // requests/s and GPU of the best prefill pool that keeps the first token
    TimeError reading_error;
    for (const PoolPoint& point : points.points) {
      if (point.role == PoolRole::prefill && point.layout.cluster == hardware.cluster &&
          point.prompt_s + point.transfer_s <= service.slo.ttft_s) {
        const double rate = point.prompt_requests_per_s / static_cast<double>(point.layout.gpus);
        if (rate > reading) {
          reading = rate;
          reading_error = point.error;
        }
      }
    }
    for (const ServingMode mode : request.search.modes) {
      const PoolRole role =
          mode == ServingMode::aggregated ? PoolRole::aggregated : PoolRole::decode;
      std::vector<const PoolPoint*> some;
      std::vector<double> rate;
      std::vector<double> user;
      for (const PoolPoint& point : points.points) {
        if (point.role == role && point.layout.cluster == hardware.cluster &&
            (role == PoolRole::aggregated ? point.prompt_s <= service.slo.ttft_s : reading > 0)) {
          some.push_back(&point);
          rate.push_back(limit_rate(point, service.load.output_tokens, reading));
          user.push_back(1.0 / point.step_s);
        }
      }
      for (const std::size_t i : pareto_front(rate, user)) {
        // GPUs that generate, of all: the share of the cost that their error moves.
        const double generating =
            role == PoolRole::aggregated
                ? 1.0
                : rate[i] * static_cast<double>(some[i]->layout.gpus) /
                      (some[i]->slot_requests_per_s * service.load.output_tokens);
        const double band = std::exp(kHalfWidthOf80Percent *
                                     some[i]->error.mixed(reading_error, generating).deviation());
        all.push_back({hardware.cluster, mode, some[i]->layout, some[i]->batch_per_gpu, rate[i],
                       user[i], rate[i] / band, rate[i] * band});
      }
    }
  }
  return all;
}

void fill_in_bands(std::vector<PlanOption>& options, const PoolPoints& points,
                   const ServiceRequest& service, const PlanRequest& request,
                   const std::vector<double>& prices) {
  const auto cost_at = [&](const PlanOption& option, double z) {
    PlanRequest one = request;
    one.search.modes = {option.mode};
    std::erase_if(one.hardware,
                  [&](const HardwareChoice& h) { return h.cluster != option.cluster; });
    const double price = price_for(option.cluster, request, prices);
    const std::vector<PlanOption> best = cheapest_options(
        points, service, one, std::vector<double>(one.hardware.size(), price), z, 1);
    return best.empty() ? std::numeric_limits<double>::infinity() : best.front().usd_per_hour;
  };
  std::map<std::pair<std::string, ServingMode>, std::pair<double, double>> bands;
  for (PlanOption& option : options) {
    const auto [band, fresh] = bands.try_emplace({option.cluster, option.mode});
    if (fresh) {
      band->second = {cost_at(option, -kHalfWidthOf80Percent),
                      cost_at(option, kHalfWidthOf80Percent)};
    }
    option.usd_low = std::min(band->second.first, option.usd_per_hour);
    option.usd_high = std::max(band->second.second, option.usd_per_hour);
  }
}

}  // namespace

ServicePlan plan_service(const ServiceRequest& service, const PlanRequest& request,
                         const CardLibrary& cards, const std::string& file,
                         const PlanOptions& options) {
  const auto report = [&options](double fraction) {
    if (options.progress) {
      options.progress(fraction);
    }
  };
  std::vector<double> prices;
  for (const GpuPrice& price : prices_of(request, cards, file)) {
    prices.push_back(price.usd_per_hour);
  }
  ServicePlan plan;
  plan.service = service;
  const PoolPoints points = pool_points(service, request, cards);
  report(0.4);
  plan.left_out = points.left_out;
  plan.evaluated = points.evaluated;
  plan.front = front_of(points, service, request);
  if (options.front_ready) {
    options.front_ready();
  }
  const std::size_t candidates = options.confirm ? 2 * kPerKind : kPerKind;
  plan.options = cheapest_options(points, service, request, prices, 0, candidates);
  plan.robust =
      cheapest_options(points, service, request, prices, normal_quantile(request.confidence), 1);
  fill_in_scenarios(plan.robust, service, request, cards);
  fill_in_scenarios(plan.options, service, request, cards);
  if (options.confirm) {
    std::int64_t refused = 0;
    plan.options =
        served_options(std::move(plan.options), service, request, cards, prices, kPerKind, refused);
    if (refused > 0) {
      plan.left_out.emplace_back("too slow for its requests over time with the GPUs allowed",
                                 refused);
    }
    std::int64_t not_robust = 0;
    plan.robust =
        served_options(std::move(plan.robust), service, request, cards, prices, 1, not_robust);
  }
  fill_in_bands(plan.options, points, service, request, prices);
  mark_alike(plan.options);
  for (const PoolPoint& point : points.points) {
    if (point.role != PoolRole::prefill) {
      const bool first = plan.fewest_gpus == 0;
      plan.least_tpot_s = first ? point.step_s : std::min(plan.least_tpot_s, point.step_s);
      plan.fewest_gpus = first ? point.layout.gpus : std::min(plan.fewest_gpus, point.layout.gpus);
    }
  }
  report(0.5);
  if (!plan.options.empty()) {
    plan.breakages = breakages_of(plan.options.front(), service);
    plan.launch = launch_of(plan.options.front(), service, cards);
    plan.tornado = tornado_of(points, plan.options, service, request, prices, cards);
    report(0.7);
    // The cheapest of every kind, so that modes and clusters are compared on the same footing.
    std::set<std::pair<std::string, ServingMode>> seen;
    for (std::size_t i = 0; options.confirm && i < plan.options.size(); ++i) {
      std::vector<Confirmation> list;
      if (seen.insert({plan.options[i].cluster, plan.options[i].mode}).second &&
          seen.size() <= kConfirmed) {
        list = confirmed(plan.options[i], service, cards, seen.size() <= kServed);
      }
      plan.confirmations.push_back(std::move(list));
      report(0.7 + 0.3 * static_cast<double>(i + 1) / static_cast<double>(plan.options.size()));
    }
  }
  report(1);
  return plan;
}

}  // namespace moesim

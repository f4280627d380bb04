// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_sensitivity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "sim/base/quantity_text.h"

namespace moesim {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kMostLoad = 16;  // times the planned load, up to which breakages are sought

/// Layouts that came out on top of any cluster and mode: what is replanned with changed lengths.
std::vector<PoolLayout> finalist_layouts(const std::vector<PlanOption>& options) {
  std::vector<PoolLayout> layouts;
  std::set<std::tuple<std::string, std::int64_t, std::int64_t, OverlapRule>> seen;
  for (const PlanOption& option : options) {
    for (const PlannedPool& pool : option.pools) {
      const PoolLayout& layout = pool.point.layout;
      if (seen.insert({layout.cluster, layout.gpus, layout.tensor, layout.overlap}).second) {
        layouts.push_back(layout);
      }
    }
  }
  return layouts;
}

double cheapest(const PoolPoints& points, const ServiceRequest& service, const PlanRequest& request,
                const std::vector<double>& prices, double z = 0) {
  const std::vector<PlanOption> options = cheapest_options(points, service, request, prices, z, 1);
  return options.empty() ? kInfinite : options.front().usd_per_hour;
}

}  // namespace

std::vector<TornadoBar> tornado_of(const PoolPoints& points, const std::vector<PlanOption>& options,
                                   const ServiceRequest& service, const PlanRequest& request,
                                   const std::vector<double>& prices, const CardLibrary& cards) {
  std::vector<TornadoBar> bars;
  const std::vector<PoolLayout> layouts = finalist_layouts(options);
  // Arithmetic on the same points ...
  const auto resize = [&](const std::string& name, const std::string& unit, double value,
                          const auto& set) {
    TornadoBar bar;
    bar.name = name;
    for (const double factor : {0.8, 1.25}) {
      ServiceRequest changed = service;
      set(changed, value * factor);
      (factor < 1 ? bar.low_text : bar.high_text) = quantity_text(value * factor, unit);
      (factor < 1 ? bar.usd_low : bar.usd_high) = cheapest(points, changed, request, prices);
    }
    bars.push_back(bar);
  };
  resize("/load/requests_per_s", "", service.load.requests_per_s,
         [](ServiceRequest& s, double v) { s.load.requests_per_s = v; });
  resize("/slo/ttft_s", "s", service.slo.ttft_s,
         [](ServiceRequest& s, double v) { s.slo.ttft_s = v; });
  resize("/slo/tpot_s", "s", service.slo.tpot_s,
         [](ServiceRequest& s, double v) { s.slo.tpot_s = v; });
  TornadoBar error;
  error.name = "times of steps";
  const double deviation = options.front().error.deviation();
  const auto factor_text = [&](double z) {
    return "their " + std::string(z < 0 ? "10%" : "90%") + " quantile (" +
           plain_number_text(std::exp(z * deviation), 3) + " x in the cheapest)";
  };
  error.low_text = factor_text(-kHalfWidthOf80Percent);
  error.high_text = factor_text(kHalfWidthOf80Percent);
  error.usd_low = cheapest(points, service, request, prices, -kHalfWidthOf80Percent);
  error.usd_high = cheapest(points, service, request, prices, kHalfWidthOf80Percent);
  bars.push_back(error);
  for (std::size_t h = 0; h < request.hardware.size(); ++h) {
    if (request.hardware[h].cluster != options.front().cluster) {
      continue;
    }
    TornadoBar bar;
    bar.name = "price of " + request.hardware[h].cluster;
    for (const double change : {0.8, 1.25}) {
      std::vector<double> changed = prices;
      changed[h] *= change;
      (change < 1 ? bar.low_text : bar.high_text) = "$" + plain_number_text(changed[h]) + "/h";
      (change < 1 ? bar.usd_low : bar.usd_high) = cheapest(points, service, request, changed);
    }
    bars.push_back(bar);
  }
  // ... and new points for what changes the steps themselves.
  const auto replan = [&](const std::string& name, double low, double high, const auto& set) {
    TornadoBar bar;
    bar.name = name;
    for (const double value : {low, high}) {
      ServiceRequest changed = service;
      set(changed, value);
      const double cost =
          cheapest(pool_points(changed, request, layouts, cards), changed, request, prices);
      (value == low ? bar.low_text : bar.high_text) = plain_number_text(value, 4);
      (value == low ? bar.usd_low : bar.usd_high) = cost;
    }
    bars.push_back(bar);
  };
  replan("/load/prompt_tokens", service.load.prompt_tokens * 0.8, service.load.prompt_tokens * 1.25,
         [](ServiceRequest& s, double v) { s.load.prompt_tokens = v; });
  replan("/load/output_tokens", service.load.output_tokens * 0.8, service.load.output_tokens * 1.25,
         [](ServiceRequest& s, double v) { s.load.output_tokens = v; });
  if (service.routing.kind == RoutingModel::gumbel) {
    replan("/routing/sigma", 0, std::max(0.7, 1.5 * service.routing.sigma),
           [](ServiceRequest& s, double v) { s.routing.sigma = v; });
  }
  const auto width = [](const TornadoBar& bar) {
    return std::isfinite(bar.usd_low) && std::isfinite(bar.usd_high)
               ? std::fabs(bar.usd_high - bar.usd_low)
               : kInfinite;
  };
  std::stable_sort(bars.begin(), bars.end(),
                   [&](const TornadoBar& a, const TornadoBar& b) { return width(a) > width(b); });
  return bars;
}

std::vector<Breakage> breakages_of(const PlanOption& option, const ServiceRequest& service) {
  std::vector<Breakage> list;
  for (const PlannedPool& pool : option.pools) {
    const auto add = [&](const std::string& limit, bool PoolAnswer::*ok) {
      const auto holds = [&](double factor) {
        const PoolLoad load = {service.load.requests_per_s * factor, service.load.output_tokens,
                               service.slo};
        return answer(pool.point, static_cast<double>(pool.instances), load).*ok;
      };
      double low = 1;
      double high = kMostLoad;
      if (holds(high)) {
        list.push_back({pool.point.role, limit, kInfinite});
        return;
      }
      for (int i = 0; i < 40; ++i) {
        const double middle = 0.5 * (low + high);
        (holds(middle) ? low : high) = middle;
      }
      list.push_back({pool.point.role, limit, low});
    };
    if (pool.point.role != PoolRole::prefill) {
      add("sequences in flight (/workload/batch_per_gpu)", &PoolAnswer::slots_ok);
    }
    if (pool.point.role != PoolRole::decode) {
      add("time to first token", &PoolAnswer::ttft_ok);
      add("prompts read a second", &PoolAnswer::prompts_ok);
    }
  }
  std::stable_sort(list.begin(), list.end(), [](const Breakage& a, const Breakage& b) {
    return a.load_factor < b.load_factor;
  });
  return list;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/study/plan_growth.h"

#include <tbb/parallel_for.h>
#include <algorithm>
#include <cmath>
#include <map>

#include "sim/run/serving_metrics.h"
#include "sim/serving/steady_state.h"
#include "sim/study/plan_scenarios.h"

namespace moesim {
namespace {

/// One more, or as many as the missing rate says.
std::int64_t more_instances(std::int64_t now, double factor) {
  const double wanted = std::ceil(static_cast<double>(now) * std::min(factor, 16.0));
  return std::max(now + 1, static_cast<std::int64_t>(wanted));
}

}  // namespace

bool grow_to_serve(PlanOption& option, const ServiceRequest& service, const CardLibrary& cards,
                   std::int64_t max_gpus, double price) {
  while (option.gpus <= max_gpus) {
    const Scenario scenario = resolve(serving_scenario(option, service, cards), cards, "plan");
    const RequestStream stream(scenario);
    ServingPlan plan = serving_plan(scenario, stream);
    SimulationResult memory;
    if (!check_serving_memory(memory, plan)) {
      return false;  // more instances do not help
    }
    const SteadyState state = steady_state(scenario, plan, stream);
    const double rate = service.load.requests_per_s;
    PlannedPool& generating = option.pools.back();
    PlannedPool& reading = option.pools.front();  // the same pool when aggregated
    if (!(state.capacity_per_s > rate)) {
      PlannedPool& limiting = state.prefill_limits ? reading : generating;
      limiting.instances = more_instances(
          limiting.instances, state.capacity_per_s > 0 ? rate / state.capacity_per_s : 16.0);
    } else if (state.tpot_s > service.slo.tpot_s) {
      generating.instances = more_instances(generating.instances, 1);
    } else if (state.ttft_s > service.slo.ttft_s) {
      reading.instances = more_instances(reading.instances, 1);
    } else {
      option.ttft_s = std::max(option.ttft_s, state.ttft_s);
      option.tpot_s = std::max(option.tpot_s, state.tpot_s);
      option.tokens_per_s_per_user = 1.0 / option.tpot_s;
      return true;
    }
    size_up(option, service, price);
  }
  return false;
}

std::vector<PlanOption> served_options(std::vector<PlanOption> options,
                                       const ServiceRequest& service, const PlanRequest& request,
                                       const CardLibrary& cards, const std::vector<double>& prices,
                                       std::size_t per_kind, std::int64_t& refused) {
  std::vector<char> serves(options.size(), 0);
  tbb::parallel_for(std::size_t{0}, options.size(), [&](std::size_t i) {
    for (std::size_t h = 0; h < request.hardware.size(); ++h) {
      if (request.hardware[h].cluster == options[i].cluster) {
        serves[i] =
            grow_to_serve(options[i], service, cards, request.hardware[h].max_gpus, prices[h]) ? 1
                                                                                               : 0;
      }
    }
  });
  std::vector<PlanOption> served;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (serves[i] != 0) {
      served.push_back(std::move(options[i]));
    } else {
      ++refused;
    }
  }
  std::stable_sort(served.begin(), served.end(), is_better);
  std::map<std::pair<std::string, ServingMode>, std::size_t> kept;
  std::erase_if(served, [&](const PlanOption& option) {
    return ++kept[{option.cluster, option.mode}] > per_kind;
  });
  return served;
}

}  // namespace moesim

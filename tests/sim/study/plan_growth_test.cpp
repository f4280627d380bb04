// SPDX-License-Identifier: Apache-2.0
// Planned deployments are large enough for their requests over time, not only for their steps.
#include "sim/study/plan_growth.h"

#include <gtest/gtest.h>

#include "sim/run/simulate.h"
#include "sim/study/plan_scenarios.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using testing::cards;

PlanRequest request_of(double requests_per_s) {
  PlanRequest request;
  ServiceRequest service;
  service.name = "chat";
  service.model = "mixtral_8x7b";
  service.load = {.requests_per_s = requests_per_s, .prompt_tokens = 1000, .output_tokens = 200};
  service.slo = {.ttft_s = 1, .tpot_s = 0.03, .quantile = 0.9};
  request.services = {service};
  request.hardware = {{.cluster = "cluster_h100_ib400", .max_gpus = 512}};
  request.search.tensor = {1, 2};
  request.search.overlap = {OverlapRule::serial};
  request.search.gpus_per_instance = {8};
  request.search.batch_per_gpu = {4, 16, 64};
  request.search.chunk_tokens = {2048};
  request.search.prompts_per_step = {1, 4};
  return request;
}

std::vector<PlanOption> options_of(const PlanRequest& request) {
  const ServiceRequest& service = request.services.front();
  std::vector<PlanOption> options =
      cheapest_options(pool_points(service, request, cards()), service, request, {2.0});
  fill_in_scenarios(options, service, request, cards());
  return options;
}

bool serves(const PlanOption& option, const ServiceRequest& service) {
  ScenarioSpec spec = serving_scenario(option, service, cards());
  spec.fidelity = Fidelity::analytic;
  RunOptions quiet;
  quiet.what_ifs = false;
  return simulate(resolve(spec, cards(), "plan"), quiet).feasibility.ok;
}

TEST(PlanGrowth, AnOptionThatServesItsLoadStaysAsItIs) {
  const PlanRequest request = request_of(20);
  for (PlanOption& option : options_of(request)) {
    for (PlannedPool& pool : option.pools) {
      pool.instances *= 4;
    }
    const std::int64_t before = option.pools.front().instances;
    ASSERT_TRUE(serves(option, request.services.front()));
    EXPECT_TRUE(grow_to_serve(option, request.services.front(), cards(), 4096, 2.0));
    EXPECT_EQ(option.pools.front().instances, before);
  }
}

TEST(PlanGrowth, OneTooSmallGrowsUntilItServes) {
  const PlanRequest request = request_of(200);
  const ServiceRequest& service = request.services.front();
  std::vector<PlanOption> options = options_of(request);
  ASSERT_GE(options.size(), 2u);
  for (PlanOption& option : options) {
    for (PlannedPool& pool : option.pools) {
      pool.instances = 1;
    }
    ASSERT_FALSE(serves(option, service)) << choice_name(option.mode);
    ASSERT_TRUE(grow_to_serve(option, service, cards(), 4096, 2.0));
    EXPECT_TRUE(serves(option, service)) << choice_name(option.mode);
    std::int64_t gpus = 0;
    for (const PlannedPool& pool : option.pools) {
      gpus += pool.instances * pool.point.layout.gpus;
    }
    EXPECT_EQ(option.gpus, gpus);
    EXPECT_DOUBLE_EQ(option.usd_per_hour, 2.0 * static_cast<double>(gpus));
  }
}

TEST(PlanGrowth, WithoutGpusToGrowIntoItIsRefused) {
  const PlanRequest request = request_of(200);
  std::vector<PlanOption> options = options_of(request);
  const std::size_t count = options.size();
  for (PlanOption& option : options) {
    for (PlannedPool& pool : option.pools) {
      pool.instances = 1;
    }
    option.gpus = 8;
  }
  PlanRequest few = request;
  few.hardware.front().max_gpus = 16;
  std::int64_t refused = 0;
  EXPECT_TRUE(
      served_options(options, few.services.front(), few, cards(), {2.0}, 3, refused).empty());
  EXPECT_EQ(refused, static_cast<std::int64_t>(count));
}

TEST(PlanGrowth, EveryOptionOfAPlanServesItsLoad) {
  for (const double rate : {20.0, 150.0}) {
    const PlanRequest request = request_of(rate);
    const ServicePlan plan = plan_service(request.services.front(), request, cards(), "request");
    ASSERT_FALSE(plan.options.empty());
    for (const PlanOption& option : plan.options) {
      EXPECT_TRUE(serves(option, request.services.front()))
          << rate << " " << choice_name(option.mode);
    }
  }
}

}  // namespace
}  // namespace moesim

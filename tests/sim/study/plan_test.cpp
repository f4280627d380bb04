// SPDX-License-Identifier: Apache-2.0
// The planner: against brute force on small spaces, queueing against its theory, fleets against
// simulation, and its answers as reports.
#include "sim/study/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "sim/base/random.h"
#include "sim/moe/token_routing_law.h"
#include "sim/report/plan_report.h"
#include "sim/run/simulate.h"
#include "sim/study/queueing.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using testing::cards;
using ::testing::HasSubstr;

PlanRequest small_request() {
  PlanRequest request;
  ServiceRequest service;
  service.name = "chat";
  service.model = "mixtral_8x7b";
  service.load = {.requests_per_s = 20, .prompt_tokens = 1000, .output_tokens = 200};
  service.slo = {.ttft_s = 1, .tpot_s = 0.03, .quantile = 0.9};
  request.services = {service};
  request.hardware = {{.cluster = "cluster_h100_ib400", .max_gpus = 64}};
  request.search.tensor = {1, 2};
  request.search.overlap = {OverlapRule::serial};
  request.search.gpus_per_instance = {2, 4, 8};
  request.search.batch_per_gpu = {4, 16, 64};
  request.search.chunk_tokens = {2048};
  request.search.prompts_per_step = {1, 4};
  return request;
}

// --- queueing

TEST(Queueing, NormalQuantilesInvertTheDistribution) {
  EXPECT_NEAR(normal_quantile(0.9), 1.2815515655, 1e-6);  // erf is accurate to 1e-7
  EXPECT_NEAR(normal_quantile(0.5), 0, 1e-12);
  EXPECT_NEAR(normal_cdf(normal_quantile(0.999)), 0.999, 1e-12);
}

TEST(Queueing, WaitOfOneConstantServerFollowsSimulation) {
  // Lindley's recursion of an M/D/1 queue: W' = max(0, W + S - A).
  RandomStream random(3, "lindley");
  for (const double use : {0.5, 0.8}) {
    std::vector<double> waits;
    double wait = 0;
    for (int i = 0; i < 200'000; ++i) {
      wait = std::max(0.0, wait + 1.0 - random.exponential() / use);
      waits.push_back(wait);
    }
    std::sort(waits.begin(), waits.end());
    const double measured = waits[static_cast<std::size_t>(0.95 * waits.size())];
    // The tail of M/D/1 is close to, not exactly, exponential: 15%.
    EXPECT_NEAR(wait_quantile(1, 1.0, use, 0.95), measured, 0.15 * measured + 0.1) << use;
  }
}

TEST(Queueing, MoreServersAndLessLoadNeverWaitLonger) {
  double last = 1e9;
  for (double servers = 1; servers < 40; servers += 1) {
    const double wait = wait_quantile(servers, 1, 8.0 / (8 + servers), 0.9);
    EXPECT_LE(wait, last);
    last = wait;
  }
  EXPECT_TRUE(std::isinf(wait_quantile(4, 1, 1.0, 0.9)));
}

TEST(Queueing, OccupancyQuantileCoversAPoissonCount) {
  // P(N <= q) of a Poisson count with mean 100 at its normal 90% quantile, by summing its terms.
  const double limit = occupancy_quantile(100, 0.9);
  double term = std::exp(-100.0);
  double sum = term;
  for (int n = 1; n <= static_cast<int>(limit); ++n) {
    term *= 100.0 / n;
    sum += term;
  }
  EXPECT_NEAR(sum, 0.9, 0.015);
}

// --- the planted optimum: every deployment by itself, through `simulate`, sized by counting up

double step_of(const ScenarioSpec& spec, bool& fits) {
  RunOptions options;
  options.what_ifs = false;
  const SimulationResult result = simulate(resolve(spec, cards(), "brute"), options);
  fits = result.feasibility.ok;
  return result.metric("step_s").value;
}

/// Waiting as the planner's header states it, written down a second time.
double brute_wait(double servers, double service, double use, double quantile) {
  if (use >= 1) {
    return 1e300;
  }
  const double waits = std::pow(use, std::sqrt(2 * (servers + 1)) - 1);
  return waits > 1 - quantile
             ? std::log(waits / (1 - quantile)) * service / (2 * servers * (1 - use))
             : 0;
}

/// Fewest GPUs of one pool over the whole space, or 0.
std::int64_t brute_pool(const PlanRequest& request, const HardwareChoice& hardware, PoolRole role,
                        std::int64_t max_gpus) {
  const ServiceRequest& service = request.services.front();
  const double rate = service.load.requests_per_s;
  const double output = service.load.output_tokens;
  const double prompt = service.load.prompt_tokens;
  const double z = normal_quantile(service.slo.quantile);
  std::int64_t best = 0;
  for (const std::int64_t gpus : request.search.gpus_per_instance) {
    for (const std::int64_t tensor : request.search.tensor) {
      if (tensor > gpus) {
        continue;
      }
      const PoolLayout layout = {hardware.cluster, gpus, tensor, OverlapRule::serial};
      ScenarioSpec spec = pool_scenario(service, role, layout, 8, request.seed);
      const double data = static_cast<double>(gpus / tensor);
      const auto try_sizes = [&](const auto& meets) {
        for (std::int64_t n = 1; n * gpus <= max_gpus; ++n) {
          if (meets(static_cast<double>(n))) {
            best = best == 0 ? n * gpus : std::min(best, n * gpus);
            return;
          }
        }
      };
      bool fits = false;
      bool exists = true;
      try {
        resolve(spec, cards(), "brute");
      } catch (const InputError&) {
        exists = false;
      }
      if (!exists) {
        continue;
      }
      if (role == PoolRole::prefill) {
        for (const double prompts : request.search.prompts_per_step) {
          spec.workload.batch_per_gpu = prompts / static_cast<double>(tensor);
          const double step = step_of(spec, fits);
          if (!fits) {
            continue;
          }
          // 2 (keys, values) x 8 heads x 128 x 2 bytes x 32 layers a token, 50 GB/s a network card.
          const double transfer =
              2.0 * 8 * 128 * 2 * 32 * prompt / (50e9 * static_cast<double>(tensor));
          try_sizes([&](double n) {
            const double servers = n * data * prompts;
            const double use = rate * step / servers;
            return use < 1 &&
                   brute_wait(servers, step, use, service.slo.quantile) + step + transfer <=
                       service.slo.ttft_s;
          });
        }
        continue;
      }
      for (const double batch : request.search.batch_per_gpu) {
        spec.workload.batch_per_gpu = batch;
        spec.workload.prefills_per_gpu = batch / output;
        const double step = step_of(spec, fits);
        double prompt_s = 0;
        double together = 1;
        if (role == PoolRole::aggregated) {
          const double chunk = request.search.chunk_tokens.front();
          ScenarioSpec loaded = spec;
          loaded.workload.prefills_per_gpu = chunk / prompt / static_cast<double>(tensor);
          prompt_s = step_of(loaded, fits) * std::max(1.0, std::ceil(prompt / chunk));
          together = std::max(1.0, std::floor(chunk / prompt));
        }
        if (!fits || step > service.slo.tpot_s) {
          continue;
        }
        try_sizes([&](double n) {
          const double in_flight = rate * output * step;
          const bool slots =
              in_flight + z * std::sqrt(in_flight) <= n * static_cast<double>(gpus) * batch;
          if (role == PoolRole::decode) {
            return slots;
          }
          const double servers = n * data * together;
          const double use = rate * prompt_s / servers;
          return slots && use < 1 &&
                 brute_wait(servers, prompt_s, use, service.slo.quantile) + prompt_s <=
                     service.slo.ttft_s;
        });
      }
    }
  }
  return best;
}

TEST(Plan, EqualsBruteForceOnFiftyRandomSmallSpaces) {
  int answered = 0;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    RandomStream random(seed, "plan spaces");
    PlanRequest request = small_request();
    ServiceRequest& service = request.services.front();
    service.load.requests_per_s = 1 + 60 * random.uniform();
    service.load.prompt_tokens = std::floor(200 + 4000 * random.uniform());
    service.load.output_tokens = std::floor(50 + 400 * random.uniform());
    service.slo.ttft_s = 0.1 + random.uniform();
    service.slo.tpot_s = 0.008 + 0.04 * random.uniform();
    request.search.batch_per_gpu.clear();
    for (int i = 0; i < 3; ++i) {
      request.search.batch_per_gpu.push_back(std::floor(1 + 128 * random.uniform()));
    }
    request.hardware.push_back({.cluster = "cluster_a100_ib200", .max_gpus = 48});
    std::vector<double> prices = {2 + random.uniform(), 1 + random.uniform()};
    const std::vector<PlanOption> options =
        cheapest_options(pool_points(service, request, cards()), service, request, prices);
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t h = 0; h < 2; ++h) {
      const HardwareChoice& hardware = request.hardware[h];
      const std::int64_t together =
          brute_pool(request, hardware, PoolRole::aggregated, hardware.max_gpus);
      if (together > 0) {
        best = std::min(best, prices[h] * static_cast<double>(together));
      }
      const std::int64_t reading =
          brute_pool(request, hardware, PoolRole::prefill, hardware.max_gpus);
      const std::int64_t writing = reading == 0 ? 0
                                                : brute_pool(request, hardware, PoolRole::decode,
                                                             hardware.max_gpus - reading);
      if (writing > 0) {
        best = std::min(best, prices[h] * static_cast<double>(reading + writing));
      }
    }
    if (options.empty()) {
      EXPECT_TRUE(std::isinf(best)) << "seed " << seed;
    } else {
      EXPECT_DOUBLE_EQ(options.front().usd_per_hour, best) << "seed " << seed;
      ++answered;
    }
  }
  EXPECT_GT(answered, 25);
}

TEST(Plan, TheFrontHoldsNoPointThatAnotherOfItsKindBeats) {
  const PlanRequest request = small_request();
  PlanOptions options;
  options.confirm = false;
  const ServicePlan plan = plan_service(request.services[0], request, cards(), "request", options);
  ASSERT_GT(plan.front.size(), 3u);
  for (const FrontPoint& a : plan.front) {
    for (const FrontPoint& b : plan.front) {
      EXPECT_FALSE(a.mode == b.mode && a.tokens_per_s_per_gpu > b.tokens_per_s_per_gpu &&
                   a.tokens_per_s_per_user > b.tokens_per_s_per_user);
    }
  }
}

TEST(Plan, TheBandHoldsTheCostAndDoublingBreaksTheLimitThatIsNamedFirst) {
  const PlanRequest request = small_request();
  const ServicePlan plan = plan_service(request.services[0], request, cards(), "request");
  ASSERT_FALSE(plan.options.empty());
  const PlanOption& best = plan.options.front();
  EXPECT_LE(best.usd_low, best.usd_per_hour);
  EXPECT_GE(best.usd_high, best.usd_per_hour);
  // Just below the factor all limits hold, just above one does not.
  const Breakage& first = plan.breakages.front();
  ASSERT_TRUE(std::isfinite(first.load_factor));
  for (const double side : {0.999, 1.001}) {
    bool meets = true;
    for (const PlannedPool& pool : best.pools) {
      const PoolLoad load = {request.services[0].load.requests_per_s * first.load_factor * side,
                             request.services[0].load.output_tokens, request.services[0].slo};
      meets = meets && answer(pool.point, static_cast<double>(pool.instances), load).meets();
    }
    EXPECT_EQ(meets, side < 1);
  }
  // Events see the same steps: balanced routing, so within a few percent.
  ASSERT_FALSE(plan.confirmations.empty());
  std::size_t steps = 0;
  for (const Confirmation& one : plan.confirmations.front()) {
    if (one.what.find("step as events") != std::string::npos) {
      EXPECT_NEAR(one.confirmed, one.planned, 0.1 * one.planned) << one.what;
      ++steps;
    }
    if (one.what == "requests within both limits") {
      EXPECT_GT(one.confirmed, 0.8) << "planned for " << one.planned;
    }
  }
  EXPECT_EQ(steps, best.pools.size());
}

TEST(Plan, CapacityIsTheLoadAtWhichTheAnswerTurns) {
  const PlanRequest request = small_request();
  const PoolPoints points = pool_points(request.services[0], request, cards());
  ASSERT_FALSE(points.points.empty());
  const PoolLoad load = {0, request.services[0].load.output_tokens, request.services[0].slo};
  for (const PoolPoint& point : points.points) {
    const double most = capacity(point, 3, load);
    if (most > 0) {
      PoolLoad below = load;
      below.requests_per_s = most * (1 - 1e-9);
      PoolLoad above = load;
      above.requests_per_s = most * (1 + 1e-6);
      EXPECT_TRUE(answer(point, 3, below).meets());
      EXPECT_FALSE(answer(point, 3, above).meets());
    }
  }
}

TEST(PlanRequest, TheTemplateIsReadAndWrongRequestsAreReportedAtOnce) {
  const PlanRequest request =
      read_plan_request(parse_json(plan_request_template(), "template"), "template");
  EXPECT_EQ(request.services[0].load.by_hour.size(), 24u);
  EXPECT_EQ(request.search.batch_per_gpu.size(), 41u);  // 10 octaves of four, and 1,024
  try {
    read_plan_request(
        parse_json(R"({"schema": "moesim/plan_request/2", "services": [{"model": "m", "load":
            {"requests_per_s": -1, "by_hour": [1, -2]}}], "hardware": [], "serch": {}})",
                   "bad.json"),
        "bad.json");
    ADD_FAILURE() << "was read";
  } catch (const InputError& error) {
    for (const char* part :
         {"/schema: \"moesim/plan_request/2\"", "/services/0/load/requests_per_s: -1",
          "/services/0/load/by_hour/1: -2 is negative", "/hardware: is empty",
          "/serch: unknown key; did you mean \"search\"?"}) {
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }
}

TEST(PlanRequest, APriceThatNobodyGivesIsAskedFor) {
  PlanRequest request = small_request();
  request.hardware = {{.cluster = "cluster_mi300x_roce400"}};
  try {
    prices_of(request, cards(), "request.json");
    ADD_FAILURE() << "has a price";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("neither the request nor the profile of \"mi300x\" has a "
                                        "price; add usd_per_gpu_hour"));
  }
  request.hardware[0].usd_per_gpu_hour = 2.5;
  EXPECT_EQ(prices_of(request, cards(), "request.json")[0].usd_per_hour, 2.5);
}

// --- fleets

PlanRequest fleet_request() {
  PlanRequest request = small_request();
  request.services[0].load.uncertainty = 0.3;
  request.services[0].load.by_hour = {0.3, 1, 0.6};
  request.services.push_back(request.services[0]);
  request.services[1].name = "search";
  request.services[1].load.requests_per_s = 7;
  request.services[1].load.by_hour = {1, 0.2, 0.5};
  request.hardware[0].owned_gpus = 8;
  request.hardware[0].usd_per_reserved_gpu_hour = 1.5;
  request.hardware.push_back({.cluster = "cluster_a100_ib200", .max_gpus = 64});
  request.failures = {.gpu_mtbf_hours = 2000, .repair_hours = 24};
  return request;
}

FleetPlan fleet_of(const PlanRequest& request, const std::vector<double>& prices) {
  std::vector<ServicePlan> services;
  PlanOptions options;
  options.confirm = false;
  for (const ServiceRequest& service : request.services) {
    services.push_back(plan_service(service, request, cards(), "request", options));
  }
  return plan_fleet(request, services, prices);
}

TEST(Fleet, ChancesAgreeWithBruteForceWithinThreePoints) {
  const PlanRequest request = fleet_request();
  const FleetPlan fleet = fleet_of(request, {3, 2});
  ASSERT_TRUE(fleet.problems.empty()) << fleet.problems.front();
  RandomStream random(7, "fleet");
  for (std::size_t t = 0; t < fleet.periods.size(); ++t) {
    for (std::size_t s = 0; s < request.services.size(); ++s) {
      const ServiceRequest& service = request.services[s];
      constexpr int kDraws = 4000;
      int met = 0;
      for (int i = 0; i < kDraws; ++i) {
        const double load = service.load.requests_per_s * service.load.by_hour[t] *
                            std::exp(service.load.uncertainty * random.normal());
        bool good = true;
        for (const FleetPart& part : fleet.periods[t].parts) {
          if (part.service != s) {
            continue;
          }
          const double draw = random.normal();
          const std::vector<PoolPoint>& pools = fleet.deployments[s][part.hardware];
          for (std::size_t p = 0; p < pools.size(); ++p) {
            // An instance is down as long as any of its GPUs is being repaired.
            const double mtbf = 2000.0 / static_cast<double>(pools[p].layout.gpus);
            const auto up =
                static_cast<double>(random.binomial(part.instances[p], mtbf / (mtbf + 24.0)));
            const double error = std::exp(draw * pools[p].error.deviation());
            good =
                good && answer(pools[p], up,
                               {load * part.share, service.load.output_tokens, service.slo}, error)
                            .meets();
          }
        }
        met += good ? 1 : 0;
      }
      EXPECT_NEAR(fleet.periods[t].p_slo[s], static_cast<double>(met) / kDraws, 0.03)
          << "service " << s << " in period " << t;
    }
  }
}

TEST(Fleet, StaysWithinTheQuotasAndUsesOwnedGpusFirst) {
  const PlanRequest request = fleet_request();
  const FleetPlan fleet = fleet_of(request, {3, 2});
  ASSERT_EQ(fleet.hardware.size(), 2u);
  double usd = 0;
  for (std::size_t h = 0; h < 2; ++h) {
    const FleetHardware& hardware = fleet.hardware[h];
    usd += h == 0 ? 1.5 * 24 * static_cast<double>(hardware.reserved) : 0;
    for (const std::int64_t used : hardware.used) {
      EXPECT_LE(used, request.hardware[h].max_gpus);
      // Three periods make a day of 24 hours: each lasts 8.
      usd +=
          (h == 0 ? 3 : 2) * 8.0 *
          static_cast<double>(std::max<std::int64_t>(0, used - hardware.owned - hardware.reserved));
    }
  }
  EXPECT_NEAR(fleet.usd_per_day, usd, 1e-6 * usd);
  for (const FleetPeriod& period : fleet.periods) {
    std::vector<double> share(2, 0.0);
    for (const FleetPart& part : period.parts) {
      share[part.service] += part.share;
    }
    EXPECT_DOUBLE_EQ(share[0], 1);
    EXPECT_DOUBLE_EQ(share[1], 1);
  }
}

TEST(Fleet, SparesCoverTheFailuresAtTheConfidenceAsked) {
  // Ten instances that are up 95% of the time: P(at least 10 of 11 up) = .95^11 + 11 x .95^10 x .05
  // = .898, of 12: .980. So 90% takes two spares, 89% one.
  EXPECT_EQ(with_spares(10, 0.95, 0.90), 12);
  EXPECT_EQ(with_spares(10, 0.95, 0.89), 11);
  EXPECT_EQ(with_spares(10, 1.0, 0.99), 10);
  EXPECT_DOUBLE_EQ(availability({.gpu_mtbf_hours = 800, .repair_hours = 25}, 8), 0.8);
}

TEST(PlanReport, EveryFormatHoldsTheCheapestOption) {
  PlanReport report;
  report.request = fleet_request();
  report.prices = {{3, "a test"}, {2, "a test"}};
  PlanOptions options;
  options.confirm = false;
  for (const ServiceRequest& service : report.request.services) {
    report.services.push_back(plan_service(service, report.request, cards(), "request", options));
  }
  report.fleet = plan_fleet(report.request, report.services, {3, 2});
  const PlanOption& best = report.services[0].options.front();
  for (const SweepFormat format :
       {SweepFormat::text, SweepFormat::markdown, SweepFormat::csv, SweepFormat::json}) {
    std::ostringstream out;
    write_plan(out, report, format);
    EXPECT_THAT(out.str(), HasSubstr(best.cluster));
    if (format == SweepFormat::json) {
      const Json json = parse_json(out.str(), "plan");
      EXPECT_EQ(json.at_pointer("/services/0/options/0/gpus")->as_integer(), best.gpus);
      EXPECT_NE(json.at_pointer("/fleet/periods/2/probability_of_limits/search"), nullptr);
    }
  }
  const std::string html = html_plan(report);
  EXPECT_THAT(html, HasSubstr("What breaks first"));
  EXPECT_THAT(html, HasSubstr("request.json"));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Queueing theory on one side, the serving loop on the other.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

/// One request at a time, one token each: a request's service is the step that reads its prompt,
/// so the replica is a queue with one server.
Scenario single_server(LengthLaw lengths, double rate, std::int64_t requests) {
  return testing::dense([&](ScenarioSpec& spec) {
    spec.workload.requests_per_s = rate;
    spec.workload.requests = requests;
    spec.workload.lengths = lengths;
    spec.workload.prompt_tokens = 2000;
    spec.workload.output_tokens = 1;
    spec.workload.output_cv = 0;
    spec.workload.prompt_cv = 0.5;
    spec.serving.max_sequences = 1;
    spec.serving.max_batched_tokens = 100000;
  });
}

struct Waits {
  double mean = 0;
  double theory = 0;  ///< Pollaczek-Khinchine: rate E[S^2] / (2 (1 - rho))
  double rho = 0;
};

Waits waits_of(const Scenario& scenario) {
  const testing::ServingRun run = testing::run(scenario);
  double wait = 0;
  double service = 0;
  double square = 0;
  for (const RequestState& request : run.record.requests) {
    const double seconds = request.finish_s - request.admitted_s;
    wait += request.admitted_s - request.arrival_s;
    service += seconds;
    square += seconds * seconds;
  }
  const double count = static_cast<double>(run.record.requests.size());
  const double rate = *scenario.spec.workload.requests_per_s;
  Waits waits;
  waits.mean = wait / count;
  waits.rho = rate * service / count;
  waits.theory = rate * square / count / (2 * (1 - waits.rho));
  return waits;
}

TEST(QueueingTheory, FixedPromptsWaitAsInMD1) {
  // S = 44 ms or so: rates for a utilisation of about 0.4 and 0.7. Error of the mean wait over n
  // requests at rho 0.7 is about sqrt(30 / n): 0.6% for 800,000.
  for (const double rho : {0.4, 0.7}) {
    const Scenario probe = single_server(LengthLaw::fixed, 0.01, 2);
    const testing::ServingRun run = testing::run(probe);
    const double service = run.record.requests[0].finish_s - run.record.requests[0].admitted_s;
    const Waits waits = waits_of(single_server(LengthLaw::fixed, rho / service, 800000));
    EXPECT_NEAR(waits.rho, rho, 1e-6);
    EXPECT_NEAR(waits.mean / waits.theory, 1, 0.02) << rho;
  }
}

TEST(QueueingTheory, LognormalPromptsWaitAsInMG1) {
  for (const double rate : {8.0, 14.0}) {
    const Waits waits = waits_of(single_server(LengthLaw::lognormal, rate, 800000));
    EXPECT_GT(waits.rho, 0.2);
    EXPECT_LT(waits.rho, 0.8);
    EXPECT_NEAR(waits.mean / waits.theory, 1, 0.02) << rate << " " << waits.rho;
  }
}

TEST(QueueingTheory, LittlesLawHoldsWithBatching) {
  // L = lambda W over a whole run: every request is in the system from arrival to last token.
  const Scenario scenario = testing::dense([](ScenarioSpec& spec) {
    spec.workload.requests_per_s = 30;
    spec.workload.requests = 20000;
    spec.workload.lengths = LengthLaw::lognormal;
  });
  const testing::ServingRun run = testing::run(scenario);
  double time_in_system = 0;
  for (const RequestState& request : run.record.requests) {
    time_in_system += request.finish_s - request.arrival_s;
  }
  // The loop's own integral counts requests from the step that follows their arrival; waiting for
  // the step in progress is the difference, half a step each on average, below 1%.
  const double held = run.record.serving.running_integral + run.record.serving.waiting_integral;
  EXPECT_NEAR(held / time_in_system, 1, 0.01);
}

TEST(QueueingTheory, AClosedLoopKeepsItsIdentity) {
  // out tok/s = c * osl / (ttft + tpot * (osl - 1)) when every slot is always busy. The last
  // requests run while slots empty, so a long loop is needed: 50 rounds.
  const Scenario scenario = testing::dense([](ScenarioSpec& spec) {
    spec.workload.concurrency = 16;
    spec.workload.requests = 800;
    spec.workload.output_tokens = 100;
  });
  const testing::ServingRun run = testing::run(scenario);
  double ttft = 0;
  double tpot = 0;
  double end = 0;
  for (const RequestState& request : run.record.requests) {
    ttft += (request.first_token_s - request.arrival_s) / 800;
    tpot += (request.finish_s - request.first_token_s) / 99 / 800;
    end = std::max(end, request.finish_s);
  }
  EXPECT_NEAR(800 * 100 / end / (16 * 100 / (ttft + tpot * 99)), 1, 0.01);
}

class ShippedServing : public ::testing::TestWithParam<std::string> {};

TEST_P(ShippedServing, ClosedFormAndRunAgree) {
  // These scenarios have no contention between flows, jitter or faults. TTFT of a prefill pool at
  // 75% load is a bulk queue with balanced arrivals, of which the closed form is a lower bound:
  // 30%.
  const auto mean_of = [](const SimulationResult& result, const std::string& name) {
    const NamedMetric* named = result.find(name);
    return std::holds_alternative<Metric>(named->value)
               ? std::get<Metric>(named->value).value
               : std::get<Distribution>(named->value).mean.value;
  };
  const SimulationResult event = simulate(testing::shipped(GetParam()));
  const SimulationResult closed = simulate(
      testing::shipped(GetParam(), [](ScenarioSpec& spec) { spec.fidelity = Fidelity::analytic; }));
  EXPECT_TRUE(event.feasibility.ok);
  EXPECT_TRUE(closed.feasibility.ok);
  for (const auto& [name, tolerance] :
       {std::pair<const char*, double>{"output_tokens_per_s_per_gpu", 0.05},
        {"tpot_s", 0.05},
        {"latency_s", 0.05},
        {"ttft_s", 0.30}}) {
    EXPECT_NEAR(mean_of(closed, name) / mean_of(event, name), 1, tolerance) << name;
  }
}

TEST(SteadyState, KnowsPromptsThatWaitForEachOther) {
  // Eight ranks whose prompts are read together: closed form within 10% of the run, which it would
  // miss by half if it read them one by one.
  const auto rate = [](Fidelity fidelity, std::int64_t steps) {
    return simulate(testing::prompts_that_wait(steps, fidelity))
        .metric("output_tokens_per_s_per_gpu")
        .value;
  };
  EXPECT_NEAR(rate(Fidelity::analytic, 60) / rate(Fidelity::event, 60), 1, 0.1);
  EXPECT_GT(rate(Fidelity::analytic, 60), 1.1 * rate(Fidelity::analytic, 0));
}

std::vector<std::string> serving_scenarios() {
  std::vector<std::string> names;
  for (const std::string& name : testing::cards().ids(CardKind::scenario)) {
    const ScenarioSpec spec = testing::shipped(name).spec;
    // The closed form knows no routing that changes during the run.
    if (spec.workload.kind == WorkloadKind::serving && spec.routing.phases.size() < 2) {
      names.push_back(name);
    }
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, ShippedServing, ::testing::ValuesIn(serving_scenarios()));

TEST(SteadyState, LoadsThatNothingKeepsUpWithAreExplained) {
  for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event}) {
    const SimulationResult result = simulate(testing::dense([&](ScenarioSpec& spec) {
      spec.fidelity = fidelity;
      spec.workload.requests_per_s = 4000;
      spec.workload.requests = 100000000;
    }));
    EXPECT_FALSE(result.feasibility.ok);
    ASSERT_EQ(result.feasibility.reasons.size(), 2u);
    EXPECT_NE(result.feasibility.reasons[0].find("the queue grows without bound: 4000"),
              std::string::npos)
        << result.feasibility.reasons[0];
    EXPECT_NE(result.feasibility.reasons[1].find("/serving/instances"), std::string::npos);
  }
}

TEST(SteadyState, TheCapacityIsWhereTheRunsQueueBeginsToGrow) {
  const auto at = [](double share) {
    const Scenario probe = testing::dense([](ScenarioSpec& spec) {
      spec.workload.requests_per_s = 1;
      spec.fidelity = Fidelity::analytic;
    });
    const double capacity = simulate(probe).metric("capacity_requests_per_s").value;
    return simulate(testing::dense([&](ScenarioSpec& spec) {
      spec.workload.requests_per_s = share * capacity;
      spec.workload.requests = 20000;
    }));
  };
  EXPECT_TRUE(at(0.9).feasibility.ok);
  EXPECT_FALSE(at(1.08).feasibility.ok);
}

}  // namespace
}  // namespace moesim

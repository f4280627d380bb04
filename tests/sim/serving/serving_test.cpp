// SPDX-License-Identifier: Apache-2.0
// What a serving run conserves, and what each key does to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/report/report.h"
#include "sim/run/serving_metrics.h"
#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using testing::dense;
using ::testing::HasSubstr;
using testing::prompts_that_wait;
using testing::ranks_in_step;
using testing::run;
using testing::ServingRun;

double mean_ttft(const ServingRecord& record) {
  double sum = 0;
  for (const RequestState& request : record.requests) {
    sum += request.first_token_s - request.arrival_s;
  }
  return sum / static_cast<double>(record.requests.size());
}

void expect_all_served(const ServingRecord& record) {
  double further = 0;
  for (const RequestState& request : record.requests) {
    ASSERT_EQ(request.generated, request.output);
    ASSERT_GE(request.admitted_s, request.arrival_s);
    ASSERT_GT(request.first_token_s, request.admitted_s);
    ASSERT_GE(request.finish_s, request.first_token_s);
    further += request.output - 1;
  }
  EXPECT_GT(further, 0);
}

TEST(StepTimes, ARunOfStepsTakesTheSumOfItsSteps) {
  const Scenario scenario = dense([](ScenarioSpec& spec) { spec.workload.concurrency = 8; });
  const EngineRules rules = engine_rules(scenario);
  StepTimes times(scenario, rules);
  // From any context the line holds to its end: sum of single look-ups against the series.
  for (const double batch : {1.0, 7.0, 40.0, 700.0}) {
    const DecodeLine line = times.decode(batch, 1000);
    double sum = 0;
    const int steps = static_cast<int>(std::floor(line.valid_to - 1000)) + 1;
    for (int k = 0; k < steps; ++k) {
      sum += times.decode(batch, 1000 + k).seconds;
    }
    const double closed = steps * line.seconds + line.per_token * steps * (steps - 1) / 2;
    EXPECT_NEAR(sum / closed, 1, 1e-9) << batch;
  }
}

TEST(StepTimes, NodesAgreeWithTheStepModelAndPaddingCostsRowsNotCache) {
  const Scenario scenario = dense([](ScenarioSpec& spec) {
    spec.workload.concurrency = 8;
    spec.serving.host_overhead_s = 0;
    spec.serving.host_overhead_per_sequence_s = 0;
  });
  StepTimes times(scenario, engine_rules(scenario));
  // 8 is a captured size, so only the interpolation in the context is between model and grid.
  StepShape shape;
  shape.decoding = 8;
  shape.context = 1500;
  const double exact = times.cost(shape).seconds.value();
  EXPECT_NEAR(times.decode(8, 1500).seconds / exact, 1, 1e-3);
  // 5 sequences run as 8 with the cache of 5: between 5 and 8 real ones.
  shape.decoding = 5;
  EXPECT_GE(times.decode(5, 1500).seconds, times.cost(shape).seconds.value() * 0.999);
  EXPECT_LT(times.decode(5, 1500).seconds, exact);
}

TEST(StepTimes, AShortPromptWaitsForTheHostToStartItsKernels) {
  // Llama-3.1-8B in bf16: 32 layers of norm, qkv, attention, o, norm, gate-up, activation, down and
  // the rotary embedding, so 256 to 384 kernels, 50 us each from Python: 13 to 19 ms before the
  // last one starts, where 16 tokens need less than 8 ms of GPU. Decode runs from graphs and does
  // not wait.
  const Scenario scenario = dense([](ScenarioSpec& spec) { spec.workload.concurrency = 1; });
  const EngineRules rules = engine_rules(scenario);
  EXPECT_DOUBLE_EQ(rules.host_kernel_s, 5e-5);
  StepTimes times(scenario, rules);
  StepPlan prompt;
  prompt.prompts = 1;
  prompt.prompt_tokens = 16;
  prompt.pair_sum = 16 * 8;
  const double short_prompt = times.mixed(StepShape::of(0, 0, prompt)).total();
  EXPECT_GT(short_prompt, 0.013);
  EXPECT_LT(short_prompt, 0.020);
  EXPECT_LT(times.decode(1, 100).seconds, 0.009);
  // 8192 tokens keep the GPU busy for longer than the host needs: no wait.
  prompt.prompt_tokens = 8192;
  prompt.pair_sum = 8192.0 * 4096;
  EXPECT_GT(times.mixed(StepShape::of(0, 0, prompt)).total(), 0.1);
}

TEST(StepTimes, PromptStepsAreInterpolatedClosely) {
  const Scenario scenario = dense([](ScenarioSpec& spec) {
    spec.workload.concurrency = 8;
    spec.serving.host_overhead_s = 0;
    spec.serving.host_overhead_per_sequence_s = 0;
  });
  StepTimes times(scenario, engine_rules(scenario));
  for (const double tokens : {700.0, 1500.0, 3333.0, 8000.0}) {
    StepShape shape;
    shape.decoding = 20;
    shape.context = 900;
    shape.prompts = 2;
    shape.prompt_tokens = tokens;
    shape.cached_tokens = 300;
    // Fitted curves have steps of a few per cent (their trees), which a grid cannot follow.
    EXPECT_NEAR(times.mixed(shape).total() / times.cost(shape).seconds.value(), 1, 0.05) << tokens;
  }
}

TEST(Speculation, TokensAStepAreTheRunOfRightDrafts) {
  // d = 2, a = 0.8: 1 + 0.8 + 0.64 = 2.44; E[T^2] = 1 * .2 + 4 * .16 + 9 * .64 = 6.6.
  const Speculation two = Speculation::of(2, 0.8);
  EXPECT_NEAR(two.tokens_per_step, 2.44, 1e-12);
  EXPECT_NEAR(two.tokens_variance, 6.6 - 2.44 * 2.44, 1e-12);
  EXPECT_EQ(two.steps_for(1000, 0), std::ceil(1000 / 2.44));
  EXPECT_EQ(two.steps_for(3, -9), 1);  // never fewer than all drafts right
  EXPECT_EQ(Speculation::of(0, 0.8).steps_for(77, 1.0), 77);
}

TEST(Serving, EveryRequestIsServedUnderEveryEngine) {
  for (const EnginePreset engine :
       {EnginePreset::vllm, EnginePreset::sglang, EnginePreset::tensorrt_llm}) {
    for (const auto& make : {dense, ranks_in_step}) {
      const ServingRun done = run(make([&](ScenarioSpec& spec) {
        spec.workload.requests_per_s = 20;
        spec.workload.requests = 400;
        spec.workload.lengths = LengthLaw::lognormal;
        spec.serving.engine = engine;
      }));
      ASSERT_EQ(done.record.requests.size(), 400u);
      expect_all_served(done.record);
      double tokens = 0;
      for (const RequestState& request : done.record.requests) {
        tokens += request.output - 1;
      }
      EXPECT_NEAR(done.record.serving.output_tokens, tokens, 1e-6 * tokens);
      double prompts = 0;
      for (const RequestState& request : done.record.requests) {
        prompts += request.prompt;
      }
      EXPECT_NEAR(done.record.serving.prompt_tokens, prompts, 1e-6 * prompts);
    }
  }
}

TEST(Serving, SglangReadsPromptsFirstAndDecodeWaits) {
  const auto with = [](EnginePreset engine) {
    return run(dense([&](ScenarioSpec& spec) {
      spec.workload.concurrency = 64;
      spec.workload.requests = 640;
      spec.workload.prompt_tokens = 4000;
      spec.serving.engine = engine;
      spec.serving.host_overhead_s = 0;
    }));
  };
  const ServingRun vllm = with(EnginePreset::vllm);
  const ServingRun sglang = with(EnginePreset::sglang);
  const auto decode_only = [](const ServingRun& done) {
    return done.record.serving.busy_s - done.record.serving.prompt_s;
  };
  // Both do the same work; vLLM generates in its prompt steps, too.
  EXPECT_GT(decode_only(sglang), decode_only(vllm));
}

TEST(Serving, AFullCachePreemptsAndStillServesAll) {
  for (const PreemptionMode mode : {PreemptionMode::recompute, PreemptionMode::swap}) {
    const ServingRun done = run(dense([&](ScenarioSpec& spec) {
      spec.workload.concurrency = 32;
      spec.workload.requests = 200;
      spec.workload.output_tokens = 400;
      spec.serving.kv_cache_tokens = 12000;  // 32 x 912 would need 29,000
      spec.serving.preemption = mode;
    }));
    expect_all_served(done.record);
    EXPECT_GT(done.record.serving.preemptions, 0);
    EXPECT_LE(done.record.serving.peak_cache_fraction, 1.0 + 1e-9);
    EXPECT_EQ(done.record.serving.swap_s > 0, mode == PreemptionMode::swap);
  }
}

TEST(Serving, TensorRtAdmitsOnlyWhatCanFinish) {
  const ServingRun done = run(dense([&](ScenarioSpec& spec) {
    spec.workload.concurrency = 32;
    spec.workload.requests = 200;
    spec.workload.output_tokens = 400;
    spec.serving.kv_cache_tokens = 12000;
    spec.serving.engine = EnginePreset::tensorrt_llm;
  }));
  expect_all_served(done.record);
  EXPECT_EQ(done.record.serving.preemptions, 0);
}

TEST(Serving, SharedPrefixesAreReadOnce) {
  const auto with = [](bool cache) {
    return run(dense([&](ScenarioSpec& spec) {
      spec.workload.requests_per_s = 2;
      spec.workload.requests = 200;
      spec.workload.prompt_tokens = 4000;
      spec.workload.shared_prefix_tokens = 3000;
      spec.workload.prefix_groups = 4;
      spec.serving.prefix_cache = cache;
    }));
  };
  const ServingRun cached = with(true);
  const ServingRun plain = with(false);
  expect_all_served(cached.record);
  // 4 groups are read in full once each: 4 * 3000 of 200 * 3000 shared tokens miss.
  EXPECT_NEAR(plain.record.serving.prompt_tokens - cached.record.serving.prompt_tokens, 196 * 3000,
              1e-6);
  EXPECT_LT(mean_ttft(cached.record), 0.5 * mean_ttft(plain.record));
}

TEST(Serving, RanksInStepWaitForTheLongest) {
  // The same load, once even and once with lengths spread widely: attention of the slowest rank
  // sets the step.
  const auto waits = [](double cv) {
    const ServingRun done = run(ranks_in_step([&](ScenarioSpec& spec) {
      spec.workload.concurrency = 128;
      spec.workload.requests = 600;
      spec.workload.lengths = LengthLaw::lognormal;
      spec.workload.prompt_tokens = 3000;
      spec.workload.prompt_cv = cv;
      spec.workload.output_cv = 0.3;
    }));
    return done.record.serving.imbalance_integral / done.record.serving.busy_s;
  };
  EXPECT_GT(waits(1.5), waits(0.1));
}

TEST(Serving, PromptsOfRanksInStepWaitForEachOther) {
  // Eight ranks, 64 requests in flight. Alone, nearly every prompt is a step of its own that seven
  // other ranks wait for; together, a step reads up to eight.
  const ServingRun alone = run(prompts_that_wait(0));
  const ServingRun together = run(prompts_that_wait(60));
  expect_all_served(alone.record);
  expect_all_served(together.record);
  EXPECT_NEAR(together.record.serving.prompt_tokens, alone.record.serving.prompt_tokens, 1e-6);
  EXPECT_LT(together.record.serving.prompt_steps, 0.5 * alone.record.serving.prompt_steps);
  EXPECT_GE(together.record.serving.prompt_steps, 640.0 / 8 / 2);  // at most two a rank and step
  EXPECT_LT(together.record.serving.busy_s, alone.record.serving.busy_s);
  EXPECT_GT(mean_ttft(together.record), 0);
}

TEST(Serving, ALonePromptWaitsForNoMoreThanTheStatedSteps) {
  // Requests come so rarely that a second prompt is hardly ever there: with every rank idle but
  // one, prompts are read at once, so waiting costs nothing.
  const auto ttft = [](std::int64_t steps) {
    return mean_ttft(run(ranks_in_step([&](ScenarioSpec& spec) {
                       spec.workload.requests_per_s = 0.05;
                       spec.workload.requests = 50;
                       spec.serving.engine = EnginePreset::tensorrt_llm;
                       spec.serving.prompt_wait_steps = steps;
                     })).record);
  };
  EXPECT_EQ(ttft(0), ttft(1000));
}

TEST(Serving, DisaggregationMovesCachesAndKeepsDecodeSmooth) {
  const auto with = [](bool split) {
    return dense([&](ScenarioSpec& spec) {
      spec.workload.requests_per_s = 6;
      spec.workload.requests = 300;
      spec.workload.prompt_tokens = 6000;
      if (split) {
        spec.serving.prefill_pool.instances = 1;
      }
      spec.gpus_per_node = 8;
      spec.parallelism.tensor = 8;
      spec.serving.prefill_pool.tensor = 8;
    });
  };
  const ServingRun split = run(with(true));
  const ServingRun whole = run(with(false));
  expect_all_served(split.record);
  EXPECT_EQ(split.record.transfers, 300);
  EXPECT_EQ(split.plan.gpus, 16);
  EXPECT_EQ(split.record.serving.prompt_steps, 0);
  // 131,072 B a token * 6,000 over eight 400 Gb/s cards: 2 ms and the latency at least.
  EXPECT_GT(split.record.transfer_s / 300, 6000 * 131072.0 / (8 * 50e9));
  EXPECT_LT(split.record.step_s.quantile(0.99), whole.record.step_s.quantile(0.99));
}

TEST(Serving, AFullDecodePoolHoldsThePrefillPoolBack) {
  const ServingRun done = run(dense([](ScenarioSpec& spec) {
    spec.gpus_per_node = 8;
    spec.parallelism.tensor = 8;
    spec.serving.prefill_pool.instances = 2;
    spec.serving.prefill_pool.tensor = 8;
    spec.workload.requests_per_s = 50;
    spec.workload.requests = 300;
    spec.serving.kv_cache_tokens = 4000;  // both pools
  }));
  expect_all_served(done.record);
  EXPECT_GT(done.record.blocked_s, 0);
}

TEST(Serving, RequestsOfAFailedInstanceStartAnew) {
  const ServingRun done = run(dense([](ScenarioSpec& spec) {
    spec.serving.instances = 2;
    spec.workload.requests_per_s = 20;
    spec.workload.requests = 400;
    spec.serving.failure.at_s = 5;
    spec.serving.failure.recovery_s = 4;
  }));
  expect_all_served(done.record);
  EXPECT_GT(done.record.lost_requests, 0);
}

TEST(Serving, WhatCanNeverBeServedIsExplained) {
  const SimulationResult result = simulate(dense([](ScenarioSpec& spec) {
    spec.workload.concurrency = 4;
    spec.workload.prompt_tokens = 8000;
    spec.serving.kv_cache_tokens = 4096;
  }));
  EXPECT_FALSE(result.feasibility.ok);
  ASSERT_FALSE(result.feasibility.reasons.empty());
  EXPECT_THAT(result.feasibility.reasons[0], HasSubstr("40 of 40 requests can never be served"));

  const SimulationResult memory = simulate(dense([](ScenarioSpec& spec) {
    spec.model = "llama_3_1_70b";
    spec.workload.concurrency = 4;
  }));
  EXPECT_FALSE(memory.feasibility.ok);
  EXPECT_THAT(memory.feasibility.reasons[0], HasSubstr("out of memory"));
}

TEST(ServingBands, FollowTheStepsWhereTheyRuleAndTheArrivalsWhereThoseDo) {
  const auto banded = [](const testing::Edit& edit) {
    const Scenario scenario = dense(edit);
    const RequestStream stream(scenario);
    ServingPlan plan = serving_plan(scenario, stream);
    const SteadyState state = steady_state(scenario, plan, stream);
    SimulationResult result;
    add_steady_metrics(result, scenario, plan, stream, state);
    add_serving_bands(result, scenario, plan, stream, state, 0.1);
    return result;
  };
  // Closed loop: every second is a step's, so times take the steps' e^0.1 and rates its inverse.
  const SimulationResult closed =
      banded([](ScenarioSpec& spec) { spec.workload.concurrency = 16; });
  const Metric tpot = std::get<Distribution>(closed.find("tpot_s")->value).mean;
  EXPECT_NEAR(*tpot.high / tpot.value, std::exp(0.1), 1e-3);
  EXPECT_NEAR(*tpot.low / tpot.value, std::exp(-0.1), 1e-3);
  const Metric& rate = closed.metric("output_tokens_per_s_per_gpu");
  EXPECT_NEAR(*rate.low / rate.value, std::exp(-0.1), 1e-3);
  // Open loop at low load: arrivals set the rate.
  const SimulationResult open =
      banded([](ScenarioSpec& spec) { spec.workload.requests_per_s = 1; });
  const Metric& arrivals = open.metric("requests_per_s");
  EXPECT_NEAR(*arrivals.high / *arrivals.low, 1, 0.001);
  const Metric latency = std::get<Distribution>(open.find("latency_s")->value).mean;
  EXPECT_GT(*latency.high / latency.value, 1.09);
}

TEST(Serving, TheSameSeedGivesTheSameBytes) {
  const Scenario scenario = ranks_in_step([](ScenarioSpec& spec) {
    spec.workload.requests_per_s = 40;
    spec.workload.requests = 300;
    spec.workload.lengths = LengthLaw::lognormal;
    spec.workload.draft_tokens = 1;
  });
  EXPECT_EQ(report_text(simulate(scenario), ReportFormat::json),
            report_text(simulate(scenario), ReportFormat::json));
}

TEST(Serving, MissingAndSuperfluousKeysAreNamed) {
  const auto problem_of = [](const testing::Edit& edit) {
    try {
      dense(edit);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("no problem");
  };
  EXPECT_THAT(problem_of([](ScenarioSpec&) {}), HasSubstr("/workload/requests_per_s: is missing"));
  EXPECT_THAT(problem_of([](ScenarioSpec& spec) {
                spec.workload.concurrency = 4;
                spec.workload.requests_per_s = 4;
              }),
              HasSubstr("/workload/requests_per_s: is not used by arrivals of kind closed"));
  EXPECT_THAT(problem_of([](ScenarioSpec& spec) {
                spec.workload.concurrency = 4;
                spec.workload.lengths = LengthLaw::trace;
              }),
              HasSubstr("/workload/request_trace: is missing"));
  EXPECT_THAT(problem_of([](ScenarioSpec& spec) {
                spec.workload.concurrency = 4;
                spec.serving.prefill_pool.instances = 1;
                spec.serving.prefill_pool.tensor = 3;
              }),
              HasSubstr("/serving/prefill_pool/tensor: 3 does not divide"));
}

}  // namespace
}  // namespace moesim

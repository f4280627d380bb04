// SPDX-License-Identifier: Apache-2.0
// Experts below GPU memory while requests are served: what their caches hit, move and cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "sim/moe/token_routing_domains.h"
#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using testing::dense;
using ::testing::HasSubstr;
using testing::run;
using testing::ServingRun;

constexpr double kLayers = 16;
constexpr double kExperts = 64;
constexpr double kTopK = 8;

/// Tokens forget what those before them chose.
void forget(ScenarioSpec& spec) {
  spec.routing.locality.repeat_fraction = 0;
  spec.routing.locality.affinity_fraction = 0;
  spec.routing.locality.segment_sigma = 0;
}

/// OLMoE (16 layers, 8 of 64 experts) on one H100, uniform routing without memory, one client.
Scenario olmoe(const testing::Edit& edit) {
  return dense([&](ScenarioSpec& spec) {
    spec.model = "olmoe_1b_7b";
    spec.routing.kind = RoutingModel::uniform;
    forget(spec);
    spec.workload.concurrency = 1;
    spec.workload.requests = 4;
    spec.serving.cuda_graphs = false;
    edit(spec);
  });
}

/// The same with `slots` of the 1,024 experts on the GPU, which looks them up itself.
Scenario cached(
    std::int64_t slots, const testing::Edit& edit = [](ScenarioSpec&) {}) {
  return olmoe([&](ScenarioSpec& spec) {
    spec.offload.experts = ExpertHome::host;
    spec.offload.host_managed = false;
    spec.offload.slots = slots;
    edit(spec);
  });
}

StepShape decoding(double sequences) {
  StepShape shape;
  shape.decoding = sequences;
  shape.context = 500;
  return shape;
}

/// What the caches do in a decode step of the scenario's deployment at the run's beginning.
SwapCost decode_swaps(const Scenario& scenario, double sequences) {
  const RequestStream stream(scenario);
  return serving_plan(scenario, stream).serving.times->swaps(decoding(sequences));
}

TEST(ServingOffload, ACacheThatHoldsEveryExpertIsNoOffload) {
  // Nothing is ever missed, and the GPU looks experts up at no cost: to the last bit the same run.
  const ServingRun all = run(cached(1024));
  const ServingRun none = run(olmoe([](ScenarioSpec&) {}));
  ASSERT_EQ(all.record.requests.size(), none.record.requests.size());
  for (std::size_t i = 0; i < none.record.requests.size(); ++i) {
    EXPECT_EQ(all.record.requests[i].first_token_s, none.record.requests[i].first_token_s);
    EXPECT_EQ(all.record.requests[i].finish_s, none.record.requests[i].finish_s);
  }
  EXPECT_EQ(all.plan.serving.room.tokens, none.plan.serving.room.tokens);
  EXPECT_GT(all.record.serving.expert_lookups, 0);
  EXPECT_DOUBLE_EQ(all.record.serving.expert_hits, all.record.serving.expert_lookups);
  EXPECT_EQ(all.record.serving.expert_bytes, 0);
  EXPECT_EQ(all.record.serving.expert_stall_s, 0);
}

TEST(ServingOffload, UniformRoutingUnderLruHitsTheShareOfTheStackThatIsCached) {
  // A token takes 8 of 64 experts at random. Its j-th lies anywhere in the 64 - (j - 1) places of
  // the LRU stack below the j - 1 just used, and hits in the first 32 - (j - 1) of them.
  double expected = 0;
  for (int j = 1; j <= 8; ++j) {
    expected += (32.0 - (j - 1)) / (64.0 - (j - 1)) / 8;
  }
  const SwapCost one = decode_swaps(cached(512), 1);
  EXPECT_DOUBLE_EQ(one.lookups, kLayers * kTopK);
  // 200 steps x 128 look-ups: a standard deviation of 0.003.
  EXPECT_NEAR(one.hit_rate(), expected, 0.01);
}

TEST(ServingOffload, AStaticCacheUnderUniformRoutingHitsTheShareCached) {
  // It keeps the quarter that the 250 simulated steps choose most often. Counts have the mean 250 /
  // 8 and the deviation sqrt(250 / 8 * 7 / 8), 0.167 of it; the top quarter of a normal sample lies
  // 1.271 deviations above its mean, so hits are a quarter and 1.271 * 0.167 of that.
  const SwapCost one = decode_swaps(
      cached(256, [](ScenarioSpec& spec) { spec.offload.policy = CachePolicy::static_set; }), 1);
  EXPECT_NEAR(one.hit_rate(), 0.25 * (1 + 1.271 * 0.167), 0.01);
}

TEST(ServingOffload, BatchesNeedTheUnionOfTheirExperts) {
  // n tokens of 8 of 64 experts each leave an expert unused with (1 - 1/8)^n.
  for (const double batch : {4.0, 12.0}) {
    const SwapCost one = decode_swaps(cached(512), batch);
    EXPECT_NEAR(one.lookups, kLayers * kExperts * (1 - std::pow(0.875, batch)),
                0.01 * kLayers * kExperts)
        << batch;
  }
}

TEST(ServingOffload, MissesWaitOneAfterAnotherForTheHostLink) {
  // Without guesses a missed expert takes the latency and its bytes over the link, all on the way
  // of the step; with graphs or not, a step is the resident one and that.
  const Scenario scenario = cached(512);
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  const MemoryBudget& memory = plan.serving.room.memory;
  const double rate = scenario.cluster->node_groups.front().host.link_rate.value.value();
  const SwapCost one = plan.serving.times->swaps(decoding(1));
  const double misses = one.lookups - one.hits;
  EXPECT_NEAR(one.stall_s, misses * (memory.expert_bytes.value() / rate + 1e-5),
              1e-3 * one.stall_s);
  EXPECT_NEAR(one.bytes, misses * memory.expert_bytes.value(), 1e-6 * one.bytes);

  const Scenario without = olmoe([](ScenarioSpec&) {});
  const ServingPlan resident = serving_plan(without, stream);
  EXPECT_NEAR(plan.serving.times->decode(1, 500).seconds,
              resident.serving.times->decode(1, 500).seconds + one.stall_s, 1e-3 * one.stall_s);
}

TEST(ServingOffload, TotalsOfARunAreThoseOfItsSteps) {
  // One client, prompts of one token: every step is a decode step or reads one token, and needs
  // eight experts a layer.
  const ServingRun one = run(cached(512, [](ScenarioSpec& spec) {
    spec.workload.prompt_tokens = 1;
    spec.workload.output_tokens = 64;
  }));
  const PoolTotals& totals = one.record.serving;
  EXPECT_DOUBLE_EQ(totals.expert_lookups, totals.steps * kLayers * kTopK);
  const ServingRun none = run(olmoe([](ScenarioSpec& spec) {
    spec.workload.prompt_tokens = 1;
    spec.workload.output_tokens = 64;
  }));
  // Times are read off between nodes of the context, waits from the mean of the run.
  EXPECT_NEAR(totals.busy_s - none.record.serving.busy_s, totals.expert_stall_s,
              0.01 * totals.expert_stall_s);
}

TEST(ServingOffload, ALongPromptPassesEveryExpertOverTheLink) {
  // 512 tokens need all 1,024 experts; LRU with half the places, asked in turn, keeps few of what
  // comes next: at least half of the experts move, at most all.
  const Scenario scenario = cached(512);
  const RequestStream stream(scenario);
  const ServingPlan plan = serving_plan(scenario, stream);
  StepShape shape;
  shape.prompts = 1;
  shape.prompt_tokens = 512;
  const SwapCost one = plan.serving.times->swaps(shape);
  EXPECT_NEAR(one.lookups, kLayers * kExperts, 0.5);
  const double moved = one.bytes / plan.serving.room.memory.expert_bytes.value();
  EXPECT_GE(moved, 512);
  EXPECT_LE(moved, 1024);
}

/// The shipped edge scenario: code until 600 s, then prose.
Scenario edge(const testing::Edit& edit = [](ScenarioSpec&) {}) {
  return testing::shipped("serving_mixtral_4090_offload", edit);
}

TEST(ServingOffload, AStaticCacheGoesStaleWhenRoutingDrifts) {
  const Scenario scenario = edge(forget);
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  StepTimeline& timeline = *plan.serving.timeline;
  const std::int64_t layers = plan.serving.times->decode_model().step_template().num_moe_layers;
  const auto slots =
      static_cast<std::size_t>(plan.serving.room.memory.expert_slots / layers);  // of a layer
  ASSERT_GE(slots, 1u);
  ASSERT_LT(slots, 8u);
  // A layer keeps the experts that most tokens chose at 0 s; a token finds as many of its two there
  // as the shares of those experts add up to.
  const RoutingSpec routing = routing_of(scenario);
  const auto expected = [&](double time) {
    double hits = 0;
    for (std::int32_t l = 0; l < layers; ++l) {
      const std::vector<double> first = routing.mixture->inclusion_at(l, Seconds(0));
      const std::vector<double> now = routing.mixture->inclusion_at(l, Seconds(time));
      std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5, 6, 7};
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return first[a] > first[b]; });
      for (std::size_t i = 0; i < slots; ++i) {
        hits += now[order[i]] / 2 / static_cast<double>(layers);
      }
    }
    return hits;
  };
  const double before = timeline.times(timeline.epoch_at(0)).swaps(decoding(1)).hit_rate();
  const double after = timeline.times(timeline.epoch_at(700)).swaps(decoding(1)).hit_rate();
  // 200 steps x 64 look-ups: a standard deviation below 0.005.
  EXPECT_NEAR(before, expected(0), 0.01);
  EXPECT_NEAR(after, expected(700), 0.01);
  EXPECT_GT(before, after + 0.05);
}

TEST(ServingOffload, AnLruCacheFollowsTheDrift) {
  const Scenario scenario =
      edge([](ScenarioSpec& spec) { spec.offload.policy = CachePolicy::lru; });
  const RequestStream stream(scenario);
  ServingPlan plan = serving_plan(scenario, stream);
  StepTimeline& timeline = *plan.serving.timeline;
  // Both domains are equally skewed: what is hot changes, not how hot it is.
  EXPECT_NEAR(timeline.times(timeline.epoch_at(0)).swaps(decoding(1)).hit_rate(),
              timeline.times(timeline.epoch_at(700)).swaps(decoding(1)).hit_rate(), 0.03);
}

TEST(ServingOffload, PlacesForExpertsAreWhatTheSequencesLeave) {
  // Half-empty memory would be wasted, and a cache without room for a request useless: two
  // sequences of twice the mean length fit, and another expert a layer does not.
  const Scenario scenario = edge();
  const RequestStream stream(scenario);
  const ServingPlan plan = serving_plan(scenario, stream);
  const CacheRoom& room = plan.serving.room;
  EXPECT_GE(room.tokens, 2 * 2 * (stream.mean_prompt() + stream.mean_output() / 2) - 16);
  const Bytes one_more = 32 * room.memory.expert_bytes;
  const Bytes asked =
      room.bytes_per_token * (2 * 2 * (stream.mean_prompt() + stream.mean_output()));
  EXPECT_LT(room.bytes_per_token * room.tokens, asked + one_more);
  EXPECT_LE(room.memory.total, room.memory.available);
}

TEST(ServingOffload, ReportsHitRateBytesAndWaitsOverTime) {
  RunOptions options;
  options.what_ifs = false;
  const SimulationResult result = simulate(edge(), options);
  EXPECT_TRUE(result.feasibility.ok);
  const double hit_rate = result.metric("expert_cache_hit_rate").value;
  EXPECT_GT(hit_rate, 0);
  EXPECT_LT(hit_rate, 1);
  EXPECT_GT(result.metric("expert_swap_bytes").value, 0);
  EXPECT_GT(result.metric("expert_stall_fraction").value, 0);
  EXPECT_LT(result.metric("expert_stall_fraction").value, 1);
  const auto series =
      std::find_if(result.series.begin(), result.series.end(),
                   [](const TimeSeries& one) { return one.name == "expert_cache_hit_rate"; });
  ASSERT_NE(series, result.series.end());
  EXPECT_LE(*std::max_element(series->values.begin(), series->values.end()), 1.0 + 1e-9);
}

TEST(ServingOffload, WaitingForExpertsRaisesAnAlert) {
  RunOptions options;
  options.what_ifs = false;
  const auto alert = [&](double threshold) {
    const SimulationResult result = simulate(
        edge([&](ScenarioSpec& spec) { spec.alerts.expert_stall_fraction = threshold; }), options);
    return std::any_of(result.alerts.begin(), result.alerts.end(),
                       [](const Alert& one) { return one.kind == "expert_swap_stall"; });
  };
  EXPECT_TRUE(alert(0.01));
  EXPECT_FALSE(alert(1));
}

TEST(ServingOffload, ExpertsThatTheHostCannotHoldAreAReason) {
  RunOptions options;
  options.what_ifs = false;
  const SimulationResult result =
      simulate(edge([](ScenarioSpec& spec) { spec.offload.host_memory_bytes = 1e9; }), options);
  EXPECT_FALSE(result.feasibility.ok);
  ASSERT_FALSE(result.feasibility.reasons.empty());
  EXPECT_THAT(result.feasibility.reasons.front(), HasSubstr("out of host memory"));
}

TEST(ServingOffload, GraphsAroundLayersThatTheHostManagesAreRefused) {
  try {
    edge([](ScenarioSpec& spec) { spec.serving.cuda_graphs = true; });
    FAIL() << "must not load";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("#/serving/cuda_graphs: cannot surround layers whose "
                                        "experts the host looks up"));
    EXPECT_THAT(error.what(), HasSubstr("set /offload/host_managed to false"));
  }
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Scenarios whose experts do not all fit the GPU, or are stored and edited one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/moe/expert_edits.h"
#include "sim/run/simulate.h"
#include "tests/sim/run/scenario_fixtures.h"

namespace moesim {
namespace {

using testing::shipped;
using testing::small;

RunOptions quiet() {
  RunOptions options;
  options.what_ifs = false;
  return options;
}

double value(const Scenario& scenario, const std::string& metric) {
  return simulate(scenario, quiet()).metric(metric).value;
}

double step_seconds(const Scenario& scenario) {
  return std::get<Distribution>(simulate(scenario, quiet()).find("step_s")->value).mean.value;
}

std::string problems_of(const std::function<void(ScenarioSpec&)>& edit) {
  try {
    small(edit);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

/// Mixtral in bf16 on one 24 GB card, as shipped, few steps.
Scenario offloaded(const std::function<void(ScenarioSpec&)>& edit = [](ScenarioSpec&) {}) {
  return shipped("mixtral_8x7b_4090_offload", [&](ScenarioSpec& spec) {
    spec.offload.steps = 80;
    spec.offload.warm_up_steps = 20;
    edit(spec);
  });
}

TEST(OffloadScenario, SwappedExpertsCostWhatTheCacheMissesOverTheLink) {
  const SimulationResult result = simulate(offloaded(), quiet());
  EXPECT_TRUE(result.feasibility.ok);
  // A miss moves 352 MB in 13.6 ms; 64 experts a token of which the missed ones wait one after
  // another behind 10 us of latency, and every layer adds the host's look-up.
  const double misses = 64.0 * (1.0 - result.metric("expert_cache_hit_rate").value);
  const double copies = misses * (352321536.0 / 26e9 + 1e-5);
  const double stall = result.metric("swap_stall_s").value;
  EXPECT_GE(stall, copies * (1 - 1e-6));
  EXPECT_LE(stall, copies + 32 * 4e-4);
  EXPECT_NEAR(result.metric("swap_bytes").value, misses * 352321536.0, 1e3);
  double parts = 0;
  for (const BreakdownRow& row : result.breakdown) {
    parts += row.seconds;
  }
  EXPECT_NEAR(parts, std::get<Distribution>(result.find("step_s")->value).mean.value, 1e-9);
}

TEST(OffloadScenario, NoPolicyBeatsBeladyAndMoreSlotsNeverHurtIt) {
  const auto hit_rate = [](CachePolicy policy, std::int64_t slots) {
    return value(offloaded([&](ScenarioSpec& spec) {
                   spec.offload.policy = policy;
                   spec.offload.slots = slots;
                   spec.offload.scope = CacheScope::global;
                   spec.offload.warm_up_steps = 0;  // the bound holds for the whole run
                 }),
                 "expert_cache_hit_rate");
  };
  const double bound = hit_rate(CachePolicy::belady, 45);
  for (const Choice<CachePolicy>& policy : choices_of(CachePolicy{})) {
    EXPECT_LE(hit_rate(policy.value, 45), bound + 1e-12) << policy.name;
  }
  EXPECT_GE(hit_rate(CachePolicy::belady, 90), bound);
  // Fewer slots than the 64 experts of a token: the cyclic cliff, but for what was preloaded.
  EXPECT_LT(hit_rate(CachePolicy::lru, 45), 0.01);
  EXPECT_EQ(hit_rate(CachePolicy::lru, 256), 1);
}

TEST(OffloadScenario, SlowerLinksAndWrongGuessesCostTime) {
  const double plain = step_seconds(offloaded());
  EXPECT_GT(step_seconds(offloaded([](ScenarioSpec& s) { s.offload.pageable = true; })), plain);
  EXPECT_GT(step_seconds(offloaded([](ScenarioSpec& s) { s.offload.opposite_bytes_per_s = 24e9; })),
            plain);
  const auto guessed = [](double accuracy) {
    return step_seconds(offloaded([&](ScenarioSpec& spec) {
      spec.offload.prefetch_layers = 1;
      spec.offload.prefetch_accuracy = accuracy;
    }));
  };
  EXPECT_GT(guessed(0.0), plain);  // useless copies delay what is needed
  EXPECT_LT(guessed(1.0), guessed(0.0));
  EXPECT_GT(step_seconds(offloaded([](ScenarioSpec& spec) {
              spec.offload.experts = ExpertHome::nvme;
              spec.offload.host_memory_bytes = 40e9;
            })),
            plain);
}

TEST(OffloadScenario, ExpertsThatDoNotFitTheHostAreAReasonNotAnError) {
  const SimulationResult result = simulate(
      offloaded([](ScenarioSpec& spec) { spec.offload.host_memory_bytes = 40e9; }), quiet());
  EXPECT_FALSE(result.feasibility.ok);
  ASSERT_EQ(result.feasibility.reasons.size(), 1u);
  EXPECT_THAT(result.feasibility.reasons[0], ::testing::HasSubstr("out of host memory"));
}

TEST(OffloadScenario, GpusOfOneBoxShareTheirUplinks) {
  // Eight cards, two to an uplink, experts split by tensor parallelism: the copies of a pair meet.
  const auto box = [](std::int64_t slots) {
    return small([&](ScenarioSpec& spec) {
      spec.cluster = "cluster_4090_pcie";
      spec.parallelism.tensor = 8;
      spec.parallelism.expert = 1;
      spec.parallelism.expert_tensor = 8;
      spec.workload.batch_per_gpu = 0.125;
      spec.workload.context_tokens = 512;
      spec.offload.experts = ExpertHome::host;
      spec.offload.slots = slots;
      spec.offload.steps = 20;
      spec.offload.warm_up_steps = 5;
      spec.offload.host_managed = false;
    });
  };
  const SimulationResult result = simulate(box(64), quiet());
  const double misses = 64.0 * (1.0 - result.metric("expert_cache_hit_rate").value);
  // An eighth of 352 MB at half of 26 GB/s.
  EXPECT_NEAR(result.metric("swap_stall_s").value, misses * (352321536.0 / 8 / 13e9 + 1e-5),
              0.02 * misses * 352321536.0 / 8 / 13e9);
  EXPECT_EQ(value(box(256), "expert_cache_hit_rate"), 1);
}

TEST(PrecisionScenario, ColdExpertsSaveBytesInProportion) {
  // bf16 experts, half of them stored in 4 bits: 1.25 bytes an element instead of 2.
  const auto mixed = [](bool is_mixed) {
    return small([&](ScenarioSpec& spec) {
      spec.routing.kind = RoutingModel::gumbel;
      spec.routing.sigma = 0.7;
      spec.parallelism.tensor = 8;  // every GPU holds an eighth of all experts, hot and cold
      spec.parallelism.expert = 1;
      spec.parallelism.expert_tensor = 8;
      if (is_mixed) {
        spec.precision.cold_experts = NumberFormat::int4;
        spec.precision.cold_fraction = 0.5;
      }
    });
  };
  const auto experts = [](const Scenario& scenario) {
    return std::get<MetricGroup>(simulate(scenario, quiet()).find("memory_bytes")->value)[1];
  };
  EXPECT_EQ(experts(mixed(true)).first, "routed_experts");
  EXPECT_NEAR(experts(mixed(true)).second.value / experts(mixed(false)).second.value,
              (2.0 + bytes_per_element(NumberFormat::int4)) / 2.0 / 2.0, 1e-12);
  // Memory-bound decode reads fewer bytes, in both fidelities. (With one expert a GPU it would not:
  // all wait for the GPU of the hottest one.)
  for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event}) {
    Scenario plain = mixed(false);
    Scenario cold = mixed(true);
    plain.spec.fidelity = cold.spec.fidelity = fidelity;
    EXPECT_LT(step_seconds(cold), step_seconds(plain)) << choice_name(fidelity);
  }
}

TEST(PrecisionScenario, EachTensorClassHasAFormatOfItsOwn) {
  const auto kinds = [](const std::function<void(ScenarioSpec&)>& edit) {
    return std::get<MetricGroup>(
        simulate(shipped("quickstart", edit), quiet()).find("memory_bytes")->value);
  };
  const MetricGroup plain = kinds([](ScenarioSpec&) {});
  const MetricGroup attention =
      kinds([](ScenarioSpec& spec) { spec.precision.attention = NumberFormat::bf16; });
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (plain[i].first == "attention_weights") {
      EXPECT_GT(attention[i].second.value, 1.5 * plain[i].second.value);  // fp8 blocks before
    } else {
      EXPECT_EQ(attention[i].second.value, plain[i].second.value) << plain[i].first;
    }
  }
}

TEST(ModelEdits, PrunedMergedAndAddedExpertsKeepTheTotalLoad) {
  const std::vector<double> loads = {1, 8, 2, 4, 3, 6};  // 24 in all
  ModelEdits edits;
  edits.pruned_experts = 1;  // the 1 goes: 23 become 24
  EXPECT_EQ(edited_loads(loads, edits).size(), 5u);
  EXPECT_NEAR(edited_loads(loads, edits)[0], 8.0 * 24 / 23, 1e-12);
  edits = {};
  edits.merged_experts = 1;  // 1 joins 2
  EXPECT_EQ(edited_loads(loads, edits), (std::vector<double>{8, 3, 4, 3, 6}));
  edits = {};
  edits.added_experts = 2;  // 8 and 6 are shared
  EXPECT_EQ(edited_loads(loads, edits), (std::vector<double>{1, 4, 2, 4, 3, 3, 4, 3}));
}

TEST(ModelEdits, GrownExpertsRelieveTheHottest) {
  const auto grown = [](std::int64_t added) {
    return small([&](ScenarioSpec& spec) {
      spec.routing.kind = RoutingModel::gumbel;
      spec.routing.sigma = 1.0;
      spec.model_edits.added_experts = added;
      spec.placement.policy = PlacementKind::best;
    });
  };
  EXPECT_LT(value(grown(8), "rank_load_max_over_mean"), value(grown(0), "rank_load_max_over_mean"));
  EXPECT_THAT(problems_of([](ScenarioSpec& spec) { spec.model_edits.pruned_experts = 9; }),
              ::testing::HasSubstr("do not fit 8 experts; each edited expert once"));
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Scenarios about experts: placement and replicas, capacity, domains over time - in both
// fidelities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/engine/step_loads.h"
#include "sim/input/scenario_experts.h"
#include "sim/moe/expert_cache.h"
#include "sim/moe/placement_dispatch.h"
#include "sim/moe/placement_plan.h"
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

/// Mixtral on 8 GPUs with skew; every GPU has two slots, so that half of the slots are spare.
Scenario skewed(const std::function<void(ScenarioSpec&)>& edit = [](ScenarioSpec&) {}) {
  return small([&](ScenarioSpec& spec) {
    spec.routing.kind = RoutingModel::gumbel;
    spec.routing.sigma = 0.7;
    spec.workload.batch_per_gpu = 512;
    edit(spec);
  });
}

std::string problems_of(const std::function<void(ScenarioSpec&)>& edit) {
  try {
    small(edit);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

template <class Table, class Choices>
void expect_same_names(const Table& table, const Choices& choices, std::size_t more) {
  ASSERT_EQ(table.size() + more, choices.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    EXPECT_EQ(table[i].name, choices[i].name);
  }
}

TEST(ExpertScenario, NamesOfPoliciesAreThoseOfTheTables) {
  expect_same_names(placement_policies(), choices_of(PlacementKind{}), 2);  // file, program
  expect_same_names(dispatch_policies(), choices_of(DispatchRule{}), 0);
  expect_same_names(rebalance_triggers(), choices_of(RebalanceRule{}), 0);
  expect_same_names(eviction_policies(), choices_of(CachePolicy{}), 0);
}

TEST(ExpertScenario, RedundantExpertsRelieveTheBusiestGpuAndCostMemory) {
  const Scenario plain = skewed();
  const auto redundant = [](PlacementKind policy) {
    return skewed([&](ScenarioSpec& spec) {
      spec.placement.slots = 16;
      spec.placement.policy = policy;
    });
  };
  const Scenario eplb = redundant(PlacementKind::eplb);
  const Scenario best = redundant(PlacementKind::best);
  EXPECT_LT(value(best, "rank_load_max_over_mean"), value(plain, "rank_load_max_over_mean"));
  EXPECT_LE(value(best, "rank_load_max_over_mean"),
            value(eplb, "rank_load_max_over_mean") * (1 + 1e-9));
  EXPECT_LE(step_seconds(best), step_seconds(eplb) * (1 + 1e-9));
  EXPECT_LT(step_seconds(best), step_seconds(plain));
  const auto experts = [](const Scenario& scenario) {
    const SimulationResult result = simulate(scenario, quiet());
    for (const auto& [kind, metric] : std::get<MetricGroup>(result.find("memory_bytes")->value)) {
      if (kind == "routed_experts") {
        return metric.value;
      }
    }
    return 0.0;
  };
  EXPECT_DOUBLE_EQ(experts(best), 2.0 * experts(plain));  // 16 slots for 8 experts
}

TEST(ExpertScenario, FidelitiesAgreeUnderEveryDispatchRule) {
  for (const Choice<DispatchRule>& rule : choices_of(DispatchRule{})) {
    Scenario scenario = skewed([&](ScenarioSpec& spec) {
      spec.placement.slots = 16;
      spec.placement.policy = PlacementKind::best;
      spec.placement.dispatch = rule.value;
    });
    const SimulationResult closed = simulate(scenario, quiet());
    scenario.spec.fidelity = Fidelity::event;
    const SimulationResult events = simulate(scenario, quiet());
    EXPECT_NEAR(events.metric("rank_load_max_over_mean").value,
                closed.metric("rank_load_max_over_mean").value, 0.04)
        << rule.name;
    const auto seconds = [](const SimulationResult& result) {
      return std::get<Distribution>(result.find("step_s")->value).mean.value;
    };
    EXPECT_NEAR(seconds(events) / seconds(closed), 1.0, 0.06) << rule.name;
  }
}

TEST(ExpertScenario, ReplicasShareEverySelectionOfADraw) {
  for (const DispatchRule rule : {DispatchRule::even, DispatchRule::nearest, DispatchRule::lp}) {
    const Scenario scenario = skewed([&](ScenarioSpec& spec) {
      spec.placement.slots = 24;
      spec.placement.policy = PlacementKind::lpt;
      spec.placement.dispatch = rule;
    });
    const StepCostModel model(scenario, routing_of(scenario));
    const PassLoads pass = draw_pass(model, 5, 61.0, 3);
    double computed = 0;
    for (const ExpertLoad& load : pass.experts) {
      computed += load.assignments;
    }
    EXPECT_EQ(computed, 61.0 * 8 * 2);  // tokens a GPU, GPUs, top 2
    EXPECT_EQ(pass.dropped, 0);
  }
}

TEST(ExpertScenario, NearestReplicasSendLess) {
  const auto local = [](DispatchRule rule) {
    const Scenario scenario = skewed([&](ScenarioSpec& spec) {
      spec.placement.slots = 32;
      spec.placement.policy = PlacementKind::best;
      spec.placement.dispatch = rule;
    });
    const StepCostModel model(scenario, routing_of(scenario));
    return model.loads().layer(0).fan_out().local_selections;
  };
  // Evenly shared, top_k / ranks of a token's selections stay.
  EXPECT_NEAR(local(DispatchRule::even), 2.0 / 8.0, 1e-9);
  EXPECT_GT(local(DispatchRule::nearest), 2.0 / 8.0);
}

TEST(ExpertScenario, NextBestMovesWhatDropWouldDrop) {
  const auto capped = [](Overflow overflow, double factor) {
    return skewed([&](ScenarioSpec& spec) {
      spec.capacity.factor = factor;
      spec.capacity.overflow = overflow;
    });
  };
  for (Scenario scenario : {capped(Overflow::next_best, 1.25), capped(Overflow::drop, 1.25)}) {
    const bool moves = scenario.spec.capacity.overflow == Overflow::next_best;
    for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event}) {
      scenario.spec.fidelity = fidelity;
      // 1.25 times the mean leaves places for all.
      const double dropped = value(scenario, "dropped_token_fraction");
      EXPECT_EQ(dropped < 1e-6, moves) << choice_name(fidelity);
    }
  }
  EXPECT_NEAR(value(capped(Overflow::next_best, 1.25), "rerouted_token_fraction"),
              value(capped(Overflow::drop, 1.25), "dropped_token_fraction"), 1e-9);
  // Half of the places are missing: half of the selections are dropped whatever else is done.
  EXPECT_NEAR(value(capped(Overflow::next_best, 0.5), "dropped_token_fraction"), 0.5, 1e-3);
}

TEST(ExpertScenario, OverflowPoursByPopularityUntilNobodyHasRoom) {
  // 10 over, room for 4 and 8: by popularity 3:1 the first gets 4 (full), the second the other 6.
  std::vector<double> kept = {10, 6, 2};
  EXPECT_NEAR(pour_overflow(kept, std::vector<double>{5, 3, 1}, 10, 10), 0, 1e-9);
  EXPECT_NEAR(kept[1], 10, 1e-9);
  EXPECT_NEAR(kept[2], 8, 1e-9);
  EXPECT_NEAR(pour_overflow(kept, std::vector<double>{5, 3, 1}, 5, 10), 3, 1e-9);
}

TEST(ExpertScenario, PaddingComputesEveryPlaceAndGoodputCountsWhatIsKept) {
  const auto balanced = [](bool padding) {
    return small([&](ScenarioSpec& spec) {
      spec.routing.kind = RoutingModel::gumbel;
      spec.routing.sigma = 0;
      spec.workload.batch_per_gpu = 512;
      spec.capacity.factor = 2;
      spec.capacity.padding = padding;
    });
  };
  // Twice the places that balance needs: half of the rows are for nobody.
  EXPECT_NEAR(value(balanced(true), "padding_fraction"), 0.5, 1e-3);
  Scenario events = balanced(true);
  events.spec.fidelity = Fidelity::event;
  EXPECT_NEAR(value(events, "padding_fraction"), 0.5, 1e-3);
  EXPECT_GT(step_seconds(balanced(true)), step_seconds(balanced(false)));

  const Scenario dropping = skewed([](ScenarioSpec& spec) {
    spec.capacity.factor = 0.25;
    spec.capacity.overflow = Overflow::drop;
  });
  const double kept = 1.0 - value(dropping, "dropped_token_fraction");
  EXPECT_NEAR(value(dropping, "goodput_tokens_per_s_per_gpu"),
              kept * value(dropping, "output_tokens_per_s_per_gpu"), 1e-6);
  // Dropping three quarters is faster, and not better.
  EXPECT_LT(step_seconds(dropping), step_seconds(skewed()));
  EXPECT_LT(value(dropping, "goodput_tokens_per_s_per_gpu"),
            value(skewed(), "output_tokens_per_s_per_gpu"));
}

/// Two domains; all traffic switches from the first to the second at noon.
Scenario noon(double time_s, const std::function<void(ScenarioSpec&)>& edit) {
  return small([&](ScenarioSpec& spec) {
    spec.workload.batch_per_gpu = 512;
    spec.routing.kind = RoutingModel::domains;
    spec.routing.domains = {{.name = "law", .sigma = 0.7}, {.name = "translation", .sigma = 1.0}};
    spec.routing.phases = {{.start_s = 0, .shares = {1, 0}}, {.start_s = 43200, .shares = {0, 1}}};
    spec.routing.time_s = time_s;
    spec.placement.policy = PlacementKind::best;
    spec.placement.slots = 16;
    edit(spec);
  });
}

TEST(ExpertScenario, APlanOfTheMorningIsStaleInTheAfternoon) {
  const auto planned = [](double at, double served) {
    return value(noon(served, [&](ScenarioSpec& spec) { spec.placement.planned_at_s = at; }),
                 "placement_balancedness");
  };
  // Two slots a GPU leave 4% between the best pairs; a plan of the wrong domain leaves much more.
  EXPECT_GT(planned(36000, 36000), 0.95);
  EXPECT_GT(planned(50000, 50000), 0.95);
  EXPECT_LT(planned(36000, 50000), 0.85);
}

TEST(ExpertScenario, RebalancingFollowsTheShiftAndCountsWhatItMoves) {
  const auto run = [](RebalanceRule rule, double time_s) {
    return simulate(noon(time_s,
                         [&](ScenarioSpec& spec) {
                           spec.placement.rebalance.trigger = rule;
                           spec.placement.rebalance.window_s = 3600;
                           spec.placement.rebalance.history_windows = 1;
                           spec.placement.planned_at_s = 0;
                         }),
                    quiet());
  };
  // Nothing changes before noon, so nothing is moved; the window after noon is served by the stale
  // plan, the next by a new one.
  const SimulationResult morning = run(RebalanceRule::threshold, 40000);
  EXPECT_EQ(morning.metric("rebalance_plans").value, 0);
  EXPECT_EQ(morning.metric("rebalance_moved_bytes").value, 0);
  const SimulationResult shifted = run(RebalanceRule::threshold, 44000);
  EXPECT_LT(shifted.metric("placement_balancedness").value, 0.85);
  const SimulationResult afternoon = run(RebalanceRule::threshold, 50000);
  EXPECT_EQ(afternoon.metric("rebalance_plans").value, 1);
  EXPECT_GT(afternoon.metric("placement_balancedness").value, 0.95);
  // Whole experts of 3 x 4096 x 14336 bf16 weights.
  const double moved = afternoon.metric("rebalance_moved_bytes").value / (3.0 * 4096 * 14336 * 2);
  EXPECT_NEAR(moved, std::round(moved), 1e-9);
  EXPECT_GT(moved, 0);
  EXPECT_GT(afternoon.metric("rebalance_lost_s").value, 0);
}

TEST(ExpertScenario, DomainsAreReportedEachAlone) {
  const SimulationResult result = simulate(noon(43200 - 1800,
                                                [](ScenarioSpec& spec) {
                                                  spec.routing.phases[1].drift_s = 3600;
                                                  spec.capacity.factor = 1.0;
                                                  spec.capacity.overflow = Overflow::drop;
                                                }),
                                           quiet());
  const auto group = [&](const char* name) {
    return std::get<MetricGroup>(result.find(name)->value);
  };
  // Half way through the drift.
  EXPECT_NEAR(group("domain_share")[0].second.value, 0.5, 1e-12);
  EXPECT_EQ(group("domain_step_s")[1].first, "translation");
  EXPECT_GT(group("domain_dropped_token_fraction")[1].second.value,
            group("domain_dropped_token_fraction")[0].second.value);  // the more skewed one
}

TEST(ExpertScenario, AProgramOfTheUsersPlacesExperts) {
  PlacementRequest request;
  request.weights = {{4, 3, 2, 1}};
  request.slots = 4;
  request.gpus = 2;
  EXPECT_EQ(program_slots(request,
                          {"sh", "-c", "read line; echo '{\"slot_to_expert\": [[0, 3, 1, 2]]}'"}),
            (SlotTable{{0, 3, 1, 2}}));
  try {
    program_slots(request, {"sh", "-c", "read line; echo '{\"slot_to_expert\": [[0, 3, 1, 1]]}'"});
    FAIL();
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "sh: layer 0: expert 2 has no slot; every expert needs one");
  }
}

TEST(ExpertScenario, KeysThatDoNotFitEachOtherAreNamedTogether) {
  const std::string text = problems_of([](ScenarioSpec& spec) {
    spec.routing.time_s = 5;
    spec.capacity.padding = true;
    spec.placement.file = "somewhere.json";
    spec.placement.planned_at_s = 3;
    spec.placement.rebalance.trigger = RebalanceRule::interval;
  });
  EXPECT_EQ(text,
            "small#/routing/time_s: is not used by routing of kind uniform; leave it out, "
            "or choose the kind domains\n"
            "small#/capacity/factor: is missing; padding fills places, so their number "
            "must be known: for example 1.25\n"
            "small#/placement/file: is not used by policy contiguous; leave it out, or "
            "choose the policy file\n"
            "small#/placement/planned_at_s: needs routing that changes over time; allowed: with "
            "/routing/kind domains\n"
            "small#/placement/rebalance/trigger: re-balancing runs from 0 to /routing/time_s, "
            "window by window; allowed: with /routing/kind domains and 1 to 2000 windows before "
            "/routing/time_s");
  EXPECT_THAT(
      problems_of([](ScenarioSpec& spec) {
        spec.routing.kind = RoutingModel::domains;
        spec.routing.domains = {{.name = "a"}, {.name = "a"}};
        spec.routing.phases = {{.shares = {1}}};
        spec.routing.bursts = {{.domain = "b"}};
      }),
      ::testing::AllOf(::testing::HasSubstr("/routing/domains/1/name: \"a\" is the name of"),
                       ::testing::HasSubstr("/routing/phases/0/shares: 1 shares"),
                       ::testing::HasSubstr("/routing/bursts/0/domain: \"b\" is no domain")));
}

TEST(TypicalRouting, IsTheGumbelLawOfTheCardOrOfATypicalDomain) {
  const auto resolved = [](const char* model) {
    return small([&](ScenarioSpec& spec) {
             spec.model = model;
             spec.routing.kind = RoutingModel::typical;
           })
        .spec.routing;
  };
  EXPECT_EQ(resolved("mixtral_8x7b").kind, RoutingModel::gumbel);
  EXPECT_EQ(resolved("mixtral_8x7b").sigma, 0.15);            // its card
  EXPECT_EQ(resolved("qwen3_30b_a3b").sigma, kTypicalSigma);  // its card states none
  EXPECT_EQ(problems_of([](ScenarioSpec& spec) {
              spec.routing.kind = RoutingModel::typical;
              spec.routing.sigma = 1;
            }),
            "small#/routing/sigma: is not used by routing of kind typical; leave it out, or choose "
            "the kind gumbel");
}

TEST(DistinctLayers, AsManyAsThereAreChangeNothing) {
  for (const Fidelity fidelity : {Fidelity::analytic, Fidelity::event}) {
    const auto seconds = [&](std::optional<std::int64_t> layers) {
      return step_seconds(skewed([&](ScenarioSpec& spec) {
        spec.fidelity = fidelity;
        spec.routing.distinct_layers = layers;
      }));
    };
    EXPECT_EQ(seconds(std::nullopt), seconds(32));  // Mixtral has 32
    EXPECT_NE(seconds(std::nullopt), seconds(4));
  }
}

TEST(DistinctLayers, OneStandsForAll) {
  // One popularity: the closed form of 32 equal layers, which any seed's layer 0 shows.
  const Scenario one = skewed([](ScenarioSpec& spec) { spec.routing.distinct_layers = 1; });
  const StepCostModel model(one, routing_of(one));
  const LoadProfile first = model.loads().profile(0, 1000);
  for (const std::int64_t layer : {1, 17, 31}) {
    EXPECT_EQ(model.loads().profile(layer, 1000).hottest_rank_load, first.hottest_rank_load);
  }
  EXPECT_EQ(model.loads().copy_of(17), 17);
}

TEST(DistinctLayers, FewComeCloseToAll) {
  // The hottest of 8 ranks varies by some 20% between layers of sigma 0.7; experts are about half
  // of the step: 8 layers give the mean of 32 to about 0.5 * 20% / sqrt(8) = 3.5% at one sigma.
  const auto seconds = [](std::optional<std::int64_t> layers) {
    return step_seconds(skewed([&](ScenarioSpec& spec) { spec.routing.distinct_layers = layers; }));
  };
  EXPECT_NEAR(seconds(8) / seconds(std::nullopt), 1.0, 0.1);
}

TEST(DistinctLayers, CopiesDrawTokensOfTheirOwn) {
  const Scenario one = skewed([](ScenarioSpec& spec) { spec.routing.distinct_layers = 1; });
  const StepCostModel model(one, routing_of(one));
  const PassLoads first = draw_pass(model, 0, 32, 1, false);
  EXPECT_EQ(draw_pass(model, 0, 32, 1, false).rank_max_over_mean, first.rank_max_over_mean);
  EXPECT_NE(draw_pass(model, 1, 32, 1, false).rank_max_over_mean, first.rank_max_over_mean);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "sim/base/random.h"

namespace moesim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

PlacementRequest request_of(std::vector<std::vector<double>> weights, int slots, int gpus,
                            int nodes = 1, int groups = 1) {
  PlacementRequest request;
  request.weights = std::move(weights);
  request.slots = slots;
  request.gpus = gpus;
  request.nodes = nodes;
  request.groups = groups;
  return request;
}

double hottest(const Placement& placement, std::size_t layer) {
  return *std::max_element(placement.gpu_load[layer].begin(), placement.gpu_load[layer].end());
}

// Counts of a skewed router: exp(sigma * normal), whole numbers as counters give them.
std::vector<double> skewed_weights(RandomStream& random, int experts, double sigma) {
  std::vector<double> weights;
  for (int e = 0; e < experts; ++e) {
    weights.push_back(
        static_cast<double>(static_cast<long>(1000.0 * portable_exp(sigma * random.normal()))));
  }
  return weights;
}

TEST(Eplb, ReproducesThePublishedWorkedExample) {
  // deepseek-ai/EPLB README: 2 layers of 12 experts, 16 slots, 4 groups, 2 nodes, 8 GPUs.
  const Placement placement =
      place_experts(request_of({{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
                                {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}},
                               16, 8, 2, 4),
                    "eplb");
  EXPECT_THAT(placement.slot_to_expert[0],
              ElementsAre(5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1));
  EXPECT_THAT(placement.slot_to_expert[1],
              ElementsAre(7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1));
}

TEST(Eplb, KeepsSlotOrderWhereEachGpuHoldsOneSlot) {
  // One item per pack: no sorting, so 4 experts stay in place and the spare slots follow in the
  // order dealt: 40/1 first, then 30 (40 has become 20).
  const Placement placement = place_experts(request_of({{10, 40, 30, 20}}, 6, 6), "eplb");
  EXPECT_THAT(placement.slot_to_expert[0], ElementsAre(0, 1, 2, 3, 1, 2));
}

TEST(BestPlacement, BeatsEplbOnTwoHotExperts) {
  // Eight slots of 600/4 and 560/4, the 120s halved: 150 + {20,10,10,10} and 140 + 60, hottest 200.
  // EPLB's 600/5, 560/5 leave two whole 120s to sit beside 112: 232.
  const PlacementRequest request = request_of({{600, 560, 120, 120, 20, 10, 10, 10}}, 16, 8);
  EXPECT_DOUBLE_EQ(hottest(place_experts(request, "eplb"), 0), 232.0);
  EXPECT_LE(hottest(place_experts(request), 0), 200.0);
}

TEST(PlacementProperty, EveryPolicyPlacesEveryExpertAndSeparatesReplicas) {
  for (int seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomStream random(1, "placement_test", static_cast<std::uint64_t>(seed));
    const int nodes = 1 + static_cast<int>(random.below(2));
    const int gpus = nodes * (1 + static_cast<int>(random.below(8)));
    const int groups = nodes * (1 + static_cast<int>(random.below(2)));
    const int experts = groups * (1 + static_cast<int>(random.below(12)));
    const int least = (experts + gpus - 1) / gpus;
    const int most = experts / nodes;  // more would force two replicas onto one GPU
    if (least > most) {
      continue;
    }
    const int slots_per_gpu =
        least +
        static_cast<int>(random.below(static_cast<std::uint64_t>(std::min(most - least, 4) + 1)));
    PlacementRequest request = request_of({skewed_weights(random, experts, 1.0)},
                                          slots_per_gpu * gpus, gpus, nodes, groups);
    request.coactivation.resize(1);
    for (int pair = 0; experts > 1 && pair < 3 * experts; ++pair) {
      const int a = static_cast<int>(random.below(static_cast<std::uint64_t>(experts)));
      const int b =
          (a + 1 + static_cast<int>(random.below(static_cast<std::uint64_t>(experts - 1)))) %
          experts;
      request.coactivation[0].push_back({a, b, 1.0 + random.uniform()});
    }
    const double total = std::accumulate(request.weights[0].begin(), request.weights[0].end(), 0.0);
    const double bound = placement_lower_bound(request.weights[0], request.slots, gpus);
    for (const PlacementPolicyRow& row : placement_policies()) {
      SCOPED_TRACE(std::string(row.name));
      const Placement placement = place_experts(request, row.name);
      const std::vector<int>& slots = placement.slot_to_expert[0];
      EXPECT_EQ(std::set<int>(slots.begin(), slots.end()).size(),
                static_cast<std::size_t>(experts));
      EXPECT_EQ(std::accumulate(placement.replicas[0].begin(), placement.replicas[0].end(), 0),
                request.slots);
      EXPECT_NEAR(std::accumulate(placement.gpu_load[0].begin(), placement.gpu_load[0].end(), 0.0),
                  total, 1e-9 * total);
      EXPECT_GE(hottest(placement, 0), bound * (1.0 - 1e-12));
      if (row.name != "eplb") {
        EXPECT_EQ(same_gpu_replicas(slots, gpus), 0);
      }
    }
  }
}

TEST(PlacementProperty, BestIsNeverBusierThanEplbUnderTheSameRules) {
  int compared = 0;
  for (int seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomStream random(1, "placement_test/eplb", static_cast<std::uint64_t>(seed));
    const int gpus = 2 + static_cast<int>(random.below(7));
    const int experts = gpus * (1 + static_cast<int>(random.below(4)));
    PlacementRequest request =
        request_of({skewed_weights(random, experts, 1.0)}, experts + gpus, gpus);
    const Placement eplb = place_experts(request, "eplb");
    // EPLB may put replicas of one expert on one GPU; then only a `best` that may too is compared.
    request.allow_same_gpu_replicas = same_gpu_replicas(eplb.slot_to_expert[0], gpus) > 0;
    compared += request.allow_same_gpu_replicas ? 0 : 1;
    EXPECT_LE(hottest(place_experts(request), 0), hottest(eplb, 0) * (1.0 + 1e-12));
  }
  EXPECT_GT(compared, 20);
}

TEST(BestPlacement, LeavesNodesOnlyForAGainOfFivePercent) {
  // Two groups of two experts, two nodes of two GPUs, one slot each: held to nodes the GPUs carry
  // 90, 90, 10, 10. With spare slots the hot group cannot spread inside its node, across nodes it
  // can: mean 50.
  const PlacementRequest request = request_of({{90, 90, 10, 10}}, 8, 4, 2, 2);
  EXPECT_DOUBLE_EQ(hottest(place_experts(request, "eplb"), 0), 90.0);
  EXPECT_LE(hottest(place_experts(request), 0), 65.0);
  // Equal groups: nothing to gain, groups stay whole.
  const Placement equal = place_experts(request_of({{50, 50, 50, 50}}, 8, 4, 2, 2));
  for (std::size_t s = 0; s < 8; ++s) {
    EXPECT_EQ(equal.slot_to_expert[0][s] / 2, equal.slot_to_expert[0][s - s % 4] / 2);
  }
}

TEST(PlacementProperty, EqualRequestsGiveEqualSlots) {
  RandomStream random(2, "placement_test");
  const PlacementRequest request = request_of({skewed_weights(random, 32, 1.2)}, 40, 8);
  EXPECT_EQ(place_experts(request).slot_to_expert, place_experts(request).slot_to_expert);
}

TEST(Placement, HierarchicalRequestsKeepAGroupOnOneNode) {
  RandomStream random(3, "placement_test");
  const PlacementRequest request = request_of({skewed_weights(random, 32, 1.0)}, 48, 8, 2, 4);
  for (const char* policy : {"eplb", "lpt", "activated"}) {
    const Placement placement = place_experts(request, policy);
    std::vector<std::set<int>> nodes_of_group(4);
    for (int s = 0; s < 48; ++s) {
      nodes_of_group[static_cast<std::size_t>(
                         placement.slot_to_expert[0][static_cast<std::size_t>(s)] / 8)]
          .insert(s / 24);
    }
    for (const std::set<int>& nodes : nodes_of_group) {
      EXPECT_EQ(nodes.size(), 1u) << policy;
    }
  }
}

TEST(SpeedAwarePlacement, GivesTheFasterGpuMoreLoad) {
  // Three slots a GPU: 30+30+30 on the GPU of speed 2 and 15+15+15 on the one of speed 1 both
  // take 45.
  PlacementRequest request = request_of({{30, 15, 30, 15, 30, 15}}, 6, 2);
  request.gpu_speed = {2.0, 1.0};
  const Placement placement = place_experts(request, "speed_aware");
  EXPECT_THAT(placement.gpu_load[0], ElementsAre(90.0, 45.0));
  EXPECT_DOUBLE_EQ(placement.balancedness[0], 1.0);
}

TEST(ActivatedPlacement, BalancesActivationsWhereTokenBalanceDoesNot) {
  // Expected activations of a GPU = sum over its slots of 1 - (1 - q)^T, q = top_k * share of load:
  // almost flat in the load of hot experts, so a GPU balanced by tokens (one hot, many cold)
  // differs from one balanced so.
  RandomStream random(4, "placement_test");
  PlacementRequest request = request_of({skewed_weights(random, 64, 1.5)}, 64, 8);
  request.tokens_per_step = 16;
  request.top_k = 6;
  const double total = std::accumulate(request.weights[0].begin(), request.weights[0].end(), 0.0);
  const auto busiest = [&](const Placement& placement) {
    double most = 0.0;
    for (std::size_t g = 0; g < 8; ++g) {
      double active = 0.0;
      for (std::size_t i = 0; i < 8; ++i) {
        const auto e = static_cast<std::size_t>(placement.slot_to_expert[0][8 * g + i]);
        active += 1.0 - std::pow(1.0 - std::min(1.0, 6.0 * request.weights[0][e] / total), 16.0);
      }
      most = std::max(most, active);
    }
    return most;
  };
  EXPECT_LT(busiest(place_experts(request, "activated")), busiest(place_experts(request, "best")));
}

TEST(CoactivationPlacement, PutsPairsThatAlwaysMeetOnOneGpu) {
  // Experts 2i and 2i+1 always serve the same token; equal loads, 4 GPUs of two slots: four pairs,
  // four GPUs.
  PlacementRequest request = request_of({std::vector<double>(8, 10.0)}, 8, 4);
  request.coactivation = {{{0, 1, 5}, {2, 3, 5}, {4, 5, 5}, {6, 7, 5}, {1, 2, 1}, {5, 6, 1}}};
  const Placement placement = place_experts(request, "coactivation");
  for (std::size_t g = 0; g < 4; ++g) {
    EXPECT_EQ(placement.slot_to_expert[0][2 * g] / 2, placement.slot_to_expert[0][2 * g + 1] / 2);
  }
}

TEST(Placement, LowerBoundIsTheMeanOrTheUnavoidableReplica) {
  // 4 GPUs, 5 slots: mean 130/4 = 32.5, but the spare slot halves 100 to 50 at best.
  const std::vector<double> weights = {100, 10, 10, 10};
  EXPECT_DOUBLE_EQ(placement_lower_bound(weights, 5, 4), 50.0);
  EXPECT_DOUBLE_EQ(placement_lower_bound(weights, 8, 4), 32.5);  // 100/4 = 25 < mean
}

TEST(Placement, NamesEveryProblemOfARequest) {
  PlacementRequest request = request_of({{1, -2, 3}}, 7, 2);
  try {
    place_experts(request);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/weights/0/1"));
  }
  request.weights = {{1, 2, 3}};
  try {
    place_experts(request);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("#/slots: 7 is not a multiple of the GPUs (2)"));
  }
}

TEST(Placement, AnUnknownPolicyNamesTheNearest) {
  try {
    place_experts(request_of({{1, 2}}, 2, 2), "eplp");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean \"eplb\"?"));
    EXPECT_THAT(error.what(), HasSubstr("contiguous, round_robin, lpt, eplb, best"));
  }
}

}  // namespace
}  // namespace moesim

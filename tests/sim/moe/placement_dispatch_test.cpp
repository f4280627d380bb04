// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/placement_dispatch.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "sim/base/random.h"

namespace moesim {
namespace {

using ::testing::ElementsAre;

// 4 GPUs in 2 nodes, two slots each: expert 0 on GPUs 0 and 2, expert 1 on 0 and 3, expert 2 on 1
// and 2, expert 3 on 1 and 3. Every GPU sends 12 selections to expert 0 and 4 to each other.
DispatchProblem two_nodes() {
  DispatchProblem problem;
  problem.slot_to_expert = {0, 1, 2, 3, 0, 2, 1, 3};
  problem.gpus = 4;
  problem.nodes = 2;
  problem.experts = 4;
  problem.counts.assign(4, {12, 4, 4, 4});
  return problem;
}

TEST(Dispatch, EvenGivesEveryReplicaTheSameShare) {
  // GPU 0 holds half of expert 0 (24 of 48) and half of expert 1 (8 of 16).
  EXPECT_THAT(dispatch_selections(two_nodes(), "even").gpu_load, ElementsAre(32, 16, 32, 16));
}

TEST(Dispatch, NearestStaysOnTheGpuThenInTheNode) {
  const DispatchResult result = dispatch_selections(two_nodes(), "nearest");
  // Each node holds every expert once, so nothing leaves a node. GPU 0 keeps 12 + 4 and gets as
  // many from GPU 1; GPU 1 keeps 4 + 4 and gets as many. GPU 2 (0, 2) likewise 32, GPU 3 (1, 3) 16.
  EXPECT_THAT(result.gpu_load, ElementsAre(32, 16, 32, 16));
  EXPECT_DOUBLE_EQ(result.same_gpu_fraction, 0.5);  // 16 + 8 + 16 + 8 of 96
  EXPECT_DOUBLE_EQ(result.same_node_fraction, 0.5);
}

TEST(Dispatch, LinearProgramReachesTheMeanWhereReplicasAllowIt) {
  // Total 96 over 4 GPUs: 24 each is possible (expert 0's 48 split 24 + 24, experts 1 and 2 sent to
  // GPUs 3 and 1, expert 3 shared).
  EXPECT_NEAR(dispatch_selections(two_nodes(), "lp").busiest, 24.0, 1e-9);
}

TEST(Dispatch, LinearProgramStopsAtWhatASetOfExpertsForces) {
  // Experts 0 and 1 live on GPUs 0 and 1 only: (40 + 20) / 2 = 30 although the mean is 70 / 3.
  DispatchProblem problem;
  problem.slot_to_expert = {0, 1, 0, 1, 2, 3};
  problem.gpus = 3;
  problem.experts = 4;
  problem.counts = {{40, 20, 5, 5}, {0, 0, 0, 0}, {0, 0, 0, 0}};
  const DispatchResult result = dispatch_selections(problem, "lp");
  EXPECT_NEAR(result.busiest, 30.0, 1e-9);
  EXPECT_NEAR(result.gpu_load[2], 10.0, 1e-9);
}

TEST(DispatchProperty, EveryPolicySendsEverySelectionToItsExpertAndLpIsNeverBusier) {
  for (int seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomStream random(1, "dispatch_test", static_cast<std::uint64_t>(seed));
    PlacementRequest request;
    request.gpus = 2 * (1 + static_cast<int>(random.below(4)));
    const int experts = request.gpus * (1 + static_cast<int>(random.below(4)));
    request.slots = experts + request.gpus;
    request.weights.resize(1);
    DispatchProblem problem;
    problem.counts.assign(static_cast<std::size_t>(request.gpus), {});
    for (int e = 0; e < experts; ++e) {
      double sum = 0.0;
      const double scale = portable_exp(1.5 * random.normal());
      for (auto& row : problem.counts) {
        row.push_back(static_cast<double>(static_cast<long>(100.0 * scale * random.uniform())));
        sum += row.back();
      }
      request.weights[0].push_back(sum);
    }
    problem.slot_to_expert = place_experts(request).slot_to_expert[0];
    problem.gpus = request.gpus;
    problem.nodes = 2;
    problem.experts = experts;
    double lp = 0.0;
    for (const DispatchPolicyRow& row : dispatch_policies()) {
      SCOPED_TRACE(std::string(row.name));
      const DispatchResult result = dispatch_selections(problem, row.name, 7);
      for (std::size_t source = 0; source < problem.counts.size(); ++source) {
        std::vector<double> arrived(static_cast<std::size_t>(experts), 0.0);
        for (std::size_t slot = 0; slot < problem.slot_to_expert.size(); ++slot) {
          EXPECT_GE(result.sent[source][slot], 0.0);
          arrived[static_cast<std::size_t>(problem.slot_to_expert[slot])] +=
              result.sent[source][slot];
        }
        for (std::size_t e = 0; e < arrived.size(); ++e) {
          EXPECT_NEAR(arrived[e], problem.counts[source][e],
                      1e-6 * (1.0 + problem.counts[source][e]));
        }
      }
      lp = row.name == "lp" ? result.busiest : lp;
    }
    for (const DispatchPolicyRow& row : dispatch_policies()) {
      EXPECT_LE(lp, dispatch_selections(problem, row.name, 7).busiest * (1.0 + 1e-9)) << row.name;
    }
  }
}

TEST(FanOut, CountsDistinctGpusAndNodesNearestFirst) {
  const std::vector<int> slots = {0, 1, 2, 3, 0, 2, 1, 3};
  // Token 0 (GPU 0) takes experts 0 and 1: both on GPU 0. Token 1 (GPU 1) takes 0 and 2: GPU 0 and
  // GPU 1.
  const std::vector<std::int16_t> tokens = {0, 1, 0, 2};
  const PlacementFanOut fan_out = mean_fan_out(slots, 4, 2, tokens, 2);
  EXPECT_DOUBLE_EQ(fan_out.gpus, 1.5);
  EXPECT_DOUBLE_EQ(fan_out.nodes, 1.0);
}

}  // namespace
}  // namespace moesim

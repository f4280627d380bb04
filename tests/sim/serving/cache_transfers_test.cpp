// SPDX-License-Identifier: Apache-2.0
// Caches between pools as flows: those that meet at a card share it.
#include "sim/serving/cache_transfers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/base/error.h"
#include "sim/run/simulate.h"
#include "tests/sim/serving/serving_fixtures.h"

namespace moesim {
namespace {

using testing::dense;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Two prefill and two decode instances of eight H100 each, tensor-parallel.
Scenario two_and_two(const testing::Edit& edit = [](ScenarioSpec&) {}) {
  return dense([&](ScenarioSpec& spec) {
    spec.fidelity = Fidelity::flow;
    spec.gpus_per_node = 8;
    spec.parallelism.tensor = 8;
    spec.serving.instances = 2;
    spec.serving.prefill_pool.instances = 2;
    spec.serving.prefill_pool.tensor = 8;
    spec.workload.requests_per_s = 20;
    spec.workload.requests = 300;
    spec.workload.prompt_tokens = 6000;
    edit(spec);
  });
}

struct Fixture {
  Scenario scenario = two_and_two();
  RequestStream stream{scenario};
  ServingPlan plan = serving_plan(scenario, stream);
  CacheTransfers transfers{scenario, plan};
  const Nics& nics = scenario.cluster->node_groups.front().nics;
  /// What the eight cards of a replica send in a second.
  Bytes second{8 * nics.achieved->value.value()};
};

TEST(CacheTransfers, ALoneCacheUsesAllCardsOfAReplica) {
  Fixture f;
  f.transfers.start(0, 7, 0, 0, f.second);
  const double end = 1 + f.nics.latency.value.value();
  EXPECT_THAT(f.transfers.arrived(end - 1e-6), IsEmpty());
  EXPECT_THAT(f.transfers.arrived(end + 1e-6), ElementsAre(7));
  EXPECT_FALSE(f.transfers.next_change().has_value());
}

TEST(CacheTransfers, TwoCachesForOneReplicaEachGetHalf) {
  Fixture f;
  f.transfers.start(0, 1, 0, 0, f.second);
  f.transfers.start(0, 2, 1, 0, f.second);
  EXPECT_THAT(f.transfers.arrived(1.99), IsEmpty());
  EXPECT_THAT(f.transfers.arrived(2.01), ::testing::UnorderedElementsAre(1, 2));
}

TEST(CacheTransfers, CachesThatMeetNowhereDoNotWait) {
  Fixture f;
  f.transfers.start(0, 1, 0, 0, f.second);
  f.transfers.start(0, 2, 1, 1, f.second);
  EXPECT_THAT(f.transfers.arrived(1.01), ::testing::UnorderedElementsAre(1, 2));
}

TEST(CacheTransfers, ALateComerTakesHalfFromThenOn) {
  // The first has half a second alone and a whole one at half rate; the second then has the cards
  // for the half that it lacks: ends at 1.5 and 2.
  Fixture f;
  f.transfers.start(0, 1, 0, 0, f.second);
  f.transfers.start(0.5, 2, 1, 0, f.second);
  EXPECT_THAT(f.transfers.arrived(1.49), IsEmpty());
  EXPECT_THAT(f.transfers.arrived(1.51), ElementsAre(1));
  EXPECT_THAT(f.transfers.arrived(1.99), IsEmpty());
  EXPECT_THAT(f.transfers.arrived(2.01), ElementsAre(2));
}

TEST(CacheTransfers, AServingRunMovesEveryCacheAndAgreesWithQueuesWhereFewMeet) {
  const auto mean_transfer = [](Fidelity fidelity) {
    const testing::ServingRun done =
        testing::run(two_and_two([&](ScenarioSpec& spec) { spec.fidelity = fidelity; }));
    EXPECT_EQ(done.record.transfers, 300);
    for (std::size_t id = 0; id < done.record.requests.size(); ++id) {
      EXPECT_GT(done.record.requests[id].finish_s, 0) << id;
    }
    return done.record.transfer_s / done.record.transfers;
  };
  // 2 ms of transfer every 50 ms: they hardly ever meet.
  EXPECT_NEAR(mean_transfer(Fidelity::flow) / mean_transfer(Fidelity::event), 1.0, 0.05);
}

TEST(CacheTransfers, StepsBesideCachesAreLonger) {
  // Caches take a share of the cards from exchanges between nodes.
  const Scenario scenario = dense([](ScenarioSpec& spec) {
    spec.model = "deepseek_v2_lite";
    spec.nodes = 2;
    spec.gpus_per_node = 8;
    spec.fidelity = Fidelity::flow;
    spec.parallelism.expert = 16;
    spec.serving.prefill_pool.instances = 2;
    spec.serving.prefill_pool.nodes = 1;
    spec.workload.prompt_tokens = 4000;
    spec.workload.requests_per_s = 200;
    spec.workload.requests = 400;
  });
  const RequestStream stream(scenario);
  const ServingPlan alone = serving_plan(scenario, stream);
  const auto network = [](const ServingPool& pool) {
    return pool.scenario->cluster->node_groups.front().nics.rate.value.value();
  };
  // 64 GB/s of caches: a share of 16 cards in, of 8 or 16 out. What they take is what they offer
  // as long as that is less than a ninth.
  const double offered = 200 * 4000 * alone.prefill->transfer_bytes_per_token.value();
  const ServingPlan beside = serving_plan_beside_caches(scenario, stream, alone, 200);
  const double card = scenario.cluster->node_groups.front().nics.achieved->value.value();
  const double share = std::max(8.0 / 9.0, 1 - offered / 16 / card);
  EXPECT_NEAR(network(beside.serving) / network(alone.serving), share, 2e-3);
  EXPECT_EQ(beside.serving.transfer_rate.value(), alone.serving.transfer_rate.value());
}

}  // namespace
}  // namespace moesim

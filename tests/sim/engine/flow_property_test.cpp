// SPDX-License-Identifier: Apache-2.0
// What must hold for any network and any transfer, against the reference in flow_reference.h.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>

#include "sim/base/random.h"
#include "sim/cluster/background.h"
#include "sim/engine/flow_network.h"
#include "tests/sim/engine/flow_reference.h"
#include "tests/sim/engine/random_plan.h"

namespace moesim {
namespace {

constexpr std::uint64_t kNumSeeds = 150;

RandomPlan plan_of(std::uint64_t seed) {
  RandomStream random(seed, "shape");
  const auto groups = static_cast<std::uint32_t>(1 + random.below(4));
  return RandomPlan(seed, groups, static_cast<std::uint32_t>(1 + random.below(5)));
}

// A third of the matrices is uniform, a third has few sizes (ties), a third all different sizes.
TransferSet transfer_of(std::uint64_t seed, std::uint32_t num_ranks) {
  RandomStream random(seed, "transfer");
  const std::uint64_t kind = random.below(3);
  if (kind == 0) {
    return TransferSet::uniform(num_ranks, Bytes(10.0));
  }
  std::vector<double> bytes(std::size_t{num_ranks} * num_ranks);
  for (double& value : bytes) {
    value = kind == 1 ? static_cast<double>(random.below(3)) : 20.0 * random.uniform();
  }
  return TransferSet::matrix(num_ranks, bytes);
}

TEST(FlowProperty, EndTimesAgreeWithTheReferenceSolver) {
  // Both are exact; they differ by accumulated rounding only, so 1e-9 of the makespan is generous.
  for (std::uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const RandomPlan plan = plan_of(seed);
    const TransferSet set = transfer_of(seed, plan.num_ranks());
    const std::vector<double> expected = reference_ends(plan, set);
    FlowNetwork network(plan);
    const TransferId id = network.start(SimTime(), set);
    network.finish();
    const std::span<const double> ends = network.flow_ends(id);
    const double makespan = *std::max_element(expected.begin(), expected.end());
    for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
      ASSERT_NEAR(ends[flow], expected[flow], 1e-9 * makespan + 1e-11)
          << "seed " << seed << " flow " << set.source(flow) << " -> " << set.destination(flow);
    }
  }
}

TEST(FlowProperty, FlowsBesideStreamsAgreeWithTheReferenceSolver) {
  // To the reference a stream is flows of so many bytes that they outlast all others.
  for (std::uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    auto base = std::make_unique<RandomPlan>(plan_of(seed));
    const std::uint32_t num_ranks = base->num_ranks();
    if (num_ranks < 2) {
      continue;
    }
    const TransferSet set = transfer_of(seed, num_ranks);
    RandomStream random(seed, "streams");
    std::vector<Stream> streams;
    for (std::uint64_t i = 0; i < 1 + random.below(4); ++i) {
      const auto source = static_cast<std::uint32_t>(random.below(num_ranks));
      const auto away = 1 + static_cast<std::uint32_t>(random.below(num_ranks - 1));
      streams.push_back(
          {source, (source + away) % num_ranks,
           BytesPerSecond(random.uniform() < 0.5 ? 1e18 : 4.0 * random.uniform() + 0.1),
           1 + static_cast<std::uint32_t>(random.below(3)), 0});
    }
    const SharedPlan plan(std::move(base), std::move(streams));
    const TransferSet endless = plan.transfer();
    std::vector<std::uint32_t> sources, destinations;
    std::vector<double> bytes;
    for (const TransferSet* part : {&set, &endless}) {
      for (std::uint32_t flow = 0; flow < part->num_flows(); ++flow) {
        sources.push_back(part->source(flow));
        destinations.push_back(part->destination(flow));
        bytes.push_back(part == &set ? part->bytes(flow) : 1e7);
      }
    }
    const std::vector<double> expected =
        reference_ends(plan, TransferSet::columns(sources, destinations, bytes));
    FlowNetwork network(plan);
    network.start(SimTime(), endless);
    const TransferId id = network.start(SimTime(), set);
    network.finish();
    const std::span<const double> ends = network.flow_ends(id);
    for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
      ASSERT_NEAR(ends[flow], expected[flow], 1e-8 * (1 + expected[flow]))
          << "seed " << seed << " flow " << set.source(flow) << " -> " << set.destination(flow);
    }
  }
}

// Rates of the engine at several moments against what max-min fairness says of each flow.
TEST(FlowProperty, CapacityIsKeptAndEachFlowHasABottleneckWhereItIsFastest) {
  for (std::uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const RandomPlan plan = plan_of(seed);
    const TransferSet set = transfer_of(seed, plan.num_ranks());
    const ReferenceFlows flows = reference_flows(plan, set);
    FlowNetwork network(plan);
    const TransferId id = network.start(SimTime(), set);
    for (int moment = 0; moment < 5; ++moment) {
      // The live flows now; their fair rates by definition; the engine's link rates must be theirs.
      std::vector<double> remaining(set.num_flows());
      const std::vector<double> ends(network.flow_ends(id).begin(), network.flow_ends(id).end());
      for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
        const bool is_live = std::isinf(ends[flow]) && set.bytes(flow) > 0.0;
        remaining[flow] = is_live && !flows.links[flow].empty() ? 1.0 : 0.0;
      }
      const std::vector<double> fair = reference_rates(flows, remaining);
      std::vector<double> expected(plan.links().size(), 0.0), fastest(plan.links().size(), 0.0);
      for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
        for (const LinkIndex link : flows.links[flow]) {
          expected[link] += fair[flow];
          fastest[link] = std::max(fastest[link], fair[flow]);
        }
      }
      const std::vector<BytesPerSecond> rates = network.link_rates();
      for (LinkIndex link = 0; link < rates.size(); ++link) {
        ASSERT_LE(rates[link].value(), flows.capacity[link] * (1.0 + 1e-9)) << "seed " << seed;
        ASSERT_NEAR(rates[link].value(), expected[link], 1e-9 * flows.capacity[link])
            << "seed " << seed << " link " << link;
      }
      // A flow gains only where a link has room or carries a faster one: nowhere on its route.
      for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
        bool has_bottleneck = remaining[flow] == 0.0;
        for (const LinkIndex link : flows.links[flow]) {
          has_bottleneck =
              has_bottleneck || (rates[link].value() >= flows.capacity[link] * (1.0 - 1e-9) &&
                                 fair[flow] >= fastest[link] * (1.0 - 1e-9));
        }
        ASSERT_TRUE(has_bottleneck) << "seed " << seed << " flow " << flow;
      }
      if (const auto next = network.next_change()) {
        network.advance_to(*next);
      }
    }
  }
}

TEST(FlowProperty, BytesAreConserved) {
  // The bytes counted on ports and paths are those of the flows that cross them.
  for (std::uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const RandomPlan plan = plan_of(seed);
    const TransferSet set = transfer_of(seed, plan.num_ranks());
    const ReferenceFlows flows = reference_flows(plan, set);
    std::vector<double> expected(plan.links().size(), 0.0);
    for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
      for (const LinkIndex link : flows.links[flow]) {
        expected[link] += flows.bytes[flow];
      }
    }
    FlowNetwork network(plan);
    network.start(SimTime(), set);
    // Integrate the link rates over time: what went through must be what was given.
    std::vector<double> moved(expected.size(), 0.0);
    SimTime now;
    while (const auto next = network.next_change()) {
      const std::vector<BytesPerSecond> rates = network.link_rates();
      for (std::size_t link = 0; link < moved.size(); ++link) {
        moved[link] += rates[link].value() * (*next - now).seconds().value();
      }
      now = *next;
      network.advance_to(now);
    }
    for (LinkIndex link = 0; link < expected.size(); ++link) {
      ASSERT_NEAR(network.link_bytes()[link], expected[link], 1e-9 * expected[link]);
      // Times are rounded up to picoseconds, at most 15e9.. bytes/s here: far below 1e-8.
      ASSERT_NEAR(moved[link], expected[link], 1e-8 * (1.0 + expected[link])) << "seed " << seed;
    }
  }
}

TEST(FlowProperty, TransfersThatOverlapAgreeWithTheReferenceOnSplitBytes) {
  // One matrix, started as two transfers at the same time, ends as one transfer of both lists.
  for (std::uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const RandomPlan plan = plan_of(seed);
    const TransferSet first = transfer_of(seed, plan.num_ranks());
    const TransferSet second = transfer_of(seed + 1000, plan.num_ranks());
    std::vector<Copy> both;
    for (const TransferSet* set : {&first, &second}) {
      for (std::uint32_t flow = 0; flow < set->num_flows(); ++flow) {
        both.push_back({set->source(flow), set->destination(flow), Bytes(set->bytes(flow))});
      }
    }
    const std::vector<double> expected = reference_ends(plan, TransferSet::copies(both));
    FlowNetwork network(plan);
    const TransferId ids[] = {network.start(SimTime(), first), network.start(SimTime(), second)};
    network.finish();
    const double makespan = *std::max_element(expected.begin(), expected.end());
    std::size_t at = 0;
    for (const TransferId id : ids) {
      for (const double end : network.flow_ends(id)) {
        ASSERT_NEAR(end, expected[at], 1e-9 * makespan + 1e-11) << "seed " << seed << " " << at;
        ++at;
      }
    }
  }
}

TEST(FlowProperty, ALateTransferLeavesWhatWasSentBeforeAsItWas) {
  // Exactness with a start in the middle: run the reference by hand in two phases.
  for (std::uint64_t seed = 0; seed < kNumSeeds; ++seed) {
    const RandomPlan plan = plan_of(seed);
    const TransferSet set = transfer_of(seed, plan.num_ranks());
    const std::vector<double> alone = reference_ends(plan, set);
    const double middle = 0.5 * *std::max_element(alone.begin(), alone.end());
    FlowNetwork network(plan);
    const TransferId first = network.start(SimTime(), set);
    network.start(SimTime::from_seconds(Seconds(middle)),
                  TransferSet::uniform(plan.num_ranks(), Bytes(1.0)));
    network.finish();
    const std::span<const double> ends = network.flow_ends(first);
    for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
      if (alone[flow] <= middle * (1.0 - 1e-9)) {
        ASSERT_NEAR(ends[flow], alone[flow], 1e-9 * middle) << "seed " << seed;
      } else {
        ASSERT_GE(ends[flow], middle * (1.0 - 1e-9)) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// The flow engine against the reference solver at 64 and 128 ranks of the reference platform, every
// pair of another size. The reference takes minutes at 128, so this is a slow test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sim/base/random.h"
#include "sim/cluster/topology_presets.h"
#include "sim/engine/flow_network.h"
#include "tests/sim/engine/flow_reference.h"

namespace moesim {
namespace {

void compare(std::uint32_t ranks) {
  const ClusterProfile profile = load_cluster_profile(
      std::string(MOESIM_SOURCE_DIR) + "/hardware_profiles/cluster_reference_rail.json");
  const auto plan =
      cluster_topology(profile, {.num_nodes = ranks / 8}).routes(RoutePolicy::shortest);
  RandomStream random(ranks, "tests/flow_accuracy");
  std::vector<double> bytes(std::size_t{ranks} * ranks);
  for (double& size : bytes) {
    size = 2e6 * random.uniform();
  }
  const TransferSet transfer = TransferSet::matrix(ranks, bytes);
  const std::vector<double> expected = reference_ends(*plan, transfer);
  FlowNetwork network(*plan);
  const TransferId id = network.start(SimTime(), transfer);
  network.finish();
  const std::span<const double> ends = network.flow_ends(id);
  double worst = 0;
  for (std::size_t flow = 0; flow < ends.size(); ++flow) {
    if (expected[flow] > 0) {
      worst = std::max(worst, std::fabs(ends[flow] / expected[flow] - 1.0));
    }
  }
  testing::Test::RecordProperty("worst_relative_error", std::to_string(worst));
  EXPECT_LE(worst, 1e-3) << ranks << " ranks";
}

TEST(FlowAccuracy, EveryEndAt64RanksIsWithinAThousandthOfTheReference) { compare(64); }

TEST(FlowAccuracy, EveryEndAt128RanksIsWithinAThousandthOfTheReference) { compare(128); }

}  // namespace
}  // namespace moesim

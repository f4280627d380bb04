// SPDX-License-Identifier: Apache-2.0
#include "sim/run/traffic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sim/base/error.h"
#include "sim/base/random.h"

namespace moesim {
namespace {

using testing::HasSubstr;

ClusterProfile reference_rail() {
  return load_cluster_profile(std::string(MOESIM_SOURCE_DIR) +
                              "/hardware_profiles/cluster_reference_rail.json");
}

TransferSet random_matrix(std::uint32_t num_ranks) {
  RandomStream random(7, "traffic test");
  std::vector<double> bytes(std::size_t{num_ranks} * num_ranks);
  for (double& value : bytes) {
    value = 2e6 * random.uniform();
  }
  return TransferSet::matrix(num_ranks, bytes);
}

std::string problem_of(const std::string& text) {
  try {
    parse_traffic_matrix(text, "m.csv", 16);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no problem";
}

TEST(Traffic, BadMatricesNameTheirRow) {
  EXPECT_EQ(problem_of("src,dst,bytes\n0,1,5\n1,2,-3\n"),
            "m.csv: row 2 (line 3): \"-3\" in bytes is no finite number >= 0; allowed: bytes, "
            "unscaled");
  EXPECT_THAT(problem_of("src,dst,bytes\n0,1,nan\n"), HasSubstr("row 1 (line 2): \"nan\""));
  EXPECT_THAT(problem_of("src,dst,bytes\n0,1,inf\n"), HasSubstr("row 1 (line 2): \"inf\""));
  EXPECT_EQ(problem_of("src,dst,bytes\n0,16,5\n"),
            "m.csv: row 1 (line 2): \"16\" in dst is no known rank; allowed: 0 to 15");
  EXPECT_THAT(problem_of("src,dst,bytes\n-1,3,5\n"), HasSubstr("\"-1\" in src is no known rank"));
  EXPECT_THAT(problem_of("src,dst,bytes\n1,3\n"), HasSubstr("row 1 (line 2): has too few columns"));
  EXPECT_THAT(problem_of("src,dst,bytes\n1,3,\n"), HasSubstr("nothing in bytes"));
  EXPECT_THAT(problem_of("src,dst,bytes\n"), HasSubstr("the matrix is empty"));
  EXPECT_THAT(problem_of(""), HasSubstr("has no column \"src\""));
  EXPECT_THAT(problem_of("from,to,bytes\n"), HasSubstr("has no column \"dst\""));
}

TEST(Traffic, ColumnsMayStandInAnyOrderAmongOthers) {
  const TransferSet set =
      parse_traffic_matrix("bytes,note,dst,src\r\n2.5e6,x,3,1\r\n\r\n4,,0,2\r\n", "m.csv", 16);
  ASSERT_EQ(set.num_flows(), 2u);
  EXPECT_EQ(set.source(0), 1u);
  EXPECT_EQ(set.destination(0), 3u);
  EXPECT_EQ(set.bytes(0), 2.5e6);
  EXPECT_EQ(set.source(1), 2u);
}

TEST(Traffic, TheTableHasOneRowForEachFlowWithItsEnd) {
  // Two GPUs of one node: 450 GB/s each way, 4.5 GB take 10 ms.
  const TransferSet set = TransferSet::copies({{0, 1, Bytes(4.5e9)}, {1, 1, Bytes(8.0)}});
  const TrafficResult result = run_traffic(reference_rail(), set, {.wants_ends = true});
  EXPECT_EQ(traffic_csv(set, result.ends_s), "src,dst,bytes,end_s\n0,1,4.5e+09,0.01\n1,1,8,0\n");
  EXPECT_EQ(result.busiest_links.at(0).link, "node0/gpu0 -> domain0/gpu switch");
  EXPECT_NEAR(result.busiest_links.at(0).utilisation, 1.0, 1e-9);
}

TEST(Traffic, WindowsKeepEndTimesWithinTheStatedTolerance) {
  // 128 ranks, all sizes different, both kinds of paths: the largest difference to the exact ends
  // is below the tolerance that the result states.
  const TransferSet set = random_matrix(128);
  for (const FabricPaths paths : {FabricPaths::trunked, FabricPaths::hashed}) {
    const TrafficResult exact =
        run_traffic(reference_rail(), set, {.paths = paths, .tolerance = 0.0, .wants_ends = true});
    const TrafficResult close =
        run_traffic(reference_rail(), set, {.paths = paths, .tolerance = 4e-3, .wants_ends = true});
    EXPECT_EQ(close.tolerance, 4e-3);
    double worst = 0.0;
    for (std::size_t flow = 0; flow < exact.ends_s.size(); ++flow) {
      worst = std::max(worst, std::fabs(exact.ends_s[flow] - close.ends_s[flow]));
    }
    EXPECT_LE(worst, 4e-3 * exact.makespan.value());
    EXPECT_GT(worst, 0.0);
    EXPECT_LT(close.counters.fills, exact.counters.fills / 2);
  }
}

TEST(Traffic, RelabelledNodesGiveRelabelledEnds) {
  // Swap node 0 and node 3 of four (same leaves, so the network looks the same): each flow ends
  // when its image did. Exact runs differ by rounding only.
  const TransferSet set = random_matrix(32);
  const auto swapped = [](std::uint32_t rank) {
    return rank < 8 ? rank + 24 : rank >= 24 ? rank - 24 : rank;
  };
  std::vector<double> bytes(32 * 32);
  for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
    bytes[swapped(set.source(flow)) * 32 + swapped(set.destination(flow))] = set.bytes(flow);
  }
  const TrafficResult a = run_traffic(reference_rail(), set, {.wants_ends = true});
  const TrafficResult b =
      run_traffic(reference_rail(), TransferSet::matrix(32, bytes), {.wants_ends = true});
  for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
    EXPECT_NEAR(b.ends_s[swapped(set.source(flow)) * 32 + swapped(set.destination(flow))],
                a.ends_s[flow], 1e-9 * a.makespan.value());
  }
}

TEST(Traffic, DoubledBytesTakeTwiceTheTime) {
  const TransferSet set = random_matrix(32);
  std::vector<double> doubled;
  for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
    doubled.push_back(2.0 * set.bytes(flow));
  }
  const TrafficResult a = run_traffic(reference_rail(), set, {.wants_ends = true});
  const TrafficResult b =
      run_traffic(reference_rail(), TransferSet::matrix(32, doubled), {.wants_ends = true});
  for (std::uint32_t flow = 0; flow < set.num_flows(); ++flow) {
    EXPECT_NEAR(b.ends_s[flow], 2.0 * a.ends_s[flow], 1e-9 * b.makespan.value());
  }
}

TEST(Traffic, AClusterOfFixedSizeRefusesMoreRanks) {
  ClusterProfile cluster = reference_rail();
  cluster.node_groups[0].nodes = 2;
  EXPECT_THROW(run_traffic(cluster, TransferSet::uniform(17, Bytes(1.0)), {}), InputError);
}

}  // namespace
}  // namespace moesim

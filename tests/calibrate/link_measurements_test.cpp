// SPDX-License-Identifier: Apache-2.0
// Output of people's own benchmarks: what it sets in a profile, and how damage is reported.
#include "calibrate/link_measurements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "sim/cluster/collective.h"

namespace moesim {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

/// Reads `text` from a file called `name`.
LinkMeasurements read(const std::string& name, const std::string& text) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("moesim_links_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const std::string path = (folder / name).string();
  std::ofstream(path) << text;
  LinkMeasurements measurements;
  try {
    read_link_measurements(path, measurements);
  } catch (...) {
    std::filesystem::remove_all(folder);
    throw;
  }
  std::filesystem::remove_all(folder);
  return measurements;
}

std::string problems_of(const LinkMeasurements& measurements) {
  std::string all;
  for (const Diagnostic& problem : measurements.problems) {
    all += problem.text() + "\n";
  }
  return all;
}

ClusterProfile eight_gpus(ScaleUpKind kind) {
  ClusterProfile profile;
  profile.id = "cluster_test";
  NodeGroup node;
  node.gpus_per_node = 8;
  node.scale_up.kind = kind;
  node.scale_up.domain_gpus = 8;
  node.scale_up.rate.value = BytesPerSecond(450e9);
  node.nics.per_node = 4;
  node.nics.rate.value = BytesPerSecond(50e9);
  profile.node_groups.push_back(node);
  return profile;
}

// Layout: json_output.cpp of nvbandwidth; the figures are made up.
std::string nvbandwidth_text() {
  const auto test = [](const char* name, const char* status, const char* matrix) {
    return std::string("{\"name\": \"") + name + "\", \"status\": \"" + status + "\"" +
           (*matrix == 0 ? "" : std::string(", \"bandwidth_matrix\": ") + matrix) + "}";
  };
  return "{\"nvbandwidth\": {\"CUDA Runtime Version\": 12080, \"version\": \"v0.8\", "
         "\"testcases\": [" +
         test("host_to_device_memcpy_ce", "Passed", "[[\"55.1\", \"55.3\", \"55.2\"]]") + "," +
         test("device_to_device_memcpy_write_ce", "Passed",
              "[[\"N/A\", \"390\", \"392\"], [\"394\", \"N/A\", \"391\"], [\"393\", \"395\", "
              "\"N/A\"]]") +
         "," +
         test("device_to_device_latency_sm", "Passed", "[[\"680\", \"900\"], [\"900\", \"690\"]]") +
         "," + test("device_local_copy", "Passed", "[[\"1200\"]]") + "," +
         test("host_to_all_memcpy_ce", "Waived", "") + "]}}";
}

TEST(LinkMeasurements, NvbandwidthSetsLinksByTheirMedians) {
  const LinkMeasurements measured = read("bw.json", nvbandwidth_text());
  EXPECT_EQ(problems_of(measured), "");
  EXPECT_THAT(measured.unused, Contains("device_local_copy"));
  EXPECT_THAT(measured.unused, Contains("host_to_all_memcpy_ce (did not pass)"));
  const ClusterProfile profile =
      with_measurements(eight_gpus(ScaleUpKind::nvswitch), measured, "a test");
  const NodeGroup& node = profile.node_groups.front();
  // Of 390, 391, 392, 393, 394, 395: the diagonal is a GPU and itself and does not count.
  EXPECT_DOUBLE_EQ(node.scale_up.achieved->value.value(), 392.5e9);
  EXPECT_EQ(node.scale_up.achieved->points, 6);
  EXPECT_EQ(node.scale_up.achieved->origin, Origin::measured);
  EXPECT_EQ(node.scale_up.achieved->source, "a test");
  EXPECT_DOUBLE_EQ(node.scale_up.latency.value.value(), 900e-9);
  EXPECT_DOUBLE_EQ(node.host.link_rate.value.value(), 55.2e9);
  EXPECT_FALSE(node.host.all_copy_rate.has_value());
  // In a mesh a pair has one link of its own.
  const ClusterProfile mesh =
      with_measurements(eight_gpus(ScaleUpKind::nvlink_mesh), measured, "a test");
  EXPECT_DOUBLE_EQ(mesh.node_groups.front().scale_up.achieved->value.value(), 7 * 392.5e9);
}

TEST(LinkMeasurements, DamagedCellsOfNvbandwidthAreNamed) {
  std::string text = nvbandwidth_text();
  text.replace(text.find("\"391\""), 5, "\"39l\"");
  text.replace(text.find("\"55.3\""), 6, "\"-5.3\"");
  const LinkMeasurements measured = read("bw.json", text);
  EXPECT_THAT(problems_of(measured),
              HasSubstr("bw.json#/nvbandwidth/testcases/1/bandwidth_matrix/1/2: \"39l\" is no rate "
                        "in GB/s"));
  EXPECT_THAT(problems_of(measured), HasSubstr("/testcases/0/bandwidth_matrix/0/1: \"-5.3\""));
}

/// The text of nccl-tests for times that follow t = 10 us + S / 100 GB/s.
std::string nccl_text(int ranks, int hosts) {
  std::string text =
      "NCCL version 2.27.3+cuda12.8\n# nThread 1 nGpus 1 minBytes 1024\n#\n# Using devices\n";
  for (int rank = 0; rank < ranks; ++rank) {
    text += "#  Rank  " + std::to_string(rank) + " Group  0 Pid  12 on   host" +
            std::to_string(rank * hosts / ranks) + " device  " + std::to_string(rank) +
            " [0000:05:00] NVIDIA H100 80GB HBM3\n";
  }
  text +=
      "#                                                out-of-place             in-place\n"
      "#       size         count      type   redop    root     time   algbw   busbw #wrong     "
      "time   algbw   busbw #wrong\n"
      "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            "
      "(us)  (GB/s)  (GB/s)\n";
  for (double bytes = 1024; bytes < 3e9; bytes *= 2) {
    const double us = 10 + bytes / 100e9 * 1e6;
    char line[200];
    std::snprintf(line, sizeof line,
                  "%12.0f %12.0f     float     sum      -1 %8.2f %7.2f %7.2f      0 %8.2f %7.2f "
                  "%7.2f      0\n",
                  bytes, bytes / 4, us, bytes / us / 1e3, 0.0, us, bytes / us / 1e3, 0.0);
    text += line;
  }
  return text + "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 41.0\n";
}

TEST(LinkMeasurements, CollectivesAtTwoGroupSizesBecomeALaw) {
  LinkMeasurements measured = read("all_gather_perf_4.txt", nccl_text(4, 1));
  const LinkMeasurements eight = read("all_gather_perf_8.txt", nccl_text(8, 1));
  measured.collectives.insert(measured.collectives.end(), eight.collectives.begin(),
                              eight.collectives.end());
  EXPECT_EQ(problems_of(measured), "");
  EXPECT_EQ(measured.collectives.front().software, "NCCL 2.27.3");
  EXPECT_EQ(measured.collectives.front().ranks, 4);
  const ClusterProfile profile =
      with_measurements(eight_gpus(ScaleUpKind::nvswitch), measured, "a test");
  const CollectiveLaw* law =
      profile.law(CollectiveOp::all_gather, CollectiveScope::scale_up, CollectiveLibrary::nccl);
  ASSERT_NE(law, nullptr);
  // 10 us + S / 100 GB/s at both, as planted.
  for (const double ranks : {4.0, 8.0}) {
    const double expected = 10e-6 + 1073741824 / 100e9;
    EXPECT_NEAR(law_time(*law, ranks, Bytes(1073741824)).value() / expected, 1.0, 0.01) << ranks;
  }
}

TEST(LinkMeasurements, AllToAllBetweenNodesTellsWhatCardsCarry) {
  // 16 ranks of two hosts: half of the buffer leaves the node. At the largest sizes 100 GB/s of
  // buffer are 50 GB/s over the network, of each GPU; four cards serve eight GPUs.
  const LinkMeasurements measured = read("alltoall_perf.txt", nccl_text(16, 2));
  EXPECT_TRUE(measured.collectives.empty());
  const ClusterProfile profile =
      with_measurements(eight_gpus(ScaleUpKind::nvswitch), measured, "a test");
  EXPECT_NEAR(profile.node_groups.front().nics.achieved->value.value() / 100e9, 1.0, 0.05);
}

TEST(LinkMeasurements, DamagedRowsOfCollectivesAreNamed) {
  std::string text = nccl_text(4, 1);
  const std::size_t row = text.find("\n     1048576");
  std::string damaged = text;
  damaged.replace(damaged.find("-1", row) + 3, 8, "   9.9us");
  EXPECT_THAT(problems_of(read("all_reduce_perf.txt", damaged)),
              HasSubstr("column time: \"9.9us\" is no number of at least 0"));
  damaged = text;
  damaged.replace(damaged.find("-1", row) + 3, 8, "   99.99");
  EXPECT_THAT(problems_of(read("all_reduce_perf.txt", damaged)), HasSubstr("column algbw: "));
  EXPECT_THAT(problems_of(read("perf.txt", text)), HasSubstr("which collective this is"));
}

// Layout: PeerToPeer.hpp and AllToAll.hpp of TransferBench; the figures are made up.
constexpr const char* kPeers = R"(Bytes Per Direction 67108864
Unidirectional copy peak bandwidth GB/s [Local read / Remote write] (GPU-Executor: GFX)
 SRC+EXE\DST    CPU 00       GPU 00    GPU 01
  CPU 00  ->     20.00        50.00     52.00

  GPU 00  ->     51.00      1500.00     48.00
  GPU 01  ->     51.00        46.00   1500.00

                           CPU->CPU  CPU->GPU  GPU->CPU  GPU->GPU
Averages (During UniDir):       N/A     51.00     51.00     47.00
Bidirectional copy peak bandwidth GB/s [Local read / Remote write] (GPU-Executor: GFX)
     SRC\DST    CPU 00       GPU 00    GPU 01
  GPU 00  ->     31.00         N/A      40.00
)";

TEST(LinkMeasurements, TransferBenchSetsPairsAndHostLinks) {
  const LinkMeasurements measured = read("p2p.txt", kPeers);
  EXPECT_EQ(problems_of(measured), "");
  const ClusterProfile profile =
      with_measurements(eight_gpus(ScaleUpKind::xgmi_mesh), measured, "a test");
  const NodeGroup& node = profile.node_groups.front();
  EXPECT_DOUBLE_EQ(node.scale_up.achieved->value.value(), 7 * 47e9);  // 48 and 46, seven links
  EXPECT_EQ(node.scale_up.achieved->points, 2);
  EXPECT_DOUBLE_EQ(node.host.link_rate.value.value(), 51e9);  // 50 and 52
}

TEST(LinkMeasurements, TransferBenchAllToAllIsBoundByTheSlowestCopy) {
  const LinkMeasurements measured = read("a2a.txt",
                                         "GPU-GFX All-To-All benchmark:\n"
                                         "Summary: [67108864 bytes per Transfer] [GFX:8]\n"
                                         "SRC\\DST  GPU 00     GPU 01     STotal      Actual\n"
                                         "GPU 00     N/A      46.000      46.000     45.000\n"
                                         "GPU 01  47.000        N/A       47.000     x47.000\n");
  EXPECT_THAT(problems_of(measured), HasSubstr("row 5, column Actual: \"x47.000\" is no rate"));
  const ClusterProfile profile =
      with_measurements(eight_gpus(ScaleUpKind::xgmi_mesh), measured, "a test");
  EXPECT_DOUBLE_EQ(profile.node_groups.front().scale_up.achieved->value.value(), 45e9);
}

TEST(LinkMeasurements, OtherFilesAreErrors) {
  EXPECT_THROW(read("notes.txt", "it ran\n"), InputError);
  EXPECT_THROW(read("other.json", "{\"a\": 1}"), InputError);
}

}  // namespace
}  // namespace moesim

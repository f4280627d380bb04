// SPDX-License-Identifier: Apache-2.0
#include "kernels/collective_probe.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/collective_cases.h"
#include "sim/base/random.h"

namespace moesim::gpu {
namespace {

TEST(CollectiveProbe, MatchesTheReferenceOnTwoHundredRandomShapes) {
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    RandomStream random(51, "collective test", static_cast<std::uint64_t>(trial));
    const int ranks = 1 + static_cast<int>(random.below(6));
    const std::unique_ptr<CollectiveGroup> group = open_host_collective(ranks);
    CollectiveCall call;
    call.kind = static_cast<CollectiveKind>(random.below(4));
    call.count = ranks * random.below(random.below(2) == 0 ? 2 : 50);
    for (int pair = 0; pair < ranks * ranks; ++pair) {
      call.pairs.push_back(random.below(3) == 0 ? 0 : random.below(40));
    }
    std::vector<std::vector<float>> sent(ranks);
    std::vector<std::vector<float>> received(ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      sent[rank].resize(collective_send_count(call, ranks, rank));
      for (float& value : sent[rank]) {
        value = static_cast<float>(random.below(1000));
      }
      received[rank].resize(collective_receive_count(call, ranks, rank), -1.0f);
      call.send.push_back(sent[rank].data());
      call.receive.push_back(received[rank].data());
    }
    group->run(call);
    for (int rank = 0; rank < ranks; ++rank) {
      ASSERT_EQ(received[rank], collective_reference(call, sent, rank));
    }
  }
}

TEST(CollectiveProbe, AnAllToAllHandsEachRankItsParts) {
  CollectiveCall call;
  call.kind = CollectiveKind::all_to_all;
  call.pairs = {1, 2, 0, 1};  // rank 0 sends 1 to itself and 2 to rank 1; rank 1 keeps 1
  EXPECT_EQ(collective_reference(call, {{1, 2, 3}, {9}}, 0), std::vector<float>{1});
  EXPECT_EQ(collective_reference(call, {{1, 2, 3}, {9}}, 1), (std::vector<float>{2, 3, 9}));
}

TEST(PairCounts, AreReadFromATableAndBadLinesAreNamed) {
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("moesim_pairs_test_" + std::to_string(getpid()) + ".csv"))
                               .string();
  write_text_file(path, "src,dst,bytes\n0,1,400\n1,0,8\r\n0,1,40\n");
  EXPECT_EQ(cases::read_pair_counts(path, 2), (PairCounts{0, 110, 2, 0}));
  write_text_file(path, "src,dst,bytes\n0,2,400\n1,0\n");
  try {
    cases::read_pair_counts(path, 2);
    FAIL() << "a rank outside the job was accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(": line 2: is no pair of ranks below 2"));
    EXPECT_THAT(error.what(), testing::HasSubstr(": line 3: is no pair of ranks below 2"));
  }
  std::filesystem::remove(path);
}

TEST(ProcessPlace, ComesFromTheLauncherAndIsRefusedWithoutOne) {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    unsetenv(name);
  }
  EXPECT_EQ(process_place("").num_processes, 1);
  EXPECT_THROW(process_place("/tmp/id"), InputError);
  setenv("SLURM_PROCID", "9", 1);
  setenv("SLURM_NTASKS", "16", 1);
  setenv("SLURM_LOCALID", "1", 1);
  const ProcessPlace place = process_place("/tmp/id");
  EXPECT_EQ(place.rank, 9);
  EXPECT_EQ(place.num_processes, 16);
  EXPECT_EQ(place.local_rank, 1);
  for (const char* name : {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"}) {
    unsetenv(name);
  }
}

}  // namespace
}  // namespace moesim::gpu

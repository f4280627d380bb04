// SPDX-License-Identifier: Apache-2.0
// Communication laws: fits find what was planted, and hold where they were not fitted.
#include "calibrate/comm_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "calibrate/nonnegative_fit.h"
#include "calibrate/published_comm.h"
#include "calibrate/validate_comm.h"

namespace moesim {
namespace {

using testing::HasSubstr;

std::string data_folder() {
  const char* given = std::getenv("MOESIM_DATA_DIR");
  return given != nullptr ? given : std::string(MOESIM_SOURCE_DIR) + "/../shared/data";
}

TEST(NonnegativeFit, LeavesOutWhatWouldHaveToBeNegative) {
  // t = 3 + 2x. The third feature is x again with the other sign of use: it gets nothing. A fourth
  // that would need -1 (t = 3 + 2x - y with y always 0 or 1 and no effect in the data) stays 0.
  std::vector<double> features;
  std::vector<double> measured;
  for (int i = 0; i < 12; ++i) {
    const double x = 1.0 + i;
    features.insert(features.end(), {1.0, x, x * x});
    measured.push_back(3.0 + 2.0 * x - 0.01 * x * x);
  }
  const NonnegativeFit fit = fit_nonnegative(features, 3, measured, 0);
  EXPECT_EQ(fit.coefficients[2], 0.0);
  EXPECT_GT(fit.coefficients[0], 2.5);
  EXPECT_LT(fit.mean_error, 0.02);
}

TEST(NonnegativeFit, OneOddRowDoesNotBendTheLaw) {
  std::vector<double> features;
  std::vector<double> measured;
  for (int i = 0; i < 20; ++i) {
    features.insert(features.end(), {1.0, 1.0 * i});
    measured.push_back((i == 7 ? 10.0 : 1.0) * (5.0 + 3.0 * i));
  }
  const NonnegativeFit fit = fit_nonnegative(features, 2, measured);
  EXPECT_NEAR(fit.coefficients[0], 5.0, 0.1);
  EXPECT_NEAR(fit.coefficients[1], 3.0, 0.05);
}

// Two protocols: below 100 kB a peer 2 us a step, above 10 us a step at 400 GB/s.
double planted(double ranks, double bytes) {
  const double x = bytes / ranks;
  return x < 1e5 ? 5e-6 + (ranks - 1) * (2e-6 + x / 100e9)
                 : 20e-6 + (ranks - 1) * (10e-6 + x / 400e9);
}

std::vector<CollectiveSample> planted_samples(std::vector<std::int64_t> groups) {
  std::vector<CollectiveSample> samples;
  for (const std::int64_t ranks : groups) {
    for (double bytes = 1024; bytes < 1e9; bytes *= 2) {
      CollectiveSample sample;
      sample.op = CollectiveOp::all_gather;
      sample.ranks = ranks;
      sample.bytes = bytes;
      sample.seconds = planted(static_cast<double>(ranks), bytes);
      samples.push_back(sample);
    }
  }
  return samples;
}

TEST(CollectiveLaw, FindsTheProtocolsAndHoldsForAnotherGroupSize) {
  const std::vector<CollectiveSample> samples = planted_samples({2, 4});
  std::vector<const CollectiveSample*> pointers;
  for (const CollectiveSample& sample : samples) {
    pointers.push_back(&sample);
  }
  const std::optional<CollectiveLaw> law = fit_collective_law(pointers);
  ASSERT_TRUE(law.has_value());
  ASSERT_EQ(law->protocols.size(), 2u);
  EXPECT_EQ(law->protocols[0].from.value(), 0);
  EXPECT_NEAR(law->protocols[1].from.value(), 1e5, 4e4);  // between two sizes that are there
  EXPECT_NEAR(law->protocols[1].wire_s_per_byte * 400e9, 1.0, 1e-6);
  // 16 ranks were never measured.
  for (double bytes = 1024; bytes < 1e9; bytes *= 2) {
    EXPECT_NEAR(law_time(*law, 16, Bytes(bytes)).value() / planted(16, bytes), 1.0, 1e-6) << bytes;
  }
}

TEST(CollectiveLaw, OneGroupSizeCannotTellStepsFromStart) {
  const std::vector<CollectiveSample> samples = planted_samples({4});
  std::vector<const CollectiveSample*> pointers;
  for (const CollectiveSample& sample : samples) {
    pointers.push_back(&sample);
  }
  EXPECT_FALSE(fit_collective_law(pointers).has_value());
}

TEST(CollectiveLaw, TransferScalesBytesAndNotStartUps) {
  CollectiveLaw law;
  law.protocols = {{Bytes(0), StepPattern::peers, Seconds(1e-6), Seconds(2e-6), 1e-12, 4e-12}};
  const CollectiveLaw moved = transferred(law, 2.0);
  EXPECT_EQ(moved.protocols[0].start.value(), 1e-6);
  EXPECT_EQ(moved.protocols[0].step.value(), 2e-6);
  EXPECT_EQ(moved.protocols[0].wire_s_per_byte, 2e-12);
  EXPECT_EQ(moved.origin, Origin::transferred);
}

TEST(NvlinkFit, FindsWhatWasPlanted) {
  // t = 10 us + 0.2 us a rank + 2 ns a token + remote bytes / 600 GB/s, at 2 to 16 ranks.
  std::vector<NvlinkSample> samples;
  for (const std::int64_t ranks : {2, 4, 8, 16}) {
    for (double tokens = 1; tokens < 1e5; tokens *= 2) {
      NvlinkSample sample;
      sample.size.demand.ranks = ranks;
      sample.size.demand.tokens = tokens;
      sample.size.demand.rank_copies = tokens * std::min<double>(8, static_cast<double>(ranks));
      sample.size.hidden = 4096;
      sample.size.is_one_node = true;
      const double n = static_cast<double>(ranks);
      sample.seconds = 10e-6 + 0.2e-6 * n + 2e-9 * tokens +
                       8192 * sample.size.demand.rank_copies * (n - 1) / n / 600e9;
      for (const NvlinkPart part : {NvlinkPart::dispatch, NvlinkPart::combine}) {
        sample.part = part;
        samples.push_back(sample);
      }
    }
  }
  MachineSamples machine;
  for (const NvlinkSample& sample : samples) {
    machine.nvlink.push_back(&sample);
  }
  ClusterProfile base;
  base.node_groups.emplace_back();
  base.expert_kernels.emplace();
  const ClusterProfile fitted = fit_cluster(base, machine, 1, "a test").profile;
  const NvlinkExchange& fit = fitted.expert_kernels->nvlink_one_sided->dispatch;
  EXPECT_NEAR(fit.alpha.value(), 10e-6, 1e-7);
  EXPECT_NEAR(fit.rank_s, 0.2e-6, 1e-8);
  EXPECT_NEAR(fit.rate.value() / 600e9, 1.0, 0.01);
  EXPECT_EQ(fit.points, 68);
  EXPECT_FALSE(fitted.expert_kernels->nvlink_two_sided.has_value());
  // 32 ranks were never measured: 8 copies, 31 of 32 of them to others.
  NvlinkSample more = samples.front();
  more.size.demand = {.rank_copies = 8000, .ranks = 32, .tokens = 1000};
  EXPECT_NEAR(
      *predicted_seconds(fitted, more) / (10e-6 + 6.4e-6 + 2e-6 + 8192 * 8000 * 31.0 / 32 / 600e9),
      1.0, 0.01);
}

TEST(LowLatencyFit, RowsOfOneShapeScaleTheKernelsOfALikeMachine) {
  // The donor: 10 us and 400 GB/s. Here an empty call costs half as much and a token twice.
  ExpertKernels donor;
  for (LowLatencyExchange* fit : {&donor.low_latency.dispatch, &donor.low_latency.combine}) {
    fit->alpha = fit->one_node_alpha = Seconds(10e-6);
    fit->scale_up_rate = fit->one_node_rate = BytesPerSecond(400e9);
    fit->nic_rate = BytesPerSecond(50e9);
  }
  std::vector<ExchangeSample> samples;
  for (double tokens = 1; tokens < 2000; tokens *= 2) {
    ExchangeSample sample;
    sample.tokens = tokens;
    sample.top_k = 8;
    sample.size.hidden = 4096;
    sample.size.is_one_node = true;
    sample.size.demand = {
        .local_selections = 8 * tokens, .ranks = 8, .tokens = tokens, .experts = 256};
    sample.seconds = 5e-6 + 8 * tokens * 8192 / 200e9;
    samples.push_back(sample);
  }
  MachineSamples machine;
  for (const ExchangeSample& sample : samples) {
    machine.exchanges.push_back(&sample);
  }
  ClusterProfile base;
  base.node_groups.emplace_back();
  const FittedCluster fitted = fit_cluster(base, machine, 132, "a test", &donor);
  ASSERT_TRUE(fitted.has_low_latency);
  const LowLatencyExchange& fit = fitted.profile.expert_kernels->low_latency.dispatch;
  EXPECT_NEAR(fit.one_node_alpha.value(), 5e-6, 1e-8);
  EXPECT_NEAR(fit.one_node_rate.value() / 200e9, 1.0, 1e-3);
  EXPECT_FALSE(fit_cluster(base, machine, 132, "a test").has_low_latency);
}

TEST(PublishedComm, ReadsTheCardsThatATableNames) {
  Nics nics;
  nics.achieved.emplace();
  EXPECT_TRUE(read_cards("EFA 4x100Gb/s per node", 8, nics));
  EXPECT_EQ(nics.per_node, 4);
  EXPECT_DOUBLE_EQ(nics.rate.value.value(), 12.5e9);
  EXPECT_FALSE(nics.achieved.has_value());
  EXPECT_TRUE(read_cards("EFA 4x100Gb/s per GPU", 8, nics));
  EXPECT_EQ(nics.per_node, 32);
  EXPECT_TRUE(read_cards("EFA 16x200Gb/s per 8 GPUs", 8, nics));
  EXPECT_EQ(nics.per_node, 16);
  EXPECT_FALSE(read_cards("CX7 IB 400Gb/s", 8, nics));
}

TEST(UniformFanOut, EqualsTheCountsOfDeepEpsOwnTest) {
  // PHYSICS of the benchmark, 256 experts, top-8, at most 4 nodes: ranks 5.3 / 6.5 / 7.3 / 7.5,
  // remote nodes 0 / 1.0 / 2.7 / 3.5 at EP 8 / 16 / 32 / 64 (printed to one digit).
  const double ranks[] = {5.3, 6.5, 7.3, 7.5};
  const double remote[] = {0, 1.0, 2.7, 3.5};
  for (int i = 0; i < 4; ++i) {
    const UniformFanOut fan_out = uniform_fan_out(8 << i, 1 << i, 256, 8, 1 << std::min(i, 2));
    EXPECT_NEAR(fan_out.ranks, ranks[i], 0.06) << i;
    EXPECT_NEAR(fan_out.remote_nodes, remote[i], 0.06) << i;
  }
}

TEST(CommSamples, WrongCellsAreReportedWithRowAndColumn) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("moesim_comm_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "nccl_collectives.csv")
      << "system,op,num_gpus,size_bytes,time_us\nh100_sxm,all_gather,8,1024,10\n"
         "h100_sxm,all_gather,8,1024,nan\nh100_sxm,gather,8,1024,10\nh100_sxm,all_gather,1.5,9,-"
         "4\n";
  std::ofstream(folder / "deepep_normal.csv") << "system,nodes\nx,1\n";
  const CommSamples samples = read_comm_samples(folder.string());
  std::filesystem::remove_all(folder);
  EXPECT_EQ(samples.collectives.size(), 1u);
  std::string all;
  for (const Diagnostic& problem : samples.problems) {
    all += problem.text() + "\n";
  }
  EXPECT_THAT(all, HasSubstr("row 3, column time_us: \"nan\" is no number of at least"));
  EXPECT_THAT(all, HasSubstr("row 4: \"gather\" is no collective known here"));
  EXPECT_THAT(all, HasSubstr("row 5, column time_us"));
  EXPECT_THAT(all, HasSubstr("row 1: has no column \"ep_size\""));
  EXPECT_EQ(samples.absent.size(), 4u);
}

/// Median error of the rows of a summary heading.
double median_error(const CommValidation& validation, const std::string& heading) {
  std::vector<double> errors;
  for (const CommComparison& row : validation.rows) {
    if (row.group == heading && row.left_out.empty()) {
      errors.push_back(std::fabs(row.predicted / row.measured - 1.0));
    }
  }
  EXPECT_FALSE(errors.empty()) << heading;
  std::sort(errors.begin(), errors.end());
  return errors.empty() ? 1 : errors[errors.size() / 2];
}

TEST(CommValidation, ShippedAndLeftOutPredictionsKeepTheirBounds) {
  const std::string folder = data_folder() + "/comm";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no measured tables at " << folder << " (MOESIM_DATA_DIR)";
  }
  const CommValidation validation =
      validate_comm(folder, CardLibrary::open(std::string(MOESIM_SOURCE_DIR)));
  EXPECT_TRUE(validation.problems.empty());
  EXPECT_LE(median_error(validation, "profile: all NCCL, all sizes"), 0.04);
  EXPECT_LE(median_error(validation, "leave EP size out: all NCCL, >= 1 MiB"), 0.06);
  EXPECT_LE(median_error(validation, "leave EP size out: all NCCL, all sizes"), 0.12);
  EXPECT_LE(median_error(validation, "leave system out: all NCCL, >= 1 MiB"), 0.06);
  EXPECT_LE(median_error(validation, "leave system out: all NCCL, all sizes"), 0.12);
  EXPECT_LE(median_error(validation, "profile: all DeepEP low latency"), 0.06);
  EXPECT_LE(median_error(validation, "leave EP size out: all DeepEP low latency"), 0.06);
  // Start-ups of one kernel differ by a quarter between machines and nothing known predicts it: the
  // goal of 6% is not met here (docs/network.md).
  EXPECT_LE(median_error(validation, "leave system out: all DeepEP low latency"), 0.09);
  EXPECT_LE(median_error(validation, "profile: all NVLink exchanges"), 0.06);
  EXPECT_LE(median_error(validation, "leave EP size out: all NVLink exchanges"), 0.08);
  for (const char* library : {"vllm", "sglang", "trtllm"}) {
    EXPECT_LE(median_error(validation, std::string("profile: all ") + library + " all-reduce"),
              0.06)
        << library;
  }
  EXPECT_LE(median_error(validation, "profile: all published links"), 0.06);
  EXPECT_LE(median_error(validation, "profile: all DeepEP normal, >= 512 tokens"), 0.08);
  EXPECT_LE(median_error(validation, "leave system out: all DeepEP normal, >= 512 tokens"), 0.08);
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "calibrate/joint_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include <unistd.h>

#include "sim/base/random.h"
#include "sim/cost/device_peaks.h"
#include "sim/input/card_library.h"

namespace moesim {
namespace {

DevicePeaks peaks(double flops, double bandwidth, double processors) {
  DevicePeaks device;
  device.flops_per_s[static_cast<std::size_t>(NumberFormat::bf16)] = flops;
  device.bytes_per_s = bandwidth;
  device.multiprocessors = processors;
  device.l2_bytes = 5e7;
  return device;
}

// Startup and split in cycles (ns at 1 GHz), as a joint law keeps them.
const std::vector<double> kTrue = {8e-6, 0.6, 0.75, 0.2, 0.4, 1.0, 0.3, 4e-6, 512};

JointLaw true_law() {
  JointLaw law;
  law.family = OpFamily::gemm;
  law.parameters = kTrue;
  return law;
}

CurveRows rows_of(const DevicePeaks& device, double clock_hz, std::uint64_t seed) {
  CurveRows rows;
  rows.table = "gemm";
  rows.family = OpFamily::gemm;
  RandomStream random(seed, "test/joint");
  for (const double n : {256., 1024., 2048., 4096., 8192.}) {
    for (const double k : {512., 1024., 4096., 8192.}) {
      for (double m = 1; m <= 16384; m *= 2) {
        CalibrationRow row;
        row.op = GemmOp{m, n, k};
        row.seconds = true_law().law_seconds_at(row.op, NumberFormat::bf16, device, clock_hz) *
                      std::exp(0.02 * random.normal());
        rows.rows.push_back(row);
      }
    }
  }
  return rows;
}

TEST(JointFit, FixedTimesCountCyclesAndTheRestTheDatasheet) {
  // An almost empty product is all start-up: 8,000 cycles are 4 us at 2 GHz, 8 us at 1 GHz.
  const DevicePeaks device = peaks(1e15, 3e12, 100);
  const Op tiny = GemmOp{1, 1, 1};
  EXPECT_NEAR(true_law().law_seconds_at(tiny, NumberFormat::bf16, device, 2e9), 4e-6, 4e-8);
  EXPECT_NEAR(true_law().law_seconds_at(tiny, NumberFormat::bf16, device, 1e9), 8e-6, 4e-8);
  // A large one is bound by the tensor cores, whose peak holds their clock already.
  const Op large = GemmOp{16384, 16384, 16384};
  const double fast = true_law().law_seconds_at(large, NumberFormat::bf16, device, 2e9);
  const double slow = true_law().law_seconds_at(large, NumberFormat::bf16, device, 1e9);
  EXPECT_NEAR(slow / fast, 1.0, 0.001);
}

TEST(JointFit, TwoGpusPredictAThirdWhoseRatiosAreOthers) {
  const DevicePeaks small = peaks(3e14, 2e12, 100);
  const DevicePeaks middle = peaks(1e15, 3.3e12, 132);
  const DevicePeaks third = peaks(2.2e15, 8e12, 148);
  const CurveRows first = rows_of(small, 1.4e9, 1);
  const CurveRows second = rows_of(middle, 2e9, 2);
  const JointRows groups[] = {{&first, small, 1.4e9}, {&second, middle, 2e9}};
  const JointLaw law = fit_joint_law(groups);
  // Noise of the rows is 2%; the law is the true one, so nothing else should be left.
  for (const CalibrationRow& row : rows_of(third, 1.7e9, 3).rows) {
    const double predicted = law.seconds(row.op, NumberFormat::bf16, third, 1.7e9);
    EXPECT_NEAR(predicted / row.seconds, 1.0, 0.2);
  }
}

TEST(JointFit, TheClockFollowsFromTheFp32Peak) {
  DevicePeaks device = peaks(1e15, 3e12, 108);
  EXPECT_FALSE(boost_clock_hz(device).has_value());
  const auto fp32 = static_cast<std::size_t>(NumberFormat::fp32);
  // A100: 19.5 TFLOP/s of 108 x 64 lanes, 1.41 GHz; 128 lanes would mean 0.71 GHz.
  device.flops_per_s[fp32] = 19.5e12;
  EXPECT_NEAR(boost_clock_hz(device).value(), 1.41e9, 1e7);
  // H100: 67 TFLOP/s of 132 x 128 lanes.
  device.multiprocessors = 132;
  device.flops_per_s[fp32] = 67e12;
  EXPECT_NEAR(boost_clock_hz(device).value(), 1.98e9, 1e7);
}

TEST(JointFit, EachGpuOfAFolderIsPredictedFromTheOthers) {
  const CardLibrary cards = CardLibrary::open(std::string(MOESIM_SOURCE_DIR));
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("moesim_joint_" + std::to_string(::getpid()));
  std::map<std::string, DeviceProfile> profiles;
  for (const std::string system : {"a100_sxm", "h100_sxm", "b200_sxm"}) {
    const DeviceProfile device = cards.device(system);
    const DevicePeaks datasheet = device_peaks(device);
    std::filesystem::create_directories(folder / system);
    std::ofstream file(folder / system / "gemm.trtllm-1.0.0.csv");
    file << "framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency\n";
    for (const CalibrationRow& row :
         rows_of(datasheet, boost_clock_hz(datasheet).value(), 5).rows) {
      const auto& op = std::get<GemmOp>(row.op);
      file << "TRTLLM,1.0.0,GPU,gemm,torch_flow,bfloat16," << op.m << ',' << op.n << ',' << op.k
           << ',' << number_text(1e3 * row.seconds) << '\n';
    }
    profiles.emplace(system, device);
  }
  const auto profile = [&](const std::string& id) { return &profiles.at(id); };
  const std::vector<DeviceLeftOut> results = leave_device_out({folder.string()}, profile, 1);
  std::filesystem::remove_all(folder);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0].group, "gemm a100_sxm trtllm-1.0.0 bfloat16");
  EXPECT_EQ(results[0].from, "b200_sxm trtllm-1.0.0 bfloat16, h100_sxm trtllm-1.0.0 bfloat16");
  for (const DeviceLeftOut& result : results) {
    // The rows follow one law with noise of 2%, whose median size is 1.3%.
    EXPECT_EQ(result.rows, 300u) << result.group;
    EXPECT_LT(result.median_ape, 0.04) << result.group;
  }
}

}  // namespace
}  // namespace moesim

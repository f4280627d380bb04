// SPDX-License-Identifier: Apache-2.0
// What an H100 must reach, measured with the program's own cases; only where MOESIM_TEST_DEVICE
// names one (ctest -L device). Each goal leaves room for noise: a median far below it is a defect.
#include <gtest/gtest.h>

#include "kernels/runner.h"
#include "tests/kernels/tested_devices.h"

namespace moesim::gpu {
namespace {

class DeviceRates : public testing::Test {
 protected:
  void SetUp() override {
    if (tested_device_name().empty()) {
      GTEST_SKIP() << "MOESIM_TEST_DEVICE names no GPU";
    }
    device_ = open_device(tested_device_name());
    if (device_->info().name.find("H100") == std::string::npos) {
      GTEST_SKIP() << "the goals are those of an H100, this is " << device_->info().name;
    }
  }
  /// The median of one case in seconds, and its sample; fails when the case was skipped or wrong.
  double measure(const std::string& op, const std::string& params, Sample* sample) {
    RunOptions options;
    std::string lines;
    options.keep = [&](const Sample& kept) { *sample = kept; };
    options.progress = [&](const std::string& line) { lines += line + "\n"; };
    const RunSummary summary =
        run_cases(*device_, {named_case(op, parse_json(params, "test"), false)}, options);
    EXPECT_EQ(summary.measured, 1) << lines;
    RecordProperty(op, lines);
    std::printf("%s", lines.c_str());
    return summary.measured == 1 ? median(sample->seconds) : 1e9;
  }
  std::unique_ptr<Device> device_;
};

TEST_F(DeviceRates, ACopyMovesNineTenthsOfThreeTerabytesPerSecond) {
  Sample sample;
  const double seconds =
      measure("memory_copy", R"({"bytes":1073741824,"engine":"kernel"})", &sample);
  EXPECT_GE(sample.bytes.value() / seconds, 0.9 * 3.0e12);
}

TEST_F(DeviceRates, EightExpertsWith4096TokensRunAtTheRateOfOneVendorProduct) {
  for (const char* weights : {R"("n":4096,"k":7168)", R"("n":7168,"k":2048)"}) {
    SCOPED_TRACE(weights);
    Sample sample;
    const std::string tail = std::string(weights) + R"(,"dtype":"bf16",)";
    const double vendor = measure("gemm", R"({"m":4096,)" + tail + R"("path":"vendor"})", &sample);
    const double grouped = measure(
        "grouped_gemm",
        R"({"rows":4096,"experts":8,)" + tail + R"("path":"matrix_unit","balance":"balanced"})",
        &sample);
    EXPECT_GE(vendor / grouped, 0.85);
  }
}

TEST_F(DeviceRates, AGateOf8192TokensOver256ExpertsTakesAtMost14Microseconds) {
  for (
      const char* params :
      {R"({"tokens":8192,"experts":256,"top_k":8,"groups":8,"groups_kept":4,"score":"sigmoid"})",
       R"({"tokens":8192,"experts":256,"top_k":8,"groups":1,"groups_kept":1,"score":"softmax"})"}) {
    Sample sample;
    EXPECT_LE(measure("router_gate", params, &sample), 14e-6);
  }
}

TEST_F(DeviceRates, PinnedMemoryCrossesPcieFiveAtFiftyGigabytesPerSecond) {
  Sample sample;
  const double seconds =
      measure("host_copy", R"({"bytes":268435456,"direction":"h2d","memory":"pinned","streams":1})",
              &sample);
  EXPECT_GE(sample.bytes.value() / seconds, 50e9);
}

}  // namespace
}  // namespace moesim::gpu

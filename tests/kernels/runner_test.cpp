// SPDX-License-Identifier: Apache-2.0
#include "kernels/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/base/error.h"

namespace moesim::gpu {
namespace {

/// Fits 100 bytes; 13 is a wrong result, 7 a case that this device cannot run.
CaseOutcome run_fake(CaseContext&, const Json& params) {
  const int bytes = cases::integer(params, "bytes", 0, 1000);
  if (bytes > 100) {
    throw OutOfDeviceMemory("no memory");
  }
  if (bytes == 7) {
    throw CaseSkipped("seven");
  }
  cases::require(bytes == 13 ? 1.0 : 0.0, 0.5, "thirteen");
  CaseOutcome outcome;
  outcome.timing.seconds = {1.0};
  outcome.bytes = Bytes(bytes);
  return outcome;
}
const Operation kFake{"fake", "", "bytes", false, nullptr, run_fake};

struct FakeRun {
  RunSummary summary;
  std::vector<Sample> samples;
  std::vector<std::string> lines;
};
FakeRun run_fakes(const std::vector<int>& sizes, std::set<std::string> done = {}) {
  const std::unique_ptr<Device> device = open_host_device();
  std::vector<Case> list;
  for (const int bytes : sizes) {
    list.push_back({&kFake, cases::make({{"bytes", bytes}}), false});
  }
  FakeRun run;
  RunOptions options;
  options.done = std::move(done);
  options.keep = [&](const Sample& sample) { run.samples.push_back(sample); };
  options.progress = [&](const std::string& line) { run.lines.push_back(line); };
  run.summary = run_cases(*device, list, options);
  return run;
}

TEST(Runner, HalvesACaseThatDoesNotFitInMemoryAndSaysSo) {
  // 401 -> 200 -> 100 fits.
  const FakeRun run = run_fakes({401});
  ASSERT_EQ(run.samples.size(), 1u);
  EXPECT_EQ(run.samples[0].params, cases::make({{"bytes", 100}}));
  EXPECT_EQ(run.samples[0].shrunk_from, cases::make({{"bytes", 401}}));
  EXPECT_EQ(run.samples[0].bytes, Bytes(100.0));
  ASSERT_EQ(run.lines.size(), 3u);
  EXPECT_THAT(run.lines[0], testing::HasSubstr("out of memory, shrunk to {\"bytes\":200}"));
}

TEST(Runner, KeepsNoTimeOfAResultThatIsWrongAndGoesOn) {
  const FakeRun run = run_fakes({13, 5});
  EXPECT_EQ(run.summary.failed, 1);
  EXPECT_EQ(run.summary.measured, 1);
  ASSERT_EQ(run.samples.size(), 1u);
  EXPECT_EQ(run.samples[0].bytes, Bytes(5.0));
  EXPECT_THAT(run.lines[0],
              testing::HasSubstr("FAILED: verification failed: thirteen is off by 1, allowed 0.5"));
}

TEST(Runner, SkipsWhatCannotRunAndWhatIsDone) {
  const FakeRun run =
      run_fakes({7, 5, 6}, {sample_key("fake", cases::make({{"bytes", 5}}), "host", false)});
  EXPECT_EQ(run.summary.skipped, 1);
  EXPECT_EQ(run.summary.resumed, 1);
  EXPECT_EQ(run.summary.measured, 1);
  EXPECT_THAT(run.lines[0], testing::HasSubstr("skipped: seven"));
}

TEST(Runner, ANotANumberErrorFails) { EXPECT_THROW(cases::require(NAN, 1.0, "x"), DeviceError); }

TEST(Suites, EveryOperationHasCasesOnEveryKindOfDevice) {
  DeviceInfo gpu;
  gpu.backend = "cuda";
  DeviceInfo host;
  host.backend = "host";
  for (const Operation& operation : operations()) {
    for (const DeviceInfo& info : {gpu, host}) {
      const auto quick = operation.cases(info, SuiteSize::quick);
      const auto full = operation.cases(info, SuiteSize::full);
      EXPECT_FALSE(quick.empty()) << operation.name;
      EXPECT_GE(full.size(), quick.size()) << operation.name;
      std::set<std::string> distinct;
      for (const Json& params : full) {
        distinct.insert(params.dump(-1));
        ASSERT_NE(params.find(operation.shrinks), nullptr) << operation.name;
      }
      EXPECT_EQ(distinct.size(), full.size()) << operation.name;
    }
  }
}

TEST(Suites, SmallCasesOfEveryOperationPassTheirVerification) {
  // The paths that the quick suite of the host leaves out: matrix unit, fp8, capacity, cold.
  const std::unique_ptr<Device> device = open_host_device();
  const std::vector<std::pair<std::string, std::string>> extra = {
      {"gemm", R"({"m":65,"n":40,"k":32,"dtype":"bf16","path":"matrix_unit"})"},
      {"gemm", R"({"m":65,"n":40,"k":32,"dtype":"fp8","path":"matrix_unit"})"},
      {"gemm", R"({"m":65,"n":40,"k":32,"dtype":"fp8","path":"plain"})"},
      {"grouped_gemm",
       R"({"rows":70,"experts":5,"n":20,"k":16,"dtype":"bf16","path":"plain","balance":"ragged"})"},
      {"grouped_gemm",
       R"({"rows":9,"experts":5,"n":20,"k":16,"dtype":"bf16","path":"matrix_unit","balance":"one_expert"})"},
      {"permute_rows", R"({"tokens":40,"top_k":3,"experts":4,"hidden":20,"capacity":10})"},
      {"combine_rows", R"({"tokens":40,"top_k":3,"experts":4,"hidden":20,"capacity":10})"},
      {"combine_rows", R"({"tokens":0,"top_k":3,"experts":4,"hidden":20,"capacity":10})"},
      {"host_copy", R"({"bytes":1000,"direction":"both","memory":"pageable","streams":3})"},
      {"expert_swap", R"({"m":4,"n":16,"k":16,"mode":"overlapped"})"},
      {"attention_decode",
       R"({"sequences":2,"query_heads":4,"kv_heads":2,"head_size":32,"context":33})"},
      {"router_gate",
       R"({"tokens":3,"experts":32,"top_k":4,"groups":4,"groups_kept":2,"score":"sigmoid"})"},
      {"memory_copy", R"({"bytes":160,"engine":"kernel"})"},
      {"launch_overhead", R"({"mode":"graph","launches":3})"},
  };
  std::vector<Case> list;
  for (const auto& [op, params] : extra) {
    list.push_back(named_case(op, parse_json(params, "test"), op == "memory_copy"));
  }
  RunOptions options;
  options.timing.max_time = Seconds(1e-3);
  options.timing.max_samples = options.timing.min_samples = 2;
  std::vector<Sample> samples;
  std::string lines;
  options.keep = [&](const Sample& sample) { samples.push_back(sample); };
  options.progress = [&](const std::string& line) { lines += line + "\n"; };
  const RunSummary summary = run_cases(*device, list, options);
  EXPECT_EQ(summary.measured, static_cast<int>(extra.size())) << lines;
  for (const Sample& sample : samples) {
    EXPECT_EQ(sample.seconds.size(), 2u);
    EXPECT_LE(sample.verified_max_error, sample.verified_tolerance);
  }
}

TEST(Suites, AVendorLibraryThatIsAbsentSkipsItsCases) {
  const std::unique_ptr<Device> device = open_host_device();
  RunOptions options;
  std::string lines;
  options.keep = [](const Sample&) { FAIL(); };
  options.progress = [&](const std::string& line) { lines += line; };
  const Json params = parse_json(R"({"m":1,"n":1,"k":8,"dtype":"bf16","path":"vendor"})", "test");
  EXPECT_EQ(run_cases(*device, {named_case("gemm", params, false)}, options).skipped, 1);
  EXPECT_THAT(lines, testing::HasSubstr("this build has no vendor matrix library"));
}

}  // namespace
}  // namespace moesim::gpu

// SPDX-License-Identifier: Apache-2.0
#include "kernels/samples.h"

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "sim/base/error.h"

namespace moesim::gpu {
namespace {

Sample some_sample() {
  Sample sample;
  sample.op = "gemm";
  sample.params.set("m", 16);
  sample.seconds = {1.25e-5, 0.1, 3e-7};
  sample.repeats = 7;
  sample.bytes = Bytes(1e9);
  sample.flops = Flops(2.5e12);
  sample.device = device_json({.backend = "cuda", .name = "GPU"}, {}, {.clock_hz = 1.98e9});
  sample.backend = "cuda";
  sample.is_cold = true;
  sample.command = "moesim-kernels run \"x\"";
  sample.verified_max_error = 1.2e-3;
  sample.verified_tolerance = 2.5e-3;
  sample.shrunk_from.set("m", 32);
  return sample;
}

TEST(Samples, ReadBackAsTheyWereWritten) {
  const Sample sample = some_sample();
  const Sample again = parse_sample(sample_line(sample), "file", 1);
  EXPECT_EQ(sample_line(again), sample_line(sample));
  EXPECT_EQ(again.seconds, sample.seconds);
  EXPECT_EQ(again.flops, sample.flops);
  EXPECT_EQ(again.device.find("clocks_hz")->as_number(), 1.98e9);
  EXPECT_TRUE(again.is_cold);
}

TEST(Samples, AreKnownByTheParamsThatWereAskedFor) {
  Sample sample = some_sample();
  Json asked = Json::object();
  asked.set("m", 32);
  EXPECT_EQ(sample_key(sample), sample_key("gemm", asked, "cuda", true));
  EXPECT_NE(sample_key(sample), sample_key("gemm", asked, "cuda", false));
}

std::string problems_of(const std::string& text) {
  try {
    parse_sample(text, "s.jsonl", 4);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Samples, SayWhatIsWrongWithALine) {
  EXPECT_THAT(problems_of("{"), testing::StartsWith("s.jsonl: line 4: not a JSON object"));
  EXPECT_EQ(
      problems_of(R"({"schema":"moesim/sample/2","op":"x","params":{},"seconds":[],"device":{},)"
                  R"("backend":"host","cold":0,"command":"c"})"),
      "s.jsonl: line 4: unknown schema \"moesim/sample/2\"; allowed: moesim/sample/1\n"
      "s.jsonl: line 4: \"seconds\" is not a list of times\n"
      "s.jsonl: line 4: \"cold\" is not true or false\n"
      "s.jsonl: line 4: the key \"verified_max_error\" is missing");
}

TEST(Samples, AFileWithACutLastLineIsReadOnlyWhenAsked) {
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("moesim_samples_test_" + std::to_string(getpid()) + ".jsonl"))
                               .string();
  const std::string line = sample_line(some_sample());
  write_text_file(path, line + "\n\n" + line + "\n" + line.substr(0, 30));
  EXPECT_EQ(read_samples(path, true).size(), 2u);
  EXPECT_THROW(read_samples(path), InputError);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace moesim::gpu

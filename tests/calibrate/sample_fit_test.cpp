// SPDX-License-Identifier: Apache-2.0
// From samples of our own kernels to a profile and curves, and back to the same samples.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "calibrate/device_fit.h"
#include "calibrate/fit_report.h"
#include "calibrate/profile_writer.h"
#include "calibrate/sample_rows.h"
#include "calibrate/validate_compute.h"

namespace moesim {
namespace {

gpu::Sample sample(const std::string& op, Json params, double seconds, double bytes, double flops) {
  gpu::Sample out;
  out.op = op;
  out.params = std::move(params);
  out.seconds = {seconds, 1.5 * seconds, 0.9 * seconds};  // the median is `seconds`
  out.bytes = Bytes(bytes);
  out.flops = Flops(flops);
  out.device.set("name", "test device");
  out.device.set("num_processors", 4);
  out.device.set("memory_bytes", 1e10);
  out.device.set("cache_bytes", 1e6);
  out.backend = "host";
  out.command = "a test";
  return out;
}

/// A device that copies at 10 GB/s after 20 us and multiplies fp32 at 1 TFLOP/s after 30 us.
std::vector<gpu::Sample> simple_device() {
  std::vector<gpu::Sample> samples;
  for (double bytes = 1 << 20; bytes <= 1 << 30; bytes *= 2) {
    Json params = Json::object();
    params.set("bytes", bytes / 2);
    params.set("engine", "kernel");
    samples.push_back(sample("memory_copy", params, 20e-6 + bytes / 10e9, bytes, 0));
  }
  for (const double n : {1024., 2048., 4096.}) {
    for (const double k : {1024., 2048., 4096.}) {
      for (const double m : {512., 1024., 2048., 4096.}) {
        Json params = Json::object();
        params.set("m", m);
        params.set("n", n);
        params.set("k", k);
        params.set("dtype", "fp32");
        params.set("path", "plain");
        samples.push_back(sample("gemm", params, 30e-6 + 2 * m * n * k / 1e12,
                                 4 * (m * k + n * k + m * n), 2 * m * n * k));
      }
    }
  }
  for (const char* mode : {"graph", "enqueue"}) {
    Json params = Json::object();
    params.set("mode", mode);
    params.set("launches", 100);
    samples.push_back(
        sample("launch_overhead", params, std::string(mode) == "graph" ? 2e-6 : 7e-6, 0, 0));
  }
  return samples;
}

std::string written(const std::vector<gpu::Sample>& samples, const std::string& name) {
  const std::string path = (std::filesystem::path(testing::TempDir()) / name).string();
  std::string text;
  for (const gpu::Sample& one : samples) {
    text += gpu::sample_line(one) + "\n";
  }
  write_text_file(path, text);
  return path;
}

TEST(SampleFit, TheFitOfSamplesPredictsTheSameSamples) {
  const std::string path = written(simple_device(), "round_trip.jsonl");
  const DeviceFit fit = fit_device({path}, "mine", nullptr, {});
  ASSERT_EQ(fit.sets.size(), 1u);
  EXPECT_EQ(fit.sets[0].software, "moesim-kernels-host");
  const ComputeValidation validation = validate_compute({path}, fit.sets, false);
  ASSERT_EQ(validation.groups.size(), 2u);
  for (const ValidationGroup& group : validation.groups) {
    EXPECT_LT(group.median_ape, 0.03) << group.group;
  }
  EXPECT_TRUE(validation.absent.empty());
  // Left-out products too: they follow a law that the fit can hold.
  for (const FittedCurve& curve : fit.curves) {
    EXPECT_LT(curve.curve.record.median_ape, 0.10) << curve.rows.group();
  }
}

TEST(SampleFit, TheProfileHoldsRatesLaunchesAndWhereTheyComeFrom) {
  const std::string path = written(simple_device(), "profile.jsonl");
  const DeviceFit fit = fit_device({path}, "mine", nullptr, {});
  const DeviceProfile profile = measured_profile(fit, nullptr, "mine", path);
  EXPECT_EQ(profile.id, "mine");
  // The largest copy: 2^30 bytes in 20 us + 107.4 ms.
  EXPECT_NEAR(profile.memory_bandwidth.value.value(), 10e9, 0.01e9);
  EXPECT_EQ(profile.memory_bandwidth.origin, Origin::measured);
  ASSERT_TRUE(profile.peak.fp32.has_value());
  EXPECT_NEAR(profile.peak.fp32->value.value(), 1e12, 0.01e12);
  EXPECT_DOUBLE_EQ(profile.launch_gap.value.value(), 2e-6);
  EXPECT_DOUBLE_EQ(profile.launch_eager.value.value(), 7e-6);
  EXPECT_NEAR(profile.efficiency.gemm.compute_fraction, 1.0, 0.03);
  EXPECT_NEAR(profile.efficiency.gemm.startup.value(), 30e-6, 6e-6);
  EXPECT_EQ(profile.efficiency.gemm.origin, Origin::fitted);
  EXPECT_EQ(profile.efficiency.gemm.points, 36);
  EXPECT_EQ(profile.efficiency.mla_prefill.origin, Origin::estimate);
  EXPECT_THAT(profile.efficiency.mla_prefill.source, testing::HasSubstr("was not measured"));
  // It is a card like any other.
  const DeviceProfile read = read_device_profile(write_device_profile(profile), "mine.json");
  EXPECT_EQ(read.name, "test device");
}

TEST(SampleFit, AGroupedProductCountsTheExpertsThatItsBytesShow) {
  // 64 rows of 128 inputs to 128 outputs; weights of 3 of the 8 experts: bytes say so.
  Json params = Json::object();
  params.set("rows", 64);
  params.set("experts", 8);
  params.set("n", 128);
  params.set("k", 128);
  params.set("dtype", "fp32");
  params.set("path", "plain");
  params.set("balance", "ragged");
  const double bytes = 4.0 * 128 * (64 + 3 * 128) + 4.0 * 64 * 128;
  const SampleRows rows =
      sample_rows(std::vector{sample("grouped_gemm", params, 1e-3, bytes, 2. * 64 * 128 * 128)},
                  "x.jsonl", "mine");
  ASSERT_EQ(rows.curves.size(), 1u);
  const auto& op = std::get<BatchedGemmOp>(rows.curves[0].rows[0].op);
  EXPECT_DOUBLE_EQ(op.batch, 3);
  EXPECT_DOUBLE_EQ(op.m, 64.0 / 3);
}

TEST(SampleFit, SamplesOfTwoDevicesAreRefused) {
  std::vector<gpu::Sample> samples = simple_device();
  samples.back().device.set("name", "another device");
  try {
    sample_rows(samples, "x.jsonl", "mine");
    FAIL() << "two devices were taken for one";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("x.jsonl: line 49: sample of \"another device\""));
  }
}

TEST(SampleFit, ACopyThatTheCacheHoldsIsNoMemoryRate) {
  // The cache has 1 MB: a warm copy of 64 kB at 100 GB/s does not count beside those of up to 1 GB
  // at 10 GB/s; of copies within 4 MB alone the largest is the best guess.
  std::vector<gpu::Sample> samples = simple_device();
  Json params = Json::object();
  params.set("bytes", 32768);
  params.set("engine", "kernel");
  samples.push_back(sample("memory_copy", params, 65536 / 100e9, 65536, 0));
  EXPECT_NEAR(sample_peaks(samples).bytes_per_s, 10e9, 0.01e9);
  std::erase_if(samples, [](const gpu::Sample& one) {
    return one.op == "memory_copy" && one.bytes.value() > 2e6;
  });
  EXPECT_NEAR(sample_peaks(samples).bytes_per_s, 1048576 / (20e-6 + 1048576 / 10e9), 2e9);
}

TEST(SampleFit, WithoutACopyOrAProductTheErrorSaysWhatToRun) {
  std::vector<gpu::Sample> samples = simple_device();
  std::erase_if(samples, [](const gpu::Sample& one) { return one.op == "memory_copy"; });
  try {
    sample_peaks(samples);
    FAIL() << "no copy was measured";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("moesim-kernels run memory_copy"));
  }
  samples = simple_device();
  std::erase_if(samples, [](const gpu::Sample& one) { return one.op == "gemm"; });
  const DeviceFit fit = fit_device({written(samples, "no_gemm.jsonl")}, "mine", nullptr, {});
  EXPECT_THROW(measured_profile(fit, nullptr, "mine", "x"), InputError);
}

TEST(SampleFit, TooFewRowsAreRefusedWithTheirNumber) {
  std::vector<gpu::Sample> samples = simple_device();
  samples.erase(samples.begin() + 4, samples.begin() + 11);  // 4 of 11 copies stay
  const DeviceFit fit = fit_device({written(samples, "few.jsonl")}, "mine", nullptr, {});
  EXPECT_THAT(fit.curves[0].refused, testing::HasSubstr("4 rows: at least 6"));
}

TEST(SampleFit, TheReportDrawsEveryCurveAndStandsAlone) {
  const std::string path = written(simple_device(), "report.jsonl");
  const DeviceFit fit = fit_device({path}, "mine<&>", nullptr, {});
  const std::string html = fit_report_html(fit, "mine<&>");
  EXPECT_THAT(html, testing::StartsWith("<!doctype html>"));
  EXPECT_THAT(html, testing::HasSubstr("Calibration of mine&lt;&amp;&gt;"));
  EXPECT_THAT(html, testing::Not(testing::HasSubstr("mine<&>")));
  for (const char* outside : {"http:", "https:", "<script", "<link", "src="}) {
    EXPECT_THAT(html, testing::Not(testing::HasSubstr(outside)));
  }
  // Three drawings a curve, one circle a left-out row and drawing: 11 copies and 36 products.
  const auto count = [&](std::string_view word) {
    std::size_t found = 0;
    for (std::size_t at = html.find(word); at != std::string::npos; at = html.find(word, at + 1)) {
      ++found;
    }
    return found;
  };
  EXPECT_EQ(count("<svg"), 2u * 3u);
  EXPECT_EQ(count("<circle"), 3u * (11u + 36u));
  EXPECT_EQ(count("<svg"), count("</svg>"));
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(SampleFit, TablesNeedAProfile) {
  try {
    fit_device({"/nowhere"}, "mine", nullptr, {});
    FAIL() << "no peaks are known";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("there is no device profile \"mine\""));
  }
}

}  // namespace
}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "kernels/stream_timer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/kernel_table.h"

namespace moesim::gpu {
namespace {

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoMiddleSamples) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
}

TEST(MedianNoise, FollowsTheOrderStatistics) {
  // 100 samples 1..100: ranks 50 -+ 0.98 * 10 = 40.2 and 59.8, so the sorted samples number 40 and
  // 60 counted from 0, which are 41 and 61; half their distance over the median 50.5.
  std::vector<double> samples(100);
  std::iota(samples.begin(), samples.end(), 1.0);
  EXPECT_DOUBLE_EQ(median_noise(samples), 10.0 / 50.5);
  EXPECT_EQ(median_noise(std::vector<double>(20, 5.0)), 0.0);
  EXPECT_EQ(median_noise({1, 1, 1, 1, 1}), std::numeric_limits<double>::infinity());
}

TEST(StreamTimer, StopsEarlyWhenQuietAndAtTheLimitWhenNot) {
  const std::unique_ptr<Device> device = open_host_device();
  TimingOptions options;
  options.noise_fraction = 1e9;  // anything is quiet enough
  options.min_samples = 7;
  const Timing quiet = StreamTimer(*device, options).measure([] {});
  EXPECT_EQ(quiet.seconds.size(), 7u);
  EXPECT_TRUE(quiet.is_quiet);
  options.noise_fraction = -1;  // nothing is
  options.max_samples = 9;
  const Timing noisy = StreamTimer(*device, options).measure([] {});
  EXPECT_EQ(noisy.seconds.size(), 9u);
  EXPECT_FALSE(noisy.is_quiet);
}

TEST(StreamTimer, RepeatsShortWorkWithinASampleButNeverWhenCold) {
  const std::unique_ptr<Device> device = open_host_device();
  DeviceBuffer<std::uint32_t> buffer(*device, 1);
  TimingOptions options;
  options.max_samples = options.min_samples = 6;
  options.noise_fraction = 1e9;
  options.min_sample = Seconds(0.01);  // far above one launch, under a sanitizer too
  int runs = 0;
  const auto enqueue = [&] {
    device->kernels().touch(device->default_stream(), {1, 1, buffer.data()});
    ++runs;
  };
  const Timing warm = StreamTimer(*device, options).measure(enqueue);
  EXPECT_GT(warm.repeats, 1);  // one launch takes some 10 us
  EXPECT_EQ(runs, 2 + 6 * warm.repeats);
  runs = 0;
  options.is_cold = true;
  const Timing cold = StreamTimer(*device, options).measure(enqueue);
  EXPECT_EQ(cold.repeats, 1);
  EXPECT_EQ(runs, 1 + 6);
}

}  // namespace
}  // namespace moesim::gpu

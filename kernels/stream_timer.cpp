// SPDX-License-Identifier: Apache-2.0
#include "kernels/stream_timer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace moesim::gpu {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Words to write for a cold sample: twice the cache, 64 MB where its size is unknown.
std::size_t flush_words(const DeviceInfo& info, bool is_cold) {
  return is_cold ? static_cast<std::size_t>(
                       std::max(2.0 * info.cache_bytes, info.cache_bytes > 0 ? 0.0 : 64e6) / 4)
                 : 0;
}

}  // namespace

double median(std::vector<double> seconds) {
  MOESIM_CHECK(!seconds.empty(), "a median needs samples");
  std::sort(seconds.begin(), seconds.end());
  const std::size_t n = seconds.size();
  return 0.5 * (seconds[(n - 1) / 2] + seconds[n / 2]);
}

double median_noise(std::vector<double> seconds) {
  const double n = static_cast<double>(seconds.size());
  if (n < 6) {
    return std::numeric_limits<double>::infinity();
  }
  std::sort(seconds.begin(), seconds.end());
  const double reach = 0.98 * std::sqrt(n);
  const auto low = static_cast<std::size_t>(std::max(0.0, std::floor(n / 2 - reach)));
  const auto high = static_cast<std::size_t>(std::min(n - 1, std::ceil(n / 2 + reach)));
  return 0.5 * (seconds[high] - seconds[low]) / median(seconds);
}

StreamTimer::StreamTimer(Device& device, const TimingOptions& options)
    : device_(device),
      options_(options),
      begin_(device),
      end_(device),
      flush_(device, flush_words(device.info(), options.is_cold)) {}

Timing StreamTimer::measure(const std::function<void()>& enqueue) {
  return measure_with([&](int repeats) {
    const StreamHandle stream = device_.default_stream();
    device_.record(begin_.handle(), stream);
    for (int i = 0; i < repeats; ++i) {
      enqueue();
    }
    device_.record(end_.handle(), stream);
    return device_.seconds_between(begin_.handle(), end_.handle());
  });
}

Timing StreamTimer::measure_blocking(const std::function<void()>& run) {
  return measure_with([&](int repeats) {
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < repeats; ++i) {
      run();
    }
    return seconds_since(start);
  });
}

Timing StreamTimer::measure_with(const std::function<double(int)>& seconds_of) {
  Timing timing;
  const StreamHandle stream = device_.default_stream();
  const double first = seconds_of(1);  // loads code and fills caches; counts for nothing else
  device_.synchronize(stream);
  if (options_.fixed_repeats > 0) {
    timing.repeats = options_.fixed_repeats;
  } else if (!options_.is_cold) {
    const double once = std::min(first, seconds_of(1));
    const double wanted = options_.min_sample.value() / std::max(once, 1e-9);
    timing.repeats = static_cast<int>(std::clamp(std::ceil(wanted), 1.0, 1000.0));
  }
  const Clock::time_point start = Clock::now();
  while (static_cast<int>(timing.seconds.size()) < options_.max_samples) {
    const bool is_enough = static_cast<int>(timing.seconds.size()) >= options_.min_samples;
    if (is_enough && median_noise(timing.seconds) <= options_.noise_fraction) {
      timing.is_quiet = true;
      break;
    }
    if (is_enough && seconds_since(start) > options_.max_time.value()) {
      break;
    }
    if (options_.is_cold) {
      device_.fill(flush_.data(), static_cast<unsigned char>(timing.seconds.size()),
                   flush_.size() * sizeof(std::uint32_t), stream);
      device_.synchronize(stream);
    }
    timing.seconds.push_back(seconds_of(timing.repeats) / timing.repeats);
  }
  return timing;
}

}  // namespace moesim::gpu

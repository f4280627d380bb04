// SPDX-License-Identifier: Apache-2.0
// Takes times that can be trusted: warm or cold, as many as the noise asks for, all kept raw.
//
// Warm: one untimed run, then samples; work shorter than `min_sample` is repeated within a sample
// and divided. Cold: caches are flushed before every sample by writing twice their size. It stops
// when the 95% confidence interval of the median (order statistics n/2 -+ 0.98 sqrt(n), binomial)
// is within +-`noise_fraction` of the median, else at `max_samples` or `max_time`.
#pragma once

#include <functional>
#include <vector>

#include "kernels/device.h"
#include "kernels/device_buffer.h"
#include "sim/base/units.h"

namespace moesim::gpu {

struct TimingOptions {
  bool is_cold = false;
  double noise_fraction = 0.01;
  int min_samples = 11;
  int max_samples = 200;
  Seconds max_time = Seconds(1.0);       ///< after `min_samples`, nothing starts beyond this
  Seconds min_sample = Seconds(100e-6);  ///< event clocks tick every 0.5 us
  int fixed_repeats = 0;                 ///< above 0: runs within a sample, instead of min_sample
};

struct Timing {
  std::vector<double> seconds;  ///< raw, in the order taken
  int repeats = 1;              ///< runs within one sample
  bool is_quiet = false;        ///< the noise goal was reached
};

/// Half-width of the 95% interval of the median over the median; infinity below 6 samples, where no
/// interval of order statistics reaches 95%.
double median_noise(std::vector<double> seconds);
double median(std::vector<double> seconds);

class StreamTimer {
 public:
  StreamTimer(Device& device, const TimingOptions& options);
  /// Times `enqueue`, which puts work on the default stream, by events on that stream.
  Timing measure(const std::function<void()>& enqueue);
  /// Times `run` by the host's clock; `run` returns when its work is done.
  Timing measure_blocking(const std::function<void()>& run);

 private:
  Timing measure_with(const std::function<double(int repeats)>& seconds_of);

  Device& device_;
  TimingOptions options_;
  OwnedEvent begin_;
  OwnedEvent end_;
  DeviceBuffer<std::uint32_t> flush_;
};

}  // namespace moesim::gpu

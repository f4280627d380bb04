// SPDX-License-Identifier: Apache-2.0
#include "sim/cost/device_peaks.h"

namespace moesim {

DevicePeaks device_peaks(const DeviceProfile& profile) {
  Diagnostics problems;
  if (!profile.sm_count) {
    problems.add(profile.id, "/sm_count", "is missing", "the fit counts tiles per multiprocessor");
  }
  if (!profile.l2) {
    problems.add(profile.id, "/l2_bytes", "is missing",
                 "the fit compares weights with the L2 cache");
  }
  problems.throw_if_any();
  return known_peaks(profile);
}

DevicePeaks known_peaks(const DeviceProfile& profile) {
  DevicePeaks peaks;
  peaks.bytes_per_s = profile.memory_bandwidth.value.value();
  if (profile.sm_count) {
    peaks.multiprocessors = static_cast<double>(profile.sm_count->value);
  }
  if (profile.l2) {
    peaks.l2_bytes = profile.l2->value.value();
  }
  const auto set = [&](NumberFormat format, const std::optional<Sourced<FlopsPerSecond>>& rate) {
    if (rate) {
      peaks.flops_per_s[static_cast<std::size_t>(format)] = rate->value.value();
    }
  };
  set(NumberFormat::fp32, profile.peak.fp32);
  set(NumberFormat::tf32, profile.peak.tf32);
  set(NumberFormat::bf16, profile.peak.bf16);
  set(NumberFormat::fp16, profile.peak.fp16);
  set(NumberFormat::fp8, profile.peak.fp8);
  set(NumberFormat::fp8_block, profile.peak.fp8);
  set(NumberFormat::int8, profile.peak.int8);
  // mxfp4 weights meet bf16 or fp8 activations in the measured tables: never fp4 arithmetic.
  set(NumberFormat::nvfp4, profile.peak.fp4);
  return peaks;
}

}  // namespace moesim

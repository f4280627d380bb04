// SPDX-License-Identifier: Apache-2.0
// Samples of our own kernels (moesim/sample/1, written by moesim-kernels) as rows of curves.
//
// A sample's time is the median of its raw seconds. Each operation becomes the op family whose law
// it obeys, each way of running it (path, engine, direction, cold caches) a variant: a grouped
// product of `active` experts is a batch of products, permutation is routing of its own variant,
// copies and collectives are streams of bytes. The usual curve of a family ("") is its warm kernel
// on the fastest path that was measured.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calibrate/calibration_rows.h"
#include "kernels/samples.h"

namespace moesim {

/// What samples say of the device beside the times of ops; 0 where they are silent.
struct SampledDevice {
  std::string device_name;  ///< as the back end calls it; "" without samples
  std::string backend;      ///< "host", "cuda", "hip"
  double memory_bytes = 0;
  double launch_gap_s = 0;           ///< between kernels of a graph
  double launch_eager_s = 0;         ///< of one kernel enqueued
  double host_link_bytes_per_s = 0;  ///< best pinned copy, one direction, one stream
};

struct SampleRows {
  SampledDevice device;
  std::vector<CurveRows> curves;
  std::vector<RejectedRow> rejected;  ///< samples no curve can use, with the reason
};

/// `file` goes into the rows; rows are numbered by their line (from 1). `system` is the device's
/// id. Throws InputError when the samples come from several devices or back ends.
SampleRows sample_rows(std::span<const gpu::Sample> samples, const std::string& file,
                       const std::string& system);

/// Peaks as the samples show them: the best copy, the best product of each format (and the formats
/// that would multiply in it), processors and cache as the back end reports them.
DevicePeaks sample_peaks(std::span<const gpu::Sample> samples);

/// Median of the raw times of one sample.
double sample_seconds(const gpu::Sample& sample);

}  // namespace moesim

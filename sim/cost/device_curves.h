// SPDX-License-Identifier: Apache-2.0
// The fitted curves of a device, read once per process, in the order in which an op looks for its
// own.
//
// First the stack that the scenario names, then the other stacks of the device, those with most
// curves first. A device that was never measured has files of transferred curves
// (cost/curve_transfer.h), then the remaining stacks of the device they came from, or else those of
// its nearest relative.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/cost/cost_curve.h"
#include "sim/input/curve_files.h"

namespace moesim {

struct CurveSource {
  std::shared_ptr<const CurveSet> set;
  std::string path;
  std::uint64_t hash = 0;  ///< `text_hash` of the file

  /// "h100_sxm.trtllm-1.3.0rc20"
  std::string id() const { return set->device + "." + set->software; }
};

/// In order of preference; empty when `files` are none. Reads each file once per process, and is
/// safe to call from several threads. Throws InputError for a file that is no set of curves.
std::shared_ptr<const std::vector<CurveSource>> device_curves(const CurveFiles& files);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Which files of fitted curves serve a device and a software stack.
//
// hardware_profiles/curves/DEVICE.SOFTWARE.json; DEVICE holds no dot. A device without files of its
// own, measured or transferred, borrows those of its nearest relative: the device of the same
// vendor whose datasheet (peaks, bandwidth, multiprocessors, L2) differs least. Only names are
// looked at here; the curves themselves are read by sim/cost/device_curves.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/input/card_library.h"

namespace moesim {

struct CurveFiles {
  /// "trtllm-1.3.0rc20"; "": nobody named a stack; "none": no curves, the profile's estimates only.
  std::string software;
  std::vector<CurveFile> own;       ///< of the device, in order of their names
  std::vector<CurveFile> relative;  ///< of the nearest device that has some; empty if not needed
  std::shared_ptr<const std::vector<CurveFile>> all;  ///< of every device

  bool none() const { return software == "none"; }
};

/// Resolves a scenario's `software` ("" when absent; a framework alone, "vllm", means its newest
/// version). Throws InputError at `file`#/software naming the stacks that there are.
std::shared_ptr<const CurveFiles> curve_files_for(const DeviceProfile& device,
                                                  const std::string& software,
                                                  const CardLibrary& cards,
                                                  const std::string& file);

/// Order of versions: numbers inside compare as numbers, so rc10 comes after rc9.
bool version_before(std::string_view a, std::string_view b);

}  // namespace moesim

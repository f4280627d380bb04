// SPDX-License-Identifier: Apache-2.0
// Writes the transfer of a measured device's curves to a device that only has a datasheet
// (sim/cost/curve_transfer.h says what a transfer does).
//
// How far such curves are off was measured where both ends are: curves of one GPU against the
// tables of another, op family by op family. The 80% quantiles of those errors are the widths added
// to the intervals; a relative with the same chip (another memory, clock or link) gets the spread
// between releases of one framework instead.
#pragma once

#include <string>

#include "sim/cost/curve_transfer.h"
#include "sim/input/hardware_profile.h"

namespace moesim {

enum class Kinship {
  same_chip,     ///< other memory, clock or link
  other_chip,    ///< another generation of the same vendor, whose kernels are cut alike
  other_vendor,  ///< the trees are dropped: they know the base's tiles
};

/// `kinship`: of the device and the base's. `known`: an earlier file of
/// the same transfer whose `scales` and `note` (typed by hand) are kept, or null. What the profile
/// does not say of multiprocessors and L2 is taken from the base, and the note says so.
CurveTransfer curve_transfer(const DeviceProfile& device, const CurveSet& base, Kinship kinship,
                             const CurveTransfer* known);

}  // namespace moesim

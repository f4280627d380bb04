// SPDX-License-Identifier: Apache-2.0
// The datasheet side of a device profile, as the physical law wants it.
#pragma once

#include "sim/cost/physical_law.h"
#include "sim/input/hardware_profile.h"

namespace moesim {

/// Peaks of a profile; formats the device has no units for are 0. Throws InputError when the
/// profile says neither the number of multiprocessors nor the size of its L2 cache.
DevicePeaks device_peaks(const DeviceProfile& profile);
/// The same with what the profile says; multiprocessors stay 1 and the L2 cache 0 where it is
/// silent.
DevicePeaks known_peaks(const DeviceProfile& profile);

}  // namespace moesim

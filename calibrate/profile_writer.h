// SPDX-License-Identifier: Apache-2.0
// A device profile with what was measured: the card that `run` reads, made from fitted rows.
//
// Per op family the five parameters of the profile's form t = t0 + max(tc, tm) + c * min(tc, tm) +
// d * assignments are fitted to the rows of the family's usual kernels (mean |log| error, warm);
// what was not measured stays as the known profile has it, or is an estimate that says so. Samples
// of our own kernels add the memory rate, launch costs and the host link.
#pragma once

#include <span>
#include <string>

#include "calibrate/device_fit.h"
#include "sim/input/hardware_profile.h"

namespace moesim {

/// `known`: the profile of the same device, or null for a new one; then the samples must give a
/// memory rate and the rate of some product. `source` names the measurements.
DeviceProfile measured_profile(const DeviceFit& fit, const DeviceProfile* known,
                               const std::string& device, const std::string& source);

/// The five parameters over the rows of one family; `rows` must hold some. Provenance: fitted, with
/// points and mean absolute error.
OpEfficiency fit_efficiency(std::span<const CurveRows* const> rows, const DevicePeaks& device,
                            const std::string& source);

}  // namespace moesim

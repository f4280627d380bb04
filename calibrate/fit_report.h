// SPDX-License-Identifier: Apache-2.0
// The report of a calibration: one HTML file without scripts or outside references.
//
// For every curve: errors on rows whose shape was left out (beside the law alone and the datasheet
// roofline), measured against predicted time, residuals along the axis that names the shape (the
// feature of the family that varies most between shapes) and along the predicted time, the law's
// parameters in words, and what was refused or rejected and why. Drawings show at most a few
// hundred rows, drawn evenly; figures count all.
#pragma once

#include <string>

#include "calibrate/device_fit.h"

namespace moesim {

/// `device` is the title; the text is plain ASCII apart from what the inputs hold.
std::string fit_report_html(const DeviceFit& fit, const std::string& device);

}  // namespace moesim

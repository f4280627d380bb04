// SPDX-License-Identifier: Apache-2.0
// Measured rows of a deployment, from the file that a user has.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "sim/input/serving_measurements.h"

namespace moesim {

/// A CSV of `moesim import`, or a benchmark result as its tool wrote it (said on `err`). `only`:
/// the id of one row, or "" for all. `gpus` of the deployment turn a total rate into one a GPU.
/// Throws InputError for what cannot be read.
std::vector<ServingMeasurement> read_measured_rows(const std::string& file, const std::string& only,
                                                   double gpus, std::ostream& err);

}  // namespace moesim

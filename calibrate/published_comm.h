// SPDX-License-Identifier: Apache-2.0
// Printed figures of other people's libraries, networks and links against what the shipped profiles
// say: the rest of ep_published.csv, size_sweeps.csv and links.csv.
//
// None of these rows was fitted to (save the network cards' start-up and rate, which name the
// sweep as their source), so they are one prediction each, `profile`. A library without constants
// of its own is predicted by the constants of DeepEP's kernels of the same algorithm, and where a
// machine has none at all by its busiest link alone; the error is then what the library loses or
// gains. A network named in the row ("EFA 4x100Gb/s per node") replaces the profile's cards. Rows
// that nothing here can predict are kept with the reason.
#pragma once

#include <string>

#include "calibrate/validate_comm.h"

namespace moesim {

/// Adds the rows of `folder` to `result`, and files that are absent.
void add_published_comm(const std::string& folder, const CardLibrary& cards,
                        CommValidation& result);

/// Cards of a node and their rate from "EFA 8x400Gb/s per node", "... per 8 GPUs" or "... per GPU"
/// of a machine with `gpus` GPUs a node; false when `text` has no such figure.
bool read_cards(const std::string& text, std::int64_t gpus, Nics& nics);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Cases of collectives; they belong to a job of one or many processes, which the program sets once.
#pragma once

#include "kernels/collective_probe.h"
#include "kernels/operations.h"

namespace moesim::gpu::cases {

std::vector<Operation> collective_operations();

/// The place of this process for all collective cases to come; before the first of them.
void set_process_place(const ProcessPlace& place);

/// Floats per pair from a table with the header "src,dst,bytes"; pairs that are absent send
/// nothing. Throws InputError for ranks outside [0, ranks) and for what is no table.
PairCounts read_pair_counts(const std::string& path, int ranks);

}  // namespace moesim::gpu::cases

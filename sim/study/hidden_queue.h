// SPDX-License-Identifier: Apache-2.0
// Finds measured series in which requests queued although the row does not say so: TTFT then tells
// of a limit that nobody stated, and nothing can be said of it.
//
// In a closed loop whose engine serves one request fewer than the client offers, somebody always
// waits for a slot: Little's law gives a mean wait of (time in service) / (slots), so TTFT grows
// with the length of *outputs*, which a first token cannot know of. The share of offered requests
// that waits is the slope of TTFT over the time in service, times the concurrency: 0 without a
// queue, 1 with one slot too few.
#pragma once

#include <vector>

#include "sim/study/serving_case.h"

namespace moesim {

/// Sets `ttft_left_out` in every case of a software and model whose runs with little load (at most
/// 64 requests in flight) show half a waiting request or more, median over pairs of runs that
/// differ in output length alone. Four such pairs at least are asked for.
void mark_hidden_queues(std::vector<ServingCase>& cases);

}  // namespace moesim

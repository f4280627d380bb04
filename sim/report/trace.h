// SPDX-License-Identifier: Apache-2.0
// A timeline as Chrome trace events, which Perfetto (https://ui.perfetto.dev) and chrome://tracing
// open.
//
// Links of the network (flow fidelity) are counters. One process a GPU, one thread a stream, one
// complete event ("ph": "X") a span; times in microseconds as the format asks. Source: Trace Event
// Format, "complete events" (Google, 2016).
#pragma once

#include <string>

#include "sim/engine/timeline.h"

namespace moesim {

/// About 110 bytes a span.
std::string chrome_trace(const Timeline& timeline);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Results of serving benchmarks as measured rows.
//
// Read: `vllm bench serve` (JSON, and the printed text), `sglang.bench_serving` (JSON lines, text),
// InferenceX (aggregated JSON), aiperf and genai-perf (profile export JSON), guidellm (benchmarks
// JSON). One row a run. Figures keep their meaning: what a tool calls TPOT but counts the first
// token in is not taken as TPOT (the inter-token latency is), and the note of the row says so.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/input/serving_measurements.h"

namespace moesim {

struct ImportedBench {
  std::string format;  ///< "vllm bench serve", "guidellm" ...
  std::vector<ServingMeasurement> rows;
  std::vector<std::string> notes;
  std::vector<std::string> unread;  ///< keys or lines of the file that no column takes
};

bool looks_like_bench_result(std::string_view text);

/// Throws InputError when the text is of none of the formats, or a figure is no positive number.
ImportedBench import_bench_result(std::string_view text, const std::string& file);

}  // namespace moesim

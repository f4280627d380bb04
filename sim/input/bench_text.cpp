// SPDX-License-Identifier: Apache-2.0
#include "sim/input/bench_text.h"

#include <algorithm>
#include <map>

namespace moesim {
namespace {

/// Values of the printed summaries: "Mean TTFT (ms):    7279.56".
std::vector<std::map<std::string, std::string>> printed_runs(std::string_view text) {
  std::vector<std::map<std::string, std::string>> runs;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (line.find("Serving Benchmark Result") != std::string_view::npos) {
      runs.emplace_back();
      continue;
    }
    const std::size_t colon = line.find(':');
    if (runs.empty() || colon == std::string_view::npos) {
      continue;
    }
    const auto trimmed = [](std::string_view piece) {
      const std::size_t first = piece.find_first_not_of(" \t\r#");
      return first == std::string_view::npos
                 ? std::string()
                 : std::string(piece.substr(first, piece.find_last_not_of(" \t\r") - first + 1));
    };
    runs.back().emplace(trimmed(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  }
  return runs;
}

/// The printed line's names as keys of the JSON that the same tool saves.
Json json_of_printed(const std::map<std::string, std::string>& run) {
  static const std::map<std::string, std::string> kNames = {
      {"Successful requests", "completed"},
      {"Total input tokens", "total_input_tokens"},
      {"Total generated tokens", "total_output_tokens"},
      {"Output token throughput (tok/s)", "output_throughput"},
      {"Input token throughput (tok/s)", "input_throughput"},
      {"Mean TTFT (ms)", "mean_ttft_ms"},
      {"Mean TPOT (ms)", "mean_tpot_ms"},
      {"Maximum request concurrency", "max_concurrency"},
      {"Max request concurrency", "max_concurrency"},
      {"Traffic request rate", "request_rate"},
      {"Backend", "backend"},
      {"Accept length", "accept_length"},
  };
  Json json = Json::object();
  for (const auto& [name, value] : run) {
    const auto known = kNames.find(name);
    if (known == kNames.end()) {
      json.set(name, value);
    } else if (value != "not set") {
      json.set(known->second, value);
    }
  }
  return json;
}

}  // namespace

bool is_printed_result(std::string_view text) {
  return text.find("Serving Benchmark Result") != std::string_view::npos;
}

std::vector<Json> printed_results(std::string_view text) {
  std::vector<Json> objects;
  for (const auto& run : printed_runs(text)) {
    objects.push_back(json_of_printed(run));
  }
  return objects;
}

std::vector<Json> objects_of(std::string_view text, const std::string& file) {
  std::vector<Json> objects;
  const std::size_t newline = text.find('\n');
  const bool has_lines = newline != std::string_view::npos &&
                         text.find_first_not_of(" \t\r\n", newline) != std::string_view::npos;
  const std::string_view first = text.substr(0, newline);
  const std::size_t last = first.find_last_not_of(" \t\r");
  if (has_lines && last != std::string_view::npos && first[0] == '{' && first[last] == '}') {
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const std::string_view line = text.substr(at, end - at);
      at = end + 1;
      if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
        objects.push_back(parse_json(line, file));
      }
    }
    return objects;
  }
  const Json whole = parse_json(text, file);
  if (whole.is_array()) {
    objects.assign(whole.items().begin(), whole.items().end());
  } else {
    objects.push_back(whole);
  }
  return objects;
}

}  // namespace moesim

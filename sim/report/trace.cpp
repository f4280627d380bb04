// SPDX-License-Identifier: Apache-2.0
#include "sim/report/trace.h"

#include <set>

#include "sim/base/json.h"

namespace moesim {
namespace {

/// Picoseconds as microseconds with six decimals, exactly.
std::string microseconds(SimTime time) {
  const std::int64_t picoseconds = time.picoseconds();
  std::string fraction = std::to_string(picoseconds % 1000000);
  return std::to_string(picoseconds / 1000000) + "." + std::string(6 - fraction.size(), '0') +
         fraction;
}

std::string quoted(const std::string& text) { return Json(text).dump(-1); }

}  // namespace

std::string chrome_trace(const Timeline& timeline) {
  std::string out = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  std::set<std::uint32_t> devices;
  for (const Span& span : timeline.spans) {
    devices.insert(span.device);
  }
  for (const std::uint32_t device : devices) {
    const std::string process = std::to_string(device);
    out += "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": " + process +
           ", \"args\": {\"name\": \"GPU " + process + "\"}},\n";
    for (std::size_t stream = 0; stream < timeline.streams.size(); ++stream) {
      out += "{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": " + process +
             ", \"tid\": " + std::to_string(stream) +
             ", \"args\": {\"name\": " + quoted(timeline.streams[stream]) + "}},\n";
    }
  }
  for (const Span& span : timeline.spans) {
    out += "{\"ph\": \"X\", \"pid\": " + std::to_string(span.device) +
           ", \"tid\": " + std::to_string(span.stream) + ", \"ts\": " + microseconds(span.start) +
           ", \"dur\": " + microseconds(span.end - span.start) +
           ", \"name\": " + quoted(timeline.labels.text(span.label)) +
           ", \"cat\": " + quoted(timeline.kinds[span.kind]) + "},\n";
  }
  // Links are counters of a process of their own, after the GPUs.
  const std::string links = std::to_string(devices.empty() ? 0 : *devices.rbegin() + 1);
  if (!timeline.links.empty()) {
    out += "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": " + links +
           ", \"args\": {\"name\": \"busiest links, share of their rate\"}},\n";
  }
  for (const LinkTrack& track : timeline.links) {
    const auto counter = [&](SimTime time, double share) {
      out += "{\"ph\": \"C\", \"pid\": " + links + ", \"ts\": " + microseconds(time) +
             ", \"name\": " + quoted(track.name) + ", \"args\": {\"share\": " + number_text(share) +
             "}},\n";
    };
    for (const LinkTrack::Interval& interval : track.intervals) {
      counter(interval.start, interval.utilisation);
      counter(interval.end, 0.0);
    }
  }
  if (out.ends_with(",\n")) {
    out.erase(out.size() - 2, 1);  // the last comma
  }
  return out + "]}\n";
}

}  // namespace moesim

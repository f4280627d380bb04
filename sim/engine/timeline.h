// SPDX-License-Identifier: Apache-2.0
// What ran where and when: one 32-byte span for each task that ran, labels interned.
//
// The timeline is what traces and timeline views read; it knows neither the graph nor its costs. A
// label says what one task is ("layer 17 experts, micro-batch 1"), a kind what it counts as
// ("experts").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sim/base/sim_time.h"

namespace moesim {

/// Index of a text in a LabelTable.
enum class LabelId : std::uint32_t {};

/// Distinct texts, numbered from 0 in the order of their first use.
class LabelTable {
 public:
  LabelId intern(std::string_view text);
  const std::string& text(LabelId label) const { return texts_[static_cast<std::size_t>(label)]; }
  std::size_t size() const { return texts_.size(); }

 private:
  std::vector<std::string> texts_;
  std::unordered_map<std::string, LabelId> ids_;
};

/// One task's stay on a stream, from `start` to `end`.
struct Span {
  SimTime start;
  SimTime end;
  std::uint32_t device = 0;
  LabelId label{0};         ///< in Timeline::labels
  std::uint16_t kind = 0;   ///< in Timeline::kinds
  std::uint8_t stream = 0;  ///< in Timeline::streams
};
static_assert(sizeof(Span) <= 32);

/// One direction of one link while it carried something.
struct LinkTrack {
  struct Interval {
    SimTime start;
    SimTime end;
    float utilisation = 0;  ///< mean share of the capacity
  };
  std::string name;
  std::vector<Interval> intervals;  ///< in order of time, apart from each other
};

struct Timeline {
  std::vector<Span> spans;  ///< in the order of the tasks
  LabelTable labels;
  std::vector<std::string> kinds;
  std::vector<std::string> streams;  ///< of each device
  std::vector<LinkTrack> links;      ///< flow fidelity: the busiest ones
};

}  // namespace moesim

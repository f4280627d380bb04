// SPDX-License-Identifier: Apache-2.0
// Results of sweeps in one SQLite file that survives a kill at any moment.
//
// Tables: `results` (key, scenario, feasible, reasons, then one column per figure as sweeps bring
// them; no clock and no host, so equal sweeps have equal content), `sweeps` (definition of each
// sweep by its hash), `points` (which result answers which point of which sweep), `runs` (when,
// where, how long). Chunks are written in order, each in one transaction of a write-ahead log, so
// that what a killed run leaves is a prefix of the sweep. Source: https://www.sqlite.org/wal.html.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/study/sweep_table.h"

namespace moesim {

class ResultsDatabase {
 public:
  /// Opens or makes `path`. Throws InputError when it is no results database or cannot be written.
  explicit ResultsDatabase(const std::string& path);
  ~ResultsDatabase();
  ResultsDatabase(const ResultsDatabase&) = delete;
  ResultsDatabase& operator=(const ResultsDatabase&) = delete;

  /// Names the sweep that `write` and `read` are about, and returns how many of its points are
  /// there already.
  std::uint64_t begin_sweep(const SweepSpace& space, const std::string& card_hashes);
  /// Adds a chunk, all or nothing. Throws InputError when the disk does not take it.
  void write(const SweepChunk& chunk);
  /// Every point of the sweep, in order.
  SweepTable read(const SweepSpace& space) const;

  /// Notes the start of a run, and later how it went.
  void begin_run(const std::string& host, int workers, int ranks);
  void end_run(double seconds, std::uint64_t points);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moesim

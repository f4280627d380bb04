// SPDX-License-Identifier: Apache-2.0
// Thousands of scenarios on all cores: every point of a space simulated, the same rows in the same
// order for any number of workers.
//
// Points are cut into chunks; workers (oneTBB) take the next chunk when they are free, and finished
// chunks leave in order. Cards are read once, and points that share a deployment (all but batch and
// lengths) share its resolved scenario and compiled step, so that an analytic point costs some
// microseconds. A point that breaks a rule between keys (48 ranks for 256 experts) is pruned before
// anything runs and becomes a row with its reasons.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "sim/study/sweep_space.h"

namespace moesim {

struct SimulationResult;

/// One point's answer. Figures are in the order of the chunk's columns; absent ones are NaN.
struct SweepRow {
  std::uint64_t point = 0;
  std::string key;       ///< hash of (scenario with its cards, seed, version)
  std::string scenario;  ///< resolved, one line of JSON
  bool feasible = false;
  bool simulated = false;  ///< false: pruned before running
  std::string reasons;     ///< why it is not feasible, one a line
  std::vector<double> figures;
};

/// Consecutive points.
struct SweepChunk {
  std::vector<std::string> columns;  ///< in the order in which rows first have them
  std::vector<SweepRow> rows;
};

/// A run of points [first, first + count).
struct PointRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

struct SweepOptions {
  int jobs = 0;                 ///< workers; 0: all cores
  bool wants_scenarios = true;  ///< fill key and scenario of each row
  std::stop_token stop;         ///< ends the sweep between chunks: `run_sweep` then returns false
};

/// Cuts what is missing into chunks: `done` points [0, done) exist already.
std::vector<PointRange> sweep_chunks(const SweepSpace& space, std::uint64_t done, int workers);

/// Simulates points; thread-safe.
class PointEvaluator {
 public:
  PointEvaluator(const SweepSpace& space, const CardLibrary& cards, std::string file,
                 bool wants_scenarios);
  ~PointEvaluator();
  SweepChunk evaluate(const PointRange& range) const;
  /// One point's full result without its alternatives. Throws InputError for a pruned one.
  SimulationResult result(std::uint64_t point) const;

 private:
  struct Deployments;
  struct Resolved;
  struct Worker;
  std::string deployment_key(const std::vector<Json>& values) const;
  Resolved& resolved(Worker& worker) const;
  SweepRow evaluate_point(std::uint64_t point, Worker& worker, SweepChunk& chunk) const;

  const SweepSpace& space_;
  const CardLibrary& cards_;
  std::string file_;
  bool wants_scenarios_;
  std::vector<bool> is_batch_axis_;
  std::unique_ptr<Deployments> deployments_;
};

using ChunkSink = std::function<void(SweepChunk&&)>;

/// Evaluates `chunks`; `sink` gets them in order, one at a time. Returns false when stopped.
bool run_sweep(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks,
               const SweepOptions& options, const ChunkSink& sink);

/// The same over the ranks of an MPI job (started by mpirun or srun): rank 0 hands out chunks as
/// ranks become free and alone calls `sink`. Throws InputError when the build has no MPI.
bool run_sweep_mpi(const PointEvaluator& evaluator, const std::vector<PointRange>& chunks,
                   const SweepOptions& options, const ChunkSink& sink);
struct MpiRank {
  int rank = 0;
  int size = 1;
};
/// Starts MPI (once a process) and returns this process's rank and their number. Throws InputError
/// when the build has no MPI.
MpiRank start_mpi();
/// Rank 0's value on every rank.
std::int64_t from_first_rank(std::int64_t value);

/// Columns and figures of a result: `metric`, `metric_low`, `metric_high`; distributions add
/// `metric_p50` ... and groups `metric_part` (and their sum for bytes).
void add_figures(const SimulationResult& result, std::vector<std::string>& columns,
                 std::vector<double>& figures);

}  // namespace moesim

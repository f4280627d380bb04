// SPDX-License-Identifier: Apache-2.0
// One running copy of a deployment: attention replicas that step together, and runs of steps in
// closed form.
//
// While nobody arrives, is admitted or ends, a decode step costs a + b * k for the k-th step, so K
// steps take K a + b K (K - 1) / 2 and the instance jumps over all of them. A run ends where a
// sequence ends, the cache fills, or the cost curve bends; an arrival cuts it at the end of the
// step in progress. Replicas that share experts step together: the slowest replica's own part plus
// the common part. Steps that read prompts are single.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/serving/batch_scheduler.h"
#include "sim/serving/serving_record.h"
#include "sim/serving/step_timeline.h"

namespace moesim {

class Instance {
 public:
  /// `swap_s_per_token`: time in which one cached token crosses PCIe; `prompt_wait_steps` as in
  /// EngineRules.
  Instance(StepTimeline& timeline, std::vector<Replica> replicas, double swap_s_per_token,
           std::int64_t prompt_wait_steps);

  Replica& replica(std::size_t rank) { return replicas_[rank]; }
  std::size_t num_replicas() const { return replicas_.size(); }
  bool is_running() const { return is_running_; }

  /// Plans from `now` and starts a run; false when there is nothing to do.
  bool start(double now);
  double end_s() const { return end_s_; }
  /// Ends the run with the step in progress at `now`; true when that moved its end.
  bool cut(double now);
  /// The run is over: what came out of it, in the order of ranks.
  void finish(StepEvents& events, PoolTotals& totals, ServingRecord& record);
  /// The run is lost.
  void abort(double now) {
    is_running_ = false;
    end_s_ = now;
  }

 private:
  bool must_hold_prompts() const;
  double plan_prompt_step();
  void plan_decode_run();
  /// The step of the mean replica, whose `decoding` sequences hold `context` tokens each.
  StepShape mean_shape(double decoding, double context) const;
  /// What the caches of experts did in the run: `decoding` sequences of all ranks with `context`
  /// tokens each.
  void count_swaps(double decoding, double context, PoolTotals& totals, SeriesRecorder& series);
  double run_seconds(double steps) const {
    return steps * first_s_ + growth_s_ * steps * (steps - 1) / 2;
  }

  /// Takes the step times of `now`; seconds that moved weights still cost then.
  double enter_epoch(double now);

  StepTimeline& timeline_;
  std::size_t epoch_ = 0;
  double epoch_end_s_ = 0;
  StepTimes* times_;  ///< of the epoch
  std::vector<Replica> replicas_;
  std::vector<StepPlan> plans_;
  struct RankLine {
    double seconds = 0;
    double growth = 0;
  };
  std::vector<RankLine> lines_;
  double swap_s_per_token_ = 0;
  std::int64_t prompt_wait_steps_ = 0;
  std::int64_t waited_steps_ = 0;  ///< since the first prompt was held
  bool holds_ = false;             ///< the run passes over prompts
  bool is_running_ = false;
  bool reads_ = false;  ///< the run is one step that reads prompts
  double start_s_ = 0;
  double end_s_ = 0;
  double first_s_ = 0;   ///< of the run's first step
  double growth_s_ = 0;  ///< every further step takes so much longer
  std::int64_t steps_ = 0;
  double swap_s_ = 0;
  double stall_s_ = 0;  ///< part of the run: weights being moved
  double imbalance_ = 0;
};

}  // namespace moesim

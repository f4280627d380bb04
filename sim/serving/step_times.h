// SPDX-License-Identifier: Apache-2.0
// Times of the steps of a serving run: the step model evaluated once at the nodes of a grid, and
// read off between them.
//
// A decode step is piecewise affine in the cached context, so one row of nodes (contexts 1.25x
// apart) a batch size makes it exact up to the bends of the curves; batch sizes are those of the
// captured graphs, to which a step is padded, and beyond them every size to 64, then 1/16 octave
// apart. Steps that also read prompts are interpolated over (decode batch, context, prompt tokens,
// cached tokens). Nodes are evaluated when first asked for.
//
// Ranks of one deployment meet at every expert layer: a time has an `own` part (attention, dense
// layers, head), of which the slowest rank counts, and a `common` part (experts, exchange), which
// the mean batch sets. A GPU that computes slowly (/faults) is the one that all wait for:
// everything but exchanges and the host takes longer by as much. Waiting for experts that are not
// on the GPU (expert_swap.h) is common.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "sim/cost/step_cost.h"
#include "sim/serving/batch_scheduler.h"
#include "sim/serving/expert_swap.h"
#include "sim/serving/speculation.h"

namespace moesim {

struct StepTime {
  double own = 0;
  double common = 0;
  double layer = 0;  ///< with /offload: of a MoE layer whose experts are all there
  double total() const { return own + common; }
};

/// Seconds of a decode step as a function of the mean context, from where it was asked.
struct DecodeLine {
  double seconds = 0;
  double per_token = 0;  ///< more for each further token of mean context
  double valid_to = 0;   ///< context at which the next piece begins
};

/// What one replica does in one step.
struct StepShape {
  double decoding = 0;       ///< sequences that generate
  double context = 0;        ///< of these, mean
  double prompts = 0;        ///< sequences whose prompt is being read
  double prompt_tokens = 0;  ///< new tokens of all of them
  double cached_tokens = 0;  ///< a sequence; keeps sum new * (cached + new / 2) of the step

  static StepShape of(double decoding, double context, const StepPlan& plan);
};

class StepTimes {
 public:
  /// `scenario` must be of kind serving and must outlive this.
  /// `like`: another one whose layout, formats and routing are the same; its step model is shared.
  /// `loads`: those of the layout under another routing or placement; absent: the scenario's.
  StepTimes(const Scenario& scenario, const EngineRules& rules, const StepTimes* like = nullptr,
            const LoadView* loads = nullptr);

  /// Experts below GPU memory: from now on steps wait for those that are not there. To be called
  /// before any time was asked for; `swap` may be shared.
  void swap_experts(std::shared_ptr<ExpertSwap> swap) { swap_ = std::move(swap); }
  const std::shared_ptr<ExpertSwap>& expert_swap() const { return swap_; }
  /// What the caches of experts do in such a step; only after `swap_experts`.
  SwapCost swaps(const StepShape& shape);

  /// All ranks alike, or one replica alone: `decoding` > 0 sequences take one step each.
  DecodeLine decode(double decoding, double context);
  /// The part that a rank spends on its own when graphs are padded for `longest` sequences.
  DecodeLine decode_own(double decoding, double context, double longest);
  /// The part that all ranks spend together, for their mean batch.
  DecodeLine decode_common(double decoding, double context);
  /// A step that reads prompts.
  StepTime mixed(const StepShape& shape);

  /// Multiplies every time from now on (bands: what if all steps took so much longer).
  void set_scale(double scale) { scale_ = scale; }

  /// What a step is made of, without host time of the engine.
  StepCost cost(const StepShape& shape);
  /// 80% band of such a step: seconds * exp(+-this); 0 where none is known.
  double log_half_width(const StepShape& shape) const;
  const StepCostModel& decode_model() const { return *decode_; }
  std::shared_ptr<const StepCostModel> shared_decode_model() const { return decode_; }
  const StepCostModel& prompt_model() const { return *prompt_; }
  const Speculation& speculation() const { return speculation_; }
  std::int64_t evaluations() const { return evaluations_; }

 private:
  struct Row {
    double batch = 0;
    bool captured = false;
    std::vector<StepTime> nodes;  ///< own < 0: not evaluated yet
  };
  const StepTime& decode_node(Row& row, std::size_t node);
  Row& row_for(double decoding);
  StepTime evaluate(const StepBatch& batch, bool captured);
  /// The step's parts with the slowest GPU in it.
  StepCost evaluate_cost(const StepBatch& batch) const;
  StepBatch batch_for(const StepShape& shape) const;
  double draft_seconds(const StepCostModel& model, const StepBatch& batch) const;
  OverlapRule overlap_for(const StepCostModel& model, double tokens) const;

  const EngineRules rules_;
  Speculation speculation_;
  std::shared_ptr<const StepCostModel> decode_;
  std::shared_ptr<const StepCostModel> prompt_;
  std::shared_ptr<ExpertSwap> swap_;  ///< null: every expert is on its GPU
  std::vector<Row> rows_;             ///< by batch, ascending
  std::unordered_map<std::uint64_t, StepTime> mixed_;
  double num_layers_ = 1;
  double eager_floor_s_ = 0;  ///< host time of launching every kernel of a step one by one
  double two_batch_min_tokens_ = 0;
  double slowdown_ = 1;  ///< of what the slowest GPU computes
  double scale_ = 1;
  std::int64_t evaluations_ = 0;
};

}  // namespace moesim

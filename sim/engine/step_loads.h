// SPDX-License-Identifier: Apache-2.0
// What each rank computes and exchanges in one pass through one MoE layer, from counts of drawn
// tokens.
#pragma once

#include <vector>

#include "sim/cost/step_cost.h"

namespace moesim {

/// One pass (layer, micro-batch) as every GPU sees it.
struct PassLoads {
  std::vector<ExpertLoad> experts;  ///< [GPUs]
  std::vector<ExchangeDemand>
      exchange;  ///< [GPUs] the larger of what it sends and what it receives
  /// [GPUs, GPUs] selections by source and destination; empty unless asked for. A destination's
  /// expert-tensor ranks share them evenly.
  std::vector<float> pair_copies;
  double copies_per_rank = 1;  ///< copies to distinct ranks, a selection
  double copies_per_node = 1;  ///< copies to distinct other nodes, a selection that leaves the node
  double rank_max_over_mean = 1;
  double expert_max_over_mean = 1;
  double active_experts = 0;
  double selections = 0;
  double dropped = 0;
  double rows = 0;     ///< computed, padding included
  double padding = 0;  ///< rows computed for nobody
};

/// Draws the tokens of one pass. `tokens_per_gpu` enter on every GPU (rounded so that all sum to
/// the batch). Selections beyond an expert's places are dropped, latest sources first, or go to
/// experts with places left in proportion to their popularity. Replicas share each (source, expert)
/// count as the placement's dispatch rule says, rounded without bias.
PassLoads draw_pass(const StepCostModel& model, std::int64_t moe_layer, double tokens_per_gpu,
                    std::uint64_t draw, bool with_pairs = false);

}  // namespace moesim

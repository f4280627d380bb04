// SPDX-License-Identifier: Apache-2.0
// Router gate: logits to the k chosen experts and their weights.
//
//   p = softmax(logits) or sigmoid(logits);  s = p + bias  (selection score; bias may be absent)
//   grouped: a group's score is the sum of its two best s (one if it has one expert); only experts
//   of the `groups_kept` best groups can be chosen; then the k largest s; ties go to the lowest
//   index. weight = p of the chosen, divided by their sum when `normalise`, times `scale`.
// Sources: Shazeer et al. 2017 (arXiv:1701.06538); DeepSeek-V3 technical report (arXiv:2412.19437)
// section 2.1.2 for sigmoid scores, bias and groups.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "sim/base/units.h"

namespace moesim::gpu {

enum class GateScore { softmax, sigmoid };

struct RouterGateShape {
  int num_tokens = 0;
  int num_experts = 8;  ///< 1 to 512
  int top_k = 1;        ///< 1 to 16, at most the experts of the groups kept
  int num_groups = 1;   ///< divides num_experts, at most 64; 1: no groups
  int groups_kept = 1;
  GateScore score = GateScore::softmax;
  bool normalise = true;
  float scale = 1.0f;
};

struct RouterGateCall {
  RouterGateShape shape;
  const float* logits = nullptr;   ///< [tokens, experts]
  const float* bias = nullptr;     ///< [experts] or null
  std::int32_t* chosen = nullptr;  ///< out [tokens, k], best first
  float* weights = nullptr;        ///< out [tokens, k]
  float* selection = nullptr;  ///< out [tokens, experts], the scores s that were compared; or null
};

/// Bytes read and written: logits, bias once, ids and weights.
inline Bytes router_gate_bytes(const RouterGateShape& s) {
  const double tokens = s.num_tokens;
  return Bytes(4.0 * tokens * s.num_experts + 8.0 * tokens * s.top_k + 4.0 * s.num_experts);
}
/// Comparisons and score arithmetic, one each: experts * (score 4 + k rounds).
inline Flops router_gate_flops(const RouterGateShape& s) {
  return Flops(static_cast<double>(s.num_tokens) * s.num_experts * (4.0 + s.top_k));
}

/// Selection of the reference: given the fp32 selection scores [tokens, experts], the chosen
/// experts [tokens, k], best first. A NaN score counts as minus infinity.
std::vector<std::int32_t> router_gate_select_reference(const RouterGateShape& shape,
                                                       const std::vector<float>& selection);
/// Scores p [tokens, experts] in double.
std::vector<double> router_gate_scores_reference(const RouterGateShape& shape,
                                                 const std::vector<float>& logits);
/// Weights [tokens, k] in double of the given choice.
std::vector<double> router_gate_weights_reference(const RouterGateShape& shape,
                                                  const std::vector<double>& scores,
                                                  const std::vector<std::int32_t>& chosen);

}  // namespace moesim::gpu

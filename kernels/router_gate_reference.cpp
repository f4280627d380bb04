// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/router_gate.h"

namespace moesim::gpu {

std::vector<std::int32_t> router_gate_select_reference(const RouterGateShape& shape,
                                                       const std::vector<float>& selection) {
  const int experts = shape.num_experts;
  const int group_size = experts / shape.num_groups;
  std::vector<std::int32_t> chosen;
  for (int token = 0; token < shape.num_tokens; ++token) {
    std::vector<float> score(selection.begin() + std::ptrdiff_t{token} * experts,
                             selection.begin() + std::ptrdiff_t{token + 1} * experts);
    for (float& s : score) {
      s = std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
    }
    // Best groups first; a stable sort keeps the lowest index on ties.
    std::vector<float> group_score(static_cast<std::size_t>(shape.num_groups));
    for (int group = 0; group < shape.num_groups; ++group) {
      std::vector<float> members(score.begin() + group * group_size,
                                 score.begin() + (group + 1) * group_size);
      std::sort(members.begin(), members.end(), std::greater<>());
      const float sum = group_size > 1 ? members[0] + members[1] : members[0];
      group_score[group] = std::isnan(sum) ? -std::numeric_limits<float>::infinity() : sum;
    }
    std::vector<int> groups(static_cast<std::size_t>(shape.num_groups));
    std::iota(groups.begin(), groups.end(), 0);
    std::stable_sort(groups.begin(), groups.end(),
                     [&](int a, int b) { return group_score[a] > group_score[b]; });
    groups.resize(static_cast<std::size_t>(shape.groups_kept));
    std::sort(groups.begin(), groups.end());
    std::vector<std::int32_t> candidates;
    for (const int group : groups) {
      for (int i = 0; i < group_size; ++i) {
        candidates.push_back(group * group_size + i);
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](int a, int b) { return score[a] > score[b]; });
    chosen.insert(chosen.end(), candidates.begin(), candidates.begin() + shape.top_k);
  }
  return chosen;
}

std::vector<double> router_gate_scores_reference(const RouterGateShape& shape,
                                                 const std::vector<float>& logits) {
  std::vector<double> scores(logits.begin(), logits.end());
  for (int token = 0; token < shape.num_tokens; ++token) {
    double* row = scores.data() + std::ptrdiff_t{token} * shape.num_experts;
    double* end = row + shape.num_experts;
    if (shape.score == GateScore::sigmoid) {
      std::transform(row, end, row, [](double x) { return 1.0 / (1.0 + std::exp(-x)); });
      continue;
    }
    const double largest = *std::max_element(row, end);
    std::transform(row, end, row, [&](double x) { return std::exp(x - largest); });
    const double sum = std::accumulate(row, end, 0.0);
    std::transform(row, end, row, [&](double x) { return x / sum; });
  }
  return scores;
}

std::vector<double> router_gate_weights_reference(const RouterGateShape& shape,
                                                  const std::vector<double>& scores,
                                                  const std::vector<std::int32_t>& chosen) {
  std::vector<double> weights(chosen.size());
  for (int token = 0; token < shape.num_tokens; ++token) {
    double sum = 0.0;
    for (int i = 0; i < shape.top_k; ++i) {
      const std::ptrdiff_t at = std::ptrdiff_t{token} * shape.top_k + i;
      weights[at] = scores[std::ptrdiff_t{token} * shape.num_experts + chosen[at]];
      sum += weights[at];
    }
    for (int i = 0; i < shape.top_k; ++i) {
      weights[std::ptrdiff_t{token} * shape.top_k + i] *=
          static_cast<double>(shape.scale) / (shape.normalise ? sum : 1.0);
    }
  }
  return weights;
}

}  // namespace moesim::gpu

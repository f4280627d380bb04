// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_edits.h"

#include <algorithm>
#include <numeric>

#include "sim/base/error.h"

namespace moesim {

std::vector<double> edited_loads(std::span<const double> loads, const ModelEdits& edits) {
  const std::size_t experts = loads.size();
  const auto pruned = static_cast<std::size_t>(edits.pruned_experts);
  const auto merged = static_cast<std::size_t>(edits.merged_experts);
  const auto added = static_cast<std::size_t>(edits.added_experts);
  MOESIM_CHECK(pruned + 2 * merged <= experts && added <= experts - pruned - merged,
               "each edited expert once; checked with the scenario");
  std::vector<std::size_t> order(experts);  // from least to most popular
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return loads[a] < loads[b]; });
  std::vector<double> edited(loads.begin(), loads.end());
  std::vector<bool> is_gone(experts, false);
  double lost = 0;
  for (std::size_t i = 0; i < pruned; ++i) {
    is_gone[order[i]] = true;
    lost += loads[order[i]];
  }
  for (std::size_t pair = 0; pair < merged; ++pair) {
    const std::size_t kept = order[pruned + 2 * pair + 1];
    const std::size_t gone = order[pruned + 2 * pair];
    edited[kept] += edited[gone];
    is_gone[gone] = true;
  }
  std::vector<double> result;
  for (std::size_t e = 0; e < experts; ++e) {
    if (!is_gone[e]) {
      result.push_back(edited[e]);
    }
  }
  const double kept = std::accumulate(result.begin(), result.end(), 0.0);
  for (double& load : result) {
    load *= kept > 0 ? (kept + lost) / kept : 1.0;
  }
  std::vector<std::size_t> hottest(result.size());
  std::iota(hottest.begin(), hottest.end(), std::size_t{0});
  std::stable_sort(hottest.begin(), hottest.end(),
                   [&](std::size_t a, std::size_t b) { return result[a] > result[b]; });
  for (std::size_t i = 0; i < added; ++i) {
    result[hottest[i]] /= 2.0;
    result.push_back(result[hottest[i]]);
  }
  return result;
}

RoutingSpec edited_routing(const RoutingSpec& spec, std::int32_t layers, const ModelEdits& edits) {
  RoutingSpec edited;
  edited.kind = RoutingKind::counts;
  edited.seed = spec.seed;
  for (std::int32_t layer = 0; layer < layers; ++layer) {
    edited.layer_loads.push_back(edited_loads(LayerRouting(spec, layer).inclusion(), edits));
  }
  edited.gate.experts = static_cast<std::int32_t>(edited.layer_loads.front().size());
  edited.gate.top_k = spec.gate.top_k;
  return edited;
}

}  // namespace moesim

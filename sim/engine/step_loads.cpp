// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/step_loads.h"

#include <algorithm>
#include <cmath>

namespace moesim {
namespace {

/// `total` tokens over `sources`, as evenly as whole numbers allow.
std::vector<std::int64_t> even_shares(double total, std::int64_t sources) {
  const std::int64_t whole = static_cast<std::int64_t>(std::floor(total + 0.5));
  std::vector<std::int64_t> shares(static_cast<std::size_t>(sources), whole / sources);
  for (std::int64_t i = 0; i < whole % sources; ++i) {
    ++shares[static_cast<std::size_t>(i)];
  }
  return shares;
}

}  // namespace

PassLoads draw_pass(const StepCostModel& model, std::int64_t moe_layer, double tokens_per_gpu,
                    double capacity_factor, std::uint64_t draw, bool with_pairs) {
  const StepTemplate& step = model.step_template();
  const ParallelWays& ways = step.ways;
  const bool has_exchange = ways.data > 1;
  const std::int64_t sources = has_exchange ? ways.gpus : 1;
  const auto gpus = static_cast<std::size_t>(ways.gpus);
  const LayerLoads& layer = model.loads().layer(moe_layer);
  const std::vector<std::int64_t> tokens =
      even_shares(tokens_per_gpu * static_cast<double>(sources), sources);
  RoutedCounts counts = layer.routing().draw_counts(tokens, draw);

  const auto experts = static_cast<std::size_t>(counts.experts);
  const std::size_t experts_per_rank = experts / static_cast<std::size_t>(ways.expert);
  const auto expert_tensor = static_cast<std::size_t>(ways.expert_tensor);
  const auto domain = static_cast<std::size_t>(model.collectives().domain_gpus());

  PassLoads pass;
  double all_tokens = 0;
  for (const std::int64_t count : tokens) {
    all_tokens += static_cast<double>(count);
  }
  pass.selections = all_tokens * static_cast<double>(step.top_k);
  if (capacity_factor > 0) {
    const auto places =
        static_cast<std::int64_t>(std::ceil(capacity_factor * static_cast<double>(step.top_k) *
                                            all_tokens / static_cast<double>(experts)));
    for (std::size_t e = 0; e < experts; ++e) {
      for (std::int64_t source = sources; counts.totals[e] > places && source-- > 0;) {
        std::int32_t& count = counts.counts[static_cast<std::size_t>(source) * experts + e];
        const auto cut =
            static_cast<std::int32_t>(std::min<std::int64_t>(count, counts.totals[e] - places));
        count -= cut;
        counts.totals[e] -= cut;
        pass.dropped += cut;
      }
    }
  }

  std::vector<double> expert_loads(experts);
  std::vector<double> rank_loads(static_cast<std::size_t>(ways.expert), 0.0);
  for (std::size_t e = 0; e < experts; ++e) {
    expert_loads[e] = static_cast<double>(counts.totals[e]);
    rank_loads[e / experts_per_rank] += expert_loads[e];
    pass.active_experts += counts.totals[e] > 0 ? 1 : 0;
  }
  pass.rank_max_over_mean = max_over_mean(rank_loads);
  pass.expert_max_over_mean = max_over_mean(expert_loads);

  pass.experts.resize(gpus);
  std::vector<std::int32_t> local(experts_per_rank);
  for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
    const std::size_t rank = gpu / expert_tensor;
    for (std::size_t i = 0; i < experts_per_rank; ++i) {
      local[i] = static_cast<std::int32_t>(counts.totals[rank * experts_per_rank + i]);
    }
    pass.experts[gpu] = ExpertLoad::of(local);
  }
  if (!has_exchange) {
    return pass;
  }

  // Selections by (source, destination node) give what crosses the network; within a node
  // everything else.
  const std::size_t nodes = (gpus + domain - 1) / domain;
  std::vector<double> sent_remote(gpus, 0.0);
  std::vector<double> sent_local(gpus, 0.0);
  std::vector<double> received_remote(static_cast<std::size_t>(ways.expert), 0.0);
  std::vector<double> received_local(static_cast<std::size_t>(ways.expert), 0.0);
  std::vector<double> node_loads(nodes, 0.0);
  if (with_pairs) {
    pass.pair_copies.assign(gpus * gpus, 0.0F);
  }
  for (std::size_t source = 0; source < gpus; ++source) {
    const std::size_t node = source / domain;
    const std::span<const std::int32_t> row = counts.of_source(static_cast<std::int32_t>(source));
    for (std::size_t rank = 0; rank < rank_loads.size(); ++rank) {
      double selections = 0;
      for (std::size_t e = rank * experts_per_rank; e < (rank + 1) * experts_per_rank; ++e) {
        selections += row[e];
      }
      for (std::size_t part = 0; with_pairs && part < expert_tensor; ++part) {
        pass.pair_copies[source * gpus + rank * expert_tensor + part] =
            static_cast<float>(selections / static_cast<double>(expert_tensor));
      }
      const bool is_local = rank * expert_tensor / domain == node;
      (is_local ? sent_local[source] : sent_remote[source]) += selections;
      (is_local ? received_local[rank] : received_remote[rank]) += selections;
      node_loads[rank * expert_tensor / domain] += selections;
    }
  }
  // Distinct ranks and nodes of a token are not in the counts: their expectation, scaled by what
  // this rank really gets.
  const FanOut& fan_out = layer.fan_out();
  pass.copies_per_rank = fan_out.ranks / static_cast<double>(step.top_k);
  pass.copies_per_node =
      fan_out.remote_selections > 0 ? fan_out.remote_nodes / fan_out.remote_selections : 1.0;
  double mean_rank = 0;
  double mean_node = 0;
  for (const double load : rank_loads) {
    mean_rank += load / static_cast<double>(rank_loads.size());
  }
  for (const double load : node_loads) {
    mean_node += load / static_cast<double>(nodes);
  }
  pass.exchange.resize(gpus);
  for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
    const std::size_t rank = gpu / expert_tensor;
    const double own = static_cast<double>(tokens[gpu]);
    const double rank_ratio = mean_rank > 0 ? rank_loads[rank] / mean_rank : 0.0;
    const double node_ratio = mean_node > 0 ? node_loads[gpu / domain] / mean_node : 0.0;
    ExchangeDemand& demand = pass.exchange[gpu];
    demand.ranks = ways.expert;
    demand.tokens = own;
    demand.experts = static_cast<double>(experts);
    const double share = 1.0 / static_cast<double>(expert_tensor);
    demand.remote_selections = std::max(sent_remote[gpu], received_remote[rank] * share);
    demand.local_selections = std::max(sent_local[gpu], received_local[rank] * share);
    demand.node_copies = own * fan_out.remote_nodes * std::max(1.0, node_ratio);
    demand.rank_copies = own * fan_out.ranks * std::max(1.0, rank_ratio);
  }
  return pass;
}

}  // namespace moesim

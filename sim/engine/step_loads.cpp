// SPDX-License-Identifier: Apache-2.0
#include "sim/engine/step_loads.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "sim/base/random.h"

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

/// Takes selections beyond `places` away from each expert, latest sources first; returns how many
/// each source lost [sources].
std::vector<std::int64_t> cut_overflow(RoutedCounts& counts, std::int64_t places) {
  const auto experts = static_cast<std::size_t>(counts.experts);
  std::vector<std::int64_t> lost(static_cast<std::size_t>(counts.sources), 0);
  for (std::size_t e = 0; e < experts; ++e) {
    for (std::size_t source = lost.size(); counts.totals[e] > places && source-- > 0;) {
      std::int32_t& count = counts.counts[source * experts + e];
      const auto cut =
          static_cast<std::int32_t>(std::min<std::int64_t>(count, counts.totals[e] - places));
      count -= cut;
      counts.totals[e] -= cut;
      lost[source] += cut;
    }
  }
  return lost;
}

/// Gives each source's lost selections to experts with places left, by popularity; returns how
/// many found none.
std::int64_t reroute(RoutedCounts& counts, std::span<const double> popularity, std::int64_t places,
                     std::vector<std::int64_t> lost) {
  const auto experts = static_cast<std::size_t>(counts.experts);
  std::int64_t dropped = 0;
  for (std::size_t source = 0; source < lost.size(); ++source) {
    std::int64_t left = lost[source];
    while (left > 0) {
      double open = 0;
      std::size_t widest = experts;  // the most popular expert with a place
      for (std::size_t e = 0; e < experts; ++e) {
        if (counts.totals[e] < places) {
          open += popularity[e];
          widest = widest == experts || popularity[e] > popularity[widest] ? e : widest;
        }
      }
      if (widest == experts) {
        break;
      }
      const std::int64_t round = left;
      const auto give = [&](std::size_t e, std::int64_t wanted) {
        const std::int64_t part = std::min({wanted, left, places - counts.totals[e]});
        counts.counts[source * experts + e] += static_cast<std::int32_t>(part);
        counts.totals[e] += part;
        left -= part;
      };
      for (std::size_t e = 0; e < experts && open > 0; ++e) {
        if (counts.totals[e] < places) {
          give(e, static_cast<std::int64_t>(static_cast<double>(round) * popularity[e] / open));
        }
      }
      if (left == round) {
        give(widest, 1);  // shares below one: the most popular first
      }
    }
    dropped += left;
  }
  return dropped;
}

/// Selections of every source at every slot: each (source, expert) count split over the expert's
/// replicas, by running totals from a drawn offset, so that fractions are kept on average.
class SlotCounts {
 public:
  /// `counts` and `map` must outlive this object.
  SlotCounts(const RoutedCounts& counts, const ExpertMap& map, std::int64_t sources_per_rank,
             std::uint64_t draw)
      : counts_(counts),
        map_(map),
        experts_(static_cast<std::size_t>(counts.experts)),
        slots_(map.slot_expert.size()) {
    if (slots_ == experts_) {
      return;  // every expert has one slot: nothing to split
    }
    std::vector<std::vector<std::size_t>> replicas(experts_);
    for (std::size_t s = 0; s < slots_; ++s) {
      replicas[static_cast<std::size_t>(map.slot_expert[s])].push_back(s);
    }
    split_.assign(static_cast<std::size_t>(counts.sources) * slots_, 0);
    totals_.assign(slots_, 0);
    RandomStream offset(1, "dispatch/replica", draw);
    for (std::size_t source = 0; source < static_cast<std::size_t>(counts.sources); ++source) {
      const std::size_t rank = std::min(source / static_cast<std::size_t>(sources_per_rank),
                                        static_cast<std::size_t>(map.ranks) - 1);
      for (std::size_t e = 0; e < experts_; ++e) {
        if (const std::int32_t count = counts.counts[source * experts_ + e]; count > 0) {
          split(source, rank, replicas[e], count, offset);
        }
      }
    }
  }

  std::int32_t at(std::size_t source, std::size_t slot) const {
    return split_.empty() ? counts_.counts[source * experts_ + expert_of(slot)]
                          : split_[source * slots_ + slot];
  }
  std::int32_t total(std::size_t slot) const {
    return split_.empty() ? static_cast<std::int32_t>(counts_.totals[expert_of(slot)])
                          : totals_[slot];
  }

 private:
  std::size_t expert_of(std::size_t slot) const {
    return static_cast<std::size_t>(map_.slot_expert[slot]);
  }
  void split(std::size_t source, std::size_t rank, const std::vector<std::size_t>& slots,
             std::int32_t count, RandomStream& offset) {
    double edge = slots.size() > 1 ? offset.uniform() : 0.0;
    std::int32_t given = 0;
    for (std::size_t j = 0; j < slots.size(); ++j) {
      edge += count * (map_.split.empty() ? 1.0 / static_cast<double>(slots.size())
                                          : map_.split[rank * slots_ + slots[j]]);
      const std::int32_t until = j + 1 == slots.size()
                                     ? count
                                     : std::min(count, static_cast<std::int32_t>(std::floor(edge)));
      split_[source * slots_ + slots[j]] += until - given;
      totals_[slots[j]] += until - given;
      given = until;
    }
  }

  const RoutedCounts& counts_;
  const ExpertMap& map_;
  std::size_t experts_;
  std::size_t slots_;
  std::vector<std::int32_t> split_;   // [sources, slots]; empty: one slot an expert
  std::vector<std::int32_t> totals_;  // [slots]
};

}  // namespace

PassLoads draw_pass(const StepCostModel& model, std::int64_t moe_layer, double tokens_per_gpu,
                    std::uint64_t draw, bool with_pairs) {
  const StepTemplate& step = model.step_template();
  const ParallelWays& ways = step.ways;
  const bool has_exchange = ways.data > 1;
  const std::int64_t sources = has_exchange ? ways.gpus : 1;
  const auto gpus = static_cast<std::size_t>(ways.gpus);
  const LayerLoads& layer = model.loads().layer(moe_layer);
  const ExpertMap& map = layer.map();
  const std::vector<std::int64_t> tokens =
      even_shares(tokens_per_gpu * static_cast<double>(sources), sources);
  // Layers that share their popularity still draw tokens of their own.
  const auto copy = static_cast<std::uint64_t>(model.loads().copy_of(moe_layer));
  RoutedCounts counts = layer.routing().draw_counts(tokens, draw ^ (copy << 32));

  const auto experts = static_cast<std::size_t>(counts.experts);
  const auto ranks = static_cast<std::size_t>(ways.expert);
  const auto expert_tensor = static_cast<std::size_t>(ways.expert_tensor);
  const auto domain = static_cast<std::size_t>(model.collectives().domain_gpus());

  PassLoads pass;
  double all_tokens = 0;
  for (const std::int64_t count : tokens) {
    all_tokens += static_cast<double>(count);
  }
  pass.selections = all_tokens * static_cast<double>(step.top_k);
  const CapacityConfig& capacity = model.loads().capacity();
  const std::int64_t places = model.loads().places(all_tokens);
  if (places > 0 && capacity.overflow != Overflow::dropless) {
    const std::vector<std::int64_t> lost = cut_overflow(counts, places);
    if (capacity.overflow == Overflow::next_best) {
      pass.dropped =
          static_cast<double>(reroute(counts, layer.routing().inclusion(), places, lost));
    } else {
      for (const std::int64_t count : lost) {
        pass.dropped += static_cast<double>(count);
      }
    }
  }

  const std::int64_t sources_per_rank = std::max<std::int64_t>(1, sources / ways.expert);
  const SlotCounts slots(counts, map, sources_per_rank, draw);
  std::vector<double> expert_loads(experts);
  std::vector<double> rank_loads(ranks, 0.0);
  std::vector<std::vector<std::int32_t>> local(ranks);
  std::vector<double> cold(ranks, 0.0);
  for (std::size_t e = 0; e < experts; ++e) {
    expert_loads[e] = static_cast<double>(counts.totals[e]);
    pass.active_experts += counts.totals[e] > 0 ? 1 : 0;
  }
  std::vector<double> copies(experts, 0.0);
  for (const std::int32_t e : map.slot_expert) {
    copies[static_cast<std::size_t>(e)] += 1.0;
  }
  for (std::size_t s = 0; s < map.slot_expert.size(); ++s) {
    const auto rank = static_cast<std::size_t>(map.slot_rank[s]);
    std::int32_t rows = slots.total(s);
    rank_loads[rank] += rows;
    if (capacity.padding && places > 0) {
      const auto room = static_cast<std::int32_t>(std::ceil(
          static_cast<double>(places) / copies[static_cast<std::size_t>(map.slot_expert[s])]));
      pass.padding += std::max(0, room - rows);
      rows = std::max(rows, room);
    }
    pass.rows += rows;
    const bool is_cold =
        model.loads().is_cold(moe_layer, static_cast<std::size_t>(map.slot_expert[s]));
    cold[rank] += rows > 0 && is_cold ? 1.0 : 0.0;
    local[rank].push_back(rows);
  }
  pass.rank_max_over_mean = max_over_mean(rank_loads);
  pass.expert_max_over_mean = max_over_mean(expert_loads);

  pass.experts.resize(gpus);
  for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
    pass.experts[gpu] = ExpertLoad::of(local[gpu / expert_tensor]);
    pass.experts[gpu].cold_experts = cold[gpu / expert_tensor];
  }
  if (!has_exchange) {
    return pass;
  }

  // Selections by (source, destination node) give what crosses the network; within a node
  // everything else.
  const std::size_t nodes = (gpus + domain - 1) / domain;
  std::vector<double> sent_remote(gpus, 0.0);
  std::vector<double> sent_local(gpus, 0.0);
  std::vector<double> received_remote(ranks, 0.0);
  std::vector<double> received_local(ranks, 0.0);
  std::vector<double> node_loads(nodes, 0.0);
  if (with_pairs) {
    pass.pair_copies.assign(gpus * gpus, 0.0F);
  }
  for (std::size_t source = 0; source < gpus; ++source) {
    const std::size_t node = source / domain;
    for (std::size_t s = 0; s < map.slot_expert.size(); ++s) {
      const auto rank = static_cast<std::size_t>(map.slot_rank[s]);
      const double selections = slots.at(source, s);
      for (std::size_t part = 0; with_pairs && part < expert_tensor; ++part) {
        pass.pair_copies[source * gpus + rank * expert_tensor + part] +=
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
  // Padded exchanges carry the empty places too.
  const double padded = pass.rows > pass.padding ? pass.rows / (pass.rows - pass.padding) : 1.0;
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
    demand.remote_selections = padded * std::max(sent_remote[gpu], received_remote[rank] * share);
    demand.local_selections = padded * std::max(sent_local[gpu], received_local[rank] * share);
    demand.node_copies = own * fan_out.remote_nodes * std::max(1.0, node_ratio);
    demand.rank_copies = padded * own * fan_out.ranks * std::max(1.0, rank_ratio);
  }
  return pass;
}

}  // namespace moesim

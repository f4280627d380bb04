// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/expert_demand.h"

#include <algorithm>

#include "sim/base/error.h"
#include "sim/moe/token_routing_domains.h"

namespace moesim {
namespace {

/// Token sets of the whole run, as a recording: token t of step s is number s * tokens_per_step +
/// t.
TokenTrace drawn_tokens(const ExpertDemandSpec& spec) {
  RoutingSpec law = spec.routing;
  law.gate.groups = 1;
  law.gate.groups_chosen = 1;
  if (law.kind == RoutingKind::domains) {
    law.kind = RoutingKind::counts;
    law.layer_loads.clear();
    for (std::int32_t l = 0; l < spec.layers; ++l) {
      law.layer_loads.push_back(spec.routing.mixture->inclusion_at(l, spec.routing.time));
    }
  }
  const LocalRouting routing(law, spec.locality, spec.layers);
  const std::int64_t per_sequence =
      std::max<std::int64_t>(1, spec.tokens_per_step / spec.sequences);
  const std::int64_t length = spec.continues ? per_sequence * spec.steps : per_sequence;
  const std::int64_t count = spec.continues ? spec.sequences : spec.sequences * spec.steps;
  const TokenTrace sequences = routing.draw_sequences(0, count, length);
  // From sequence order to step order.
  TokenTrace tokens = sequences;
  const auto k = static_cast<std::size_t>(sequences.top_k);
  const auto total = static_cast<std::size_t>(sequences.num_tokens());
  for (std::size_t l = 0; l < sequences.layers.size(); ++l) {
    const std::span<const std::int16_t> from = sequences.layer_sets(l);
    std::int16_t* to = tokens.sets.data() + l * total * k;
    for (std::int64_t step = 0; step < spec.steps; ++step) {
      for (std::int64_t s = 0; s < spec.sequences; ++s) {
        const std::int64_t first = spec.continues ? s * length + step * per_sequence
                                                  : (step * spec.sequences + s) * length;
        to = std::copy_n(from.data() + static_cast<std::size_t>(first) * k,
                         static_cast<std::size_t>(per_sequence) * k, to);
      }
    }
  }
  return tokens;
}

/// The recording from its first token on, round and round.
std::int64_t recorded_token(const TokenTrace& trace, std::int64_t number) {
  return number % trace.num_tokens();
}

}  // namespace

LocalitySpec locality_of(const LocalityConfig& config, bool is_decode) {
  LocalitySpec spec = is_decode ? LocalitySpec::decode() : LocalitySpec::prefill();
  // A fraction that is not given makes room for the one that is.
  const auto beside = [](double usual, double given) {
    return std::min(usual, std::max(0.0, 0.99 - given));
  };
  spec.repeat_fraction = config.repeat_fraction.value_or(
      beside(spec.repeat_fraction, config.affinity_fraction.value_or(0.0)));
  spec.affinity_fraction =
      config.affinity_fraction.value_or(beside(spec.affinity_fraction, spec.repeat_fraction));
  spec.segment_sigma = config.segment_sigma.value_or(spec.segment_sigma);
  spec.segment_tokens = config.segment_tokens.value_or(spec.segment_tokens);
  return spec;
}

std::vector<ExpertTrace> expert_demand(const ExpertDemandSpec& spec,
                                       std::span<const ExpertMap> maps) {
  MOESIM_CHECK(spec.sequences >= 1 && spec.tokens_per_step >= spec.sequences && spec.steps >= 1,
               "steps have sequences, and those a token each");
  const bool recorded = spec.routing.kind == RoutingKind::trace;
  const TokenTrace drawn = recorded ? TokenTrace() : drawn_tokens(spec);
  const TokenTrace& tokens = recorded ? *spec.routing.trace : drawn;
  const std::int32_t experts = spec.routing.gate.experts;
  const auto k = static_cast<std::size_t>(tokens.top_k);
  const std::int64_t per_step =
      recorded ? spec.tokens_per_step
               : spec.sequences * std::max<std::int64_t>(1, spec.tokens_per_step / spec.sequences);
  std::vector<ExpertTrace> traces(static_cast<std::size_t>(spec.gpus),
                                  ExpertTrace(spec.layers, experts));
  std::vector<std::int64_t> seen(static_cast<std::size_t>(experts), -1);
  std::vector<std::vector<std::int16_t>> needed(traces.size());
  // The first rank that holds an expert serves it: replicas are not offloaded.
  std::vector<std::vector<std::int32_t>> rank_of(maps.size());
  for (std::size_t m = 0; m < maps.size(); ++m) {
    rank_of[m].assign(static_cast<std::size_t>(experts), 0);
    for (std::size_t s = maps[m].slot_expert.size(); s-- > 0;) {
      rank_of[m][static_cast<std::size_t>(maps[m].slot_expert[s])] = maps[m].slot_rank[s];
    }
  }
  std::int64_t stamp = 0;
  for (std::int64_t step = 0; step < spec.steps; ++step) {
    for (std::int32_t layer = 0; layer < spec.layers; ++layer) {
      const auto row = static_cast<std::size_t>(layer) % tokens.layers.size();
      const std::span<const std::int16_t> sets = tokens.layer_sets(row);
      const std::vector<std::int32_t>& ranks =
          rank_of[maps.size() == 1 ? 0 : static_cast<std::size_t>(layer)];
      for (std::vector<std::int16_t>& set : needed) {
        set.clear();
      }
      ++stamp;
      for (std::int64_t t = step * per_step; t < (step + 1) * per_step; ++t) {
        const auto token = static_cast<std::size_t>(recorded ? recorded_token(tokens, t) : t);
        for (const std::int16_t e : sets.subspan(token * k, k)) {
          const auto expert = static_cast<std::size_t>(e);
          if (seen[expert] != stamp) {
            seen[expert] = stamp;
            const auto rank = static_cast<std::size_t>(ranks[expert]);
            if (rank < needed.size()) {
              needed[rank].push_back(e);
            }
          }
        }
      }
      for (std::size_t g = 0; g < traces.size(); ++g) {
        traces[g].add_layer(needed[g]);
      }
    }
  }
  return traces;
}

}  // namespace moesim

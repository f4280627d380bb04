// SPDX-License-Identifier: Apache-2.0
#include "sim/serving/expert_swap.h"

#include <algorithm>
#include <cmath>

namespace moesim {
namespace {

// Selections drawn for a node: about 10 ms of sampling; hit rates then scatter by about 0.005.
constexpr double kSelections = 1e5;
// A batch that leaves less than so many of a layer's experts unused needs all of them.
constexpr double kUnusedExperts = 0.01;
// Beyond so many tokens the experts needed are taken to be those of so many.
constexpr double kMostTokens = 4096;
// Nodes of layer times: so many to an octave, evenly spaced within it.
constexpr int kNodesPerOctave = 8;

/// 0, 1, 2, 3, 4, 6, 8, 12 ...: sequences, or tokens of prompts.
double size_of(std::size_t node) {
  if (node < 2) {
    return static_cast<double>(node);
  }
  return std::ldexp(node % 2 == 0 ? 1.0 : 1.5, static_cast<int>(node / 2));
}

struct Bracket {
  std::size_t low = 0;
  double weight = 0;  ///< of the node above
};

Bracket bracket(double size) {
  Bracket at;
  while (size_of(at.low + 1) <= size) {
    ++at.low;
  }
  at.weight = (size - size_of(at.low)) / (size_of(at.low + 1) - size_of(at.low));
  return at;
}

/// Seconds of a layer's node.
double layer_seconds(int node) {
  const int octave = node >= 0 ? node / kNodesPerOctave : -((-node - 1) / kNodesPerOctave) - 1;
  const int inside = node - octave * kNodesPerOctave;
  return std::ldexp(1.0 + static_cast<double>(inside) / kNodesPerOctave, octave);
}

/// Tokens of all ranks that need every expert of every layer, in powers of two.
double tokens_that_need_all(const StepCostModel& model) {
  const LoadView& loads = model.loads();
  const StepTemplate& step = model.step_template();
  const std::int64_t layers = loads.layers_are_alike() ? 1 : step.num_moe_layers;
  double tokens = 1;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    while (tokens < kMostTokens && loads.profile(layer, tokens).active_experts <
                                       static_cast<double>(step.experts) - kUnusedExperts) {
      tokens *= 2;
    }
  }
  return tokens;
}

}  // namespace

ExpertSwap::ExpertSwap(const Scenario& scenario, RoutingSpec routing,
                       std::optional<RoutingSpec> filled_for, const MemoryBudget& memory,
                       std::shared_ptr<const StepCostModel> model)
    : scenario_(scenario),
      routing_(std::move(routing)),
      filled_for_(std::move(filled_for)),
      memory_(memory),
      model_(std::move(model)),
      full_tokens_(std::max(1.0, tokens_that_need_all(*model_) /
                                     static_cast<double>(model_->step_template().ways.data))) {}

bool ExpertSwap::is_like(const Scenario& scenario, const MemoryBudget& memory) const {
  const OffloadConfig& own = scenario_.spec.offload;
  const OffloadConfig& other = scenario.spec.offload;
  return memory.expert_slots == memory_.expert_slots &&
         scenario.spec.workload.draft_tokens == scenario_.spec.workload.draft_tokens &&
         other.policy == own.policy && other.scope == own.scope && other.on_miss == own.on_miss &&
         other.prefetch_layers == own.prefetch_layers;
}

SwapCost ExpertSwap::cost_of(std::size_t decoding, std::size_t prompts, int layer) {
  if (decoding + prompts == 0) {
    return {};
  }
  Node& node = nodes_[static_cast<std::uint64_t>(decoding) << 32 | prompts];
  if (node.steps == nullptr) {
    StepBatch batch;
    batch.decode_sequences = size_of(decoding);
    batch.decode_new_tokens = 1 + scenario_.spec.workload.draft_tokens;
    batch.decode_context = 1;
    batch.prefill_sequences = prompts > 0 ? 1 : 0;
    batch.prefill_new_tokens = size_of(prompts);
    OffloadOptions options;
    options.most_selections = kSelections;
    options.one_link_if_alone = true;
    options.filled_for = filled_for_ ? &*filled_for_ : nullptr;
    node.steps =
        std::make_unique<const OffloadStep>(scenario_, routing_, *model_, batch, memory_, options);
  }
  const auto [found, is_new] = node.costs.try_emplace(layer);
  if (is_new) {
    const double layers = static_cast<double>(model_->step_template().num_moe_layers);
    const OffloadOutcome outcome = node.steps->outcome(Seconds(layer_seconds(layer) * layers));
    found->second = {outcome.stall.value(), outcome.lookups, outcome.hit_rate * outcome.lookups,
                     outcome.moved.value()};
  }
  return found->second;
}

SwapCost ExpertSwap::at(double decoding, double prompt_tokens, double layer_s) {
  const double new_tokens = 1 + scenario_.spec.workload.draft_tokens;
  if (prompt_tokens >= full_tokens_) {
    prompt_tokens = full_tokens_;
    decoding = 0;
  }
  decoding = std::min(decoding, std::max(1.0, full_tokens_ / new_tokens));
  const Bracket sequences = bracket(decoding);
  const Bracket prompts = bracket(prompt_tokens);
  int octave = 0;
  const double mantissa = std::frexp(std::max(layer_s, 1e-12), &octave);  // in [0.5, 1)
  const double inside = (2 * mantissa - 1) * kNodesPerOctave;
  const int layer = (octave - 1) * kNodesPerOctave + static_cast<int>(inside);
  const double above = inside - std::floor(inside);
  SwapCost cost;
  for (unsigned corner = 0; corner < 8; ++corner) {
    const auto part = [&](unsigned axis, double weight) {
      return (corner >> axis & 1) != 0 ? weight : 1 - weight;
    };
    const double weight = part(0, sequences.weight) * part(1, prompts.weight) * part(2, above);
    if (weight > 0) {
      const SwapCost one = cost_of(sequences.low + (corner & 1), prompts.low + (corner >> 1 & 1),
                                   layer + static_cast<int>(corner >> 2 & 1));
      cost.stall_s += weight * one.stall_s;
      cost.lookups += weight * one.lookups;
      cost.hits += weight * one.hits;
      cost.bytes += weight * one.bytes;
    }
  }
  return cost;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/token_routing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <numeric>

#include "sim/base/error.h"
#include "sim/moe/token_routing_balanced.h"
#include "sim/moe/token_routing_domains.h"
#include "sim/moe/token_routing_skew.h"

namespace moesim {
namespace {

constexpr std::uint64_t kSampleDraw = ~std::uint64_t{0};
constexpr std::int64_t kDrawBinomialAbove = 256;  ///< selections per expert of one source

double sigma_of(const RoutingSpec& spec, std::int32_t layer) {
  return spec.layer_sigma.empty()
             ? spec.sigma
             : spec.layer_sigma[static_cast<std::size_t>(layer) % spec.layer_sigma.size()];
}

}  // namespace

std::span<const Choice<RoutingKind>> choices_of(RoutingKind) {
  static constexpr std::array<Choice<RoutingKind>, 10> kChoices = {{
      {RoutingKind::uniform, "uniform", "every token picks its experts evenly at random"},
      {RoutingKind::balanced, "balanced", "every expert gets the same count, to within one"},
      {RoutingKind::gumbel, "gumbel",
       "top-k of fixed logits sigma * N(0, 1) per layer plus Gumbel noise per token; sigma 0 is "
       "exact balance"},
      {RoutingKind::zipf, "zipf", "expected load of the r-th hottest expert ~ r^-alpha"},
      {RoutingKind::dirichlet, "dirichlet", "expected loads from a symmetric Dirichlet"},
      {RoutingKind::lognormal, "lognormal", "expected loads exp(sigma * N(0, 1))"},
      {RoutingKind::power_law, "power_law",
       "loads drawn from a density ~ x^-alpha, as measured MoE kernel tables do"},
      {RoutingKind::counts, "counts", "expected loads from recorded counts per layer and expert"},
      {RoutingKind::trace, "trace", "recorded token sets, replayed"},
      {RoutingKind::domains, "domains", "a mixture of domains at one time"},
  }};
  return kChoices;
}

std::vector<double> layer_popularity(const RoutingSpec& spec, std::int32_t layer) {
  RandomStream stream(spec.seed, "routing/layer", static_cast<std::uint64_t>(layer));
  const std::int32_t experts = spec.gate.experts;
  switch (spec.kind) {
    case RoutingKind::uniform:
    case RoutingKind::balanced:
    case RoutingKind::trace:
    case RoutingKind::domains:
      break;
    case RoutingKind::gumbel:
    case RoutingKind::lognormal:
      return lognormal_loads(experts, sigma_of(spec, layer), stream);
    case RoutingKind::zipf:
      return zipf_loads(experts, spec.alpha, stream);
    case RoutingKind::dirichlet:
      return dirichlet_loads(experts, spec.alpha, stream);
    case RoutingKind::power_law: {
      const std::vector<std::int64_t> counts =
          power_law_counts(experts, spec.gate.top_k, spec.power_law_tokens, spec.alpha, stream);
      return {counts.begin(), counts.end()};
    }
    case RoutingKind::counts:
      return spec.layer_loads[static_cast<std::size_t>(layer) % spec.layer_loads.size()];
  }
  return std::vector<double>(static_cast<std::size_t>(experts), 1.0);
}

void check_routing(const RoutingSpec& spec, const std::string& file, const std::string& pointer) {
  Diagnostics problems;
  if (const char* problem = problem_of(spec.gate); *problem != '\0') {
    problems.add(file, pointer, problem);
  }
  if (spec.kind == RoutingKind::gumbel || spec.kind == RoutingKind::lognormal) {
    // Beyond 20 the weights of a thousand experts leave the range of a double.
    if (!(spec.sigma >= 0.0 && spec.sigma <= 20.0)) {
      problems.add(file, pointer + "/sigma", number_text(spec.sigma) + " is out of range",
                   "allowed: 0 to 20");
    }
    for (std::size_t i = 0; i < spec.layer_sigma.size(); ++i) {
      if (!(spec.layer_sigma[i] >= 0.0 && spec.layer_sigma[i] <= 20.0)) {
        problems.add(file, pointer + "/layer_sigma/" + std::to_string(i),
                     number_text(spec.layer_sigma[i]) + " is out of range", "allowed: 0 to 20");
      }
    }
  }
  const bool zipf = spec.kind == RoutingKind::zipf || spec.kind == RoutingKind::power_law;
  if (zipf && !(spec.alpha >= 0.0 && spec.alpha <= 20.0)) {
    problems.add(file, pointer + "/alpha", number_text(spec.alpha) + " is out of range",
                 "allowed: 0 to 20");
  }
  if (spec.kind == RoutingKind::dirichlet && !(spec.alpha >= 1e-3 && spec.alpha <= 1e6)) {
    problems.add(file, pointer + "/alpha", number_text(spec.alpha) + " is out of range",
                 "allowed: 0.001 to 1e6");
  }
  if (spec.kind == RoutingKind::power_law &&
      !(spec.power_law_tokens >= 1 && spec.power_law_tokens <= (std::int64_t{1} << 30))) {
    problems.add(file, pointer + "/power_law_tokens",
                 std::to_string(spec.power_law_tokens) + " is out of range", "allowed: 1 to 2^30");
  }
  if (spec.kind == RoutingKind::counts) {
    if (spec.layer_loads.empty()) {
      problems.add(file, pointer + "/counts", "no layer has counts");
    }
    for (std::size_t l = 0; l < spec.layer_loads.size(); ++l) {
      const std::vector<double>& loads = spec.layer_loads[l];
      const std::string at = pointer + "/counts/" + std::to_string(l);
      if (loads.size() != static_cast<std::size_t>(spec.gate.experts)) {
        problems.add(file, at,
                     std::to_string(loads.size()) + " counts for " +
                         std::to_string(spec.gate.experts) + " experts");
      } else if (std::any_of(loads.begin(), loads.end(),
                             [](double c) { return !(c >= 0.0 && c <= 1e15); })) {
        problems.add(file, at, "a count is negative or not finite");
      } else if (std::count_if(loads.begin(), loads.end(), [](double c) { return c > 0.0; }) <
                 spec.gate.top_k) {
        problems.add(file, at, "fewer than top_k experts have a count above 0");
      }
    }
    if (spec.gate.is_group_limited()) {
      problems.add(file, pointer + "/kind",
                   "counts cannot be combined with a limit on expert groups",
                   "allowed: leave the group limit out; counts already show the gate's effect");
    }
  }
  if (spec.kind == RoutingKind::trace) {
    if (spec.trace == nullptr || spec.trace->num_tokens() == 0) {
      problems.add(file, pointer + "/trace", "no trace is given");
    } else if (spec.trace->top_k != spec.gate.top_k || spec.trace->experts > spec.gate.experts) {
      problems.add(file, pointer + "/trace",
                   "the trace has top " + std::to_string(spec.trace->top_k) + " of " +
                       std::to_string(spec.trace->experts) + " experts, the model top " +
                       std::to_string(spec.gate.top_k) + " of " + std::to_string(spec.gate.experts),
                   "allowed: a trace of a model with the same router");
    }
  }
  if (spec.kind == RoutingKind::domains &&
      (spec.mixture == nullptr || !(spec.mixture->gate() == spec.gate))) {
    problems.add(file, pointer + "/domains", "no mixture for this gate is given");
  }
  problems.throw_if_any();
}

struct LayerRouting::State {
  GateShape gate;
  std::uint64_t seed = 0;
  std::int32_t layer = 0;
  bool balanced = false;
  bool uniform = false;
  std::shared_ptr<const TokenTrace> trace;
  std::size_t trace_layer = 0;
  ReplayOrder replay = ReplayOrder::shuffled;
  std::shared_ptr<const DomainRouting> mixture;
  Seconds time{0};
  std::vector<double> inclusion;
  // The sampler of a law given by its inclusion probabilities needs weights that take a while to
  // find; many uses never draw a token.
  mutable std::once_flag sampler_once;
  mutable std::unique_ptr<const TokenSetSampler> sampler;
  mutable std::once_flag sample_once;
  mutable std::vector<std::int16_t> sample;  // [kSampleTokens, top_k], when asked for

  const TokenSetSampler& tokens() const {
    std::call_once(sampler_once, [this] {
      if (sampler == nullptr) {
        sampler = std::make_unique<const TokenSetSampler>(
            gate, weights_of_inclusion(inclusion, gate.top_k));
      }
    });
    return *sampler;
  }
  /// Tokens come as whole sets, the same tokens in every layer.
  bool has_sets() const { return trace != nullptr || mixture != nullptr; }
  std::vector<std::int16_t> replayed(std::int64_t tokens, std::uint64_t draw) const {
    if (mixture != nullptr) {
      return mixture->draw_tokens(layer, tokens, time, draw).sets;
    }
    return gather_sets(*trace, trace_layer, replay_batch(*trace, replay, tokens, seed, draw));
  }
  RandomStream stream(const char* name, std::uint64_t draw) const {
    return RandomStream(seed, name, (draw << 16) ^ static_cast<std::uint64_t>(layer));
  }
};

LayerRouting::LayerRouting(const RoutingSpec& spec, std::int32_t asked_layer) {
  check_routing(spec, "routing", "");
  MOESIM_CHECK(asked_layer >= 0 && asked_layer < 65536, "layers are numbered from 0");
  const std::int32_t layer = spec.source_layer(asked_layer);
  auto state = std::make_unique<State>();
  state->gate = spec.gate;
  state->seed = spec.seed;
  state->layer = layer;
  const std::size_t experts = static_cast<std::size_t>(spec.gate.experts);
  const auto use_weights = [&](const std::vector<double>& weights) {
    state->sampler = std::make_unique<const TokenSetSampler>(spec.gate, weights);
    if (!spec.gate.is_group_limited()) {
      state->inclusion = inclusion_of_weights(weights, spec.gate.top_k);
      return;
    }
    // The sample is drawn on the way: what is estimated and what is drawn belong together.
    RandomStream stream = state->stream("routing/tokens", kSampleDraw);
    std::call_once(state->sample_once, [&] {
      state->sample.resize(static_cast<std::size_t>(kSampleTokens * spec.gate.top_k));
      state->inclusion =
          state->sampler->estimate_inclusion(stream, kSampleTokens, state->sample.data());
    });
    for (double& p : state->inclusion) {
      p = std::min(p, 1.0);
    }
  };
  const auto use_even = [&] {
    state->sampler =
        std::make_unique<const TokenSetSampler>(spec.gate, std::vector<double>(experts, 1.0));
    state->inclusion.assign(experts, static_cast<double>(spec.gate.top_k) / spec.gate.experts);
  };
  const auto use_loads = [&](std::span<const double> loads) {
    state->inclusion = capped_inclusion(loads, spec.gate.top_k);
    if (spec.gate.is_group_limited()) {
      use_weights(weights_of_inclusion(state->inclusion, spec.gate.top_k));
    }
  };
  switch (spec.kind) {
    case RoutingKind::uniform:
      state->uniform = true;
      use_even();
      break;
    case RoutingKind::balanced:
      state->balanced = true;
      use_even();
      break;
    case RoutingKind::gumbel:
      state->balanced = sigma_of(spec, layer) == 0.0;
      if (state->balanced) {
        use_even();
      } else {
        use_weights(layer_popularity(spec, layer));
      }
      break;
    case RoutingKind::zipf:
    case RoutingKind::lognormal:
    case RoutingKind::dirichlet:
    case RoutingKind::power_law:
    case RoutingKind::counts:
      use_loads(layer_popularity(spec, layer));
      break;
    case RoutingKind::trace: {
      state->trace = spec.trace;
      state->replay = spec.replay;
      state->trace_layer = static_cast<std::size_t>(layer) % spec.trace->layers.size();
      state->inclusion.assign(experts, 0.0);
      const std::vector<std::int64_t> totals = layer_totals(*spec.trace, state->trace_layer);
      for (std::size_t e = 0; e < totals.size(); ++e) {
        state->inclusion[e] =
            static_cast<double>(totals[e]) / static_cast<double>(spec.trace->num_tokens());
      }
      break;
    }
    case RoutingKind::domains:
      state->mixture = spec.mixture;
      state->time = spec.time;
      state->inclusion = spec.mixture->inclusion_at(layer, spec.time);
      break;
  }
  state_ = std::move(state);
}

LayerRouting::~LayerRouting() = default;
LayerRouting::LayerRouting(LayerRouting&&) noexcept = default;
LayerRouting& LayerRouting::operator=(LayerRouting&&) noexcept = default;

const GateShape& LayerRouting::gate() const { return state_->gate; }
std::span<const double> LayerRouting::inclusion() const { return state_->inclusion; }
bool LayerRouting::is_balanced() const { return state_->balanced; }
bool LayerRouting::is_uniform() const { return state_->uniform; }

std::vector<std::int16_t> LayerRouting::draw_tokens(std::int64_t tokens, std::uint64_t draw) const {
  MOESIM_CHECK(tokens >= 0, "a number of tokens");
  if (state_->has_sets()) {
    return state_->replayed(tokens, draw);
  }
  std::vector<std::int16_t> sets(static_cast<std::size_t>(tokens * state_->gate.top_k));
  RandomStream stream = state_->stream("routing/tokens", draw);
  if (state_->balanced) {
    draw_balanced_sets(state_->gate, stream, tokens, sets.data());
  } else {
    state_->tokens().draw(stream, tokens, sets.data());
  }
  return sets;
}

const std::vector<std::int16_t>& LayerRouting::sample() const {
  // Balanced routing has the sets of uniform routing; only its totals are even.
  std::call_once(state_->sample_once,
                 [this] { state_->sample = draw_tokens(kSampleTokens, kSampleDraw); });
  return state_->sample;
}

namespace {

/// One binomial an expert, then single selections added or taken away until the sum is exact.
void draw_binomial_counts(std::span<const double> inclusion, std::int64_t tokens,
                          std::int64_t wanted, RandomStream& stream,
                          std::span<std::int32_t> counts) {
  std::vector<double> cumulative(inclusion.size());
  double spread = 0.0;
  std::int64_t sum = 0;
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    const std::int64_t n = stream.binomial(tokens, inclusion[e]);
    counts[e] = static_cast<std::int32_t>(n);
    sum += n;
    spread += inclusion[e] * (1.0 - inclusion[e]);
    cumulative[e] = spread;
  }
  while (sum != wanted) {
    // Where the noise is, the difference goes: by variance, within 0..tokens.
    const double point = stream.uniform() * spread;
    const auto found = std::upper_bound(cumulative.begin(), cumulative.end(), point);
    const std::size_t e = std::min<std::size_t>(
        static_cast<std::size_t>(found - cumulative.begin()), inclusion.size() - 1);
    const std::int32_t step = sum < wanted ? 1 : -1;
    if (counts[e] + step >= 0 && counts[e] + step <= tokens) {
      counts[e] += step;
      sum += step;
    }
  }
}

}  // namespace

RoutedCounts LayerRouting::draw_counts(std::span<const std::int64_t> tokens_per_source,
                                       std::uint64_t draw) const {
  const GateShape& gate = state_->gate;
  const std::size_t experts = static_cast<std::size_t>(gate.experts);
  RoutedCounts routed;
  routed.sources = static_cast<std::int32_t>(tokens_per_source.size());
  routed.experts = gate.experts;
  routed.counts.assign(tokens_per_source.size() * experts, 0);
  routed.totals.assign(experts, 0);
  RandomStream stream = state_->stream("routing/counts", draw);
  std::int64_t position = 0;
  std::vector<std::int16_t> sets;
  std::vector<std::int16_t> recorded;
  if (state_->has_sets()) {
    recorded = state_->replayed(
        std::accumulate(tokens_per_source.begin(), tokens_per_source.end(), std::int64_t{0}), draw);
  }
  const std::vector<std::int32_t> order =
      state_->balanced ? even_order(gate.experts) : std::vector<std::int32_t>{};
  for (std::size_t s = 0; s < tokens_per_source.size(); ++s) {
    const std::int64_t tokens = tokens_per_source[s];
    MOESIM_CHECK(tokens >= 0 && tokens < (std::int64_t{1} << 31), "tokens of a source");
    const std::span<std::int32_t> row = std::span(routed.counts).subspan(s * experts, experts);
    const std::int64_t selections = tokens * gate.top_k;
    if (state_->balanced) {
      add_even_counts(order, position, selections, row);
      position += selections;
    } else if (state_->has_sets()) {
      for (std::int64_t i = position; i < position + selections; ++i) {
        ++row[static_cast<std::size_t>(recorded[static_cast<std::size_t>(i)])];
      }
      position += selections;
    } else if (selections > kDrawBinomialAbove * gate.experts) {
      draw_binomial_counts(state_->inclusion, tokens, selections, stream, row);
    } else {
      sets.resize(static_cast<std::size_t>(selections));
      state_->tokens().draw(stream, tokens, sets.data());
      for (const std::int16_t e : sets) {
        ++row[static_cast<std::size_t>(e)];
      }
    }
    for (std::size_t e = 0; e < experts; ++e) {
      routed.totals[e] += row[e];
    }
  }
  return routed;
}

void count_selections(std::span<const std::int16_t> sets, std::span<std::int64_t> totals) {
  for (const std::int16_t e : sets) {
    ++totals[static_cast<std::size_t>(e)];
  }
}

double max_over_mean(std::span<const double> loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  if (!(sum > 0.0)) {
    return 1.0;
  }
  return *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / sum;
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Which experts a layer's tokens go to, at three resolutions that tests hold together: expected
// loads, counts per (source rank, expert), and token sets.
//
// The default model is Gumbel-top-k: expert e has a logit b_e = sigma * N(0, 1), fixed per layer
// and seed; each token adds Gumbel noise and takes its top k. One parameter, max/mean never above
// experts/top_k, and it gives whole sets, hence fan-out and active experts (sigma 0.15 balanced,
// 0.6-0.75 one domain, 1.1 DeepSeek-R1 in decode). All randomness comes from named streams of
// (seed, layer, draw), so results depend neither on threads nor on the order of calls.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/random.h"
#include "sim/base/units.h"
#include "sim/moe/token_routing_law.h"
#include "sim/moe/token_routing_replay.h"
#include "sim/moe/token_routing_sampler.h"

namespace moesim {

enum class RoutingKind {
  uniform,
  balanced,
  gumbel,
  zipf,
  dirichlet,
  lognormal,
  power_law,
  counts,
  trace,
  domains
};

/// Names and docs of the kinds, for readers, schemas and forms.
std::span<const Choice<RoutingKind>> choices_of(RoutingKind);

class DomainRouting;

/// How a model's tokens choose experts; a plain value.
struct RoutingSpec {
  RoutingKind kind = RoutingKind::uniform;
  GateShape gate;
  /// gumbel: spread of the logits, >= 0, 0 is `balanced`; lognormal: spread of ln load.
  double sigma = 0.0;
  std::vector<double> layer_sigma;  ///< gumbel: per layer instead (layer index modulo its length)
  /// zipf: load of the r-th expert ~ r^-alpha, before the cap; dirichlet: concentration, > 0;
  /// power_law: exponent of the density of loads.
  double alpha = 0.0;
  std::int64_t power_law_tokens = 4096;  ///< power_law: the batch its loads are drawn for
  /// counts: selections per expert [layers][experts], any scale; layer index modulo its length.
  std::vector<std::vector<double>> layer_loads;
  /// trace: recorded sets; layer index modulo the recorded layers.
  std::shared_ptr<const TokenTrace> trace;
  ReplayOrder replay = ReplayOrder::shuffled;  ///< trace: which tokens a batch is made of
  /// domains: a mixture with at least as many layers as are asked for, seen at `time`.
  std::shared_ptr<const DomainRouting> mixture;
  Seconds time{0};
  std::uint64_t seed = 0;
  /// Runs of this many layers share the choices of their first.
  std::int32_t layer_stride = 1;

  /// The layer whose choices `layer` has.
  std::int32_t source_layer(std::int32_t layer) const { return layer - layer % layer_stride; }

  friend bool operator==(const RoutingSpec&, const RoutingSpec&) = default;
};

/// Expected loads of one layer under `spec`, any scale [experts]: the weights of Gumbel-top-k for
/// kind gumbel, shares of selections for the others. Not for the kinds trace and domains.
std::vector<double> layer_popularity(const RoutingSpec& spec, std::int32_t layer);

/// Throws InputError (file and pointer of the routing block as given) when the spec makes no sense.
void check_routing(const RoutingSpec& spec, const std::string& file, const std::string& pointer);

/// Selections per (source rank, expert) of one layer and step.
struct RoutedCounts {
  std::int32_t sources = 0;
  std::int32_t experts = 0;
  std::vector<std::int32_t> counts;  ///< [sources, experts]
  std::vector<std::int64_t> totals;  ///< [experts]

  std::span<const std::int32_t> of_source(std::int32_t source) const {
    return std::span(counts).subspan(
        static_cast<std::size_t>(source) * static_cast<std::size_t>(experts),
        static_cast<std::size_t>(experts));
  }
};

/// The routing of one layer: immutable, safe to share between threads.
class LayerRouting {
 public:
  /// `spec` must pass `check_routing`. Costs about a millisecond; some 3 ms with a binding group
  /// limit and skew, where inclusion is estimated from the sample (relative standard error about
  /// 2%, common to the experts of a group).
  LayerRouting(const RoutingSpec& spec, std::int32_t layer);
  ~LayerRouting();
  LayerRouting(LayerRouting&&) noexcept;
  LayerRouting& operator=(LayerRouting&&) noexcept;

  const GateShape& gate() const;
  /// P(expert is among a token's k) [experts]; sums to top_k, each <= 1.
  std::span<const double> inclusion() const;
  /// Counts are exactly even (kind balanced, or gumbel with sigma 0).
  bool is_balanced() const;
  /// All tokens are alike and independent of each other with every expert equally likely.
  bool is_uniform() const;

  /// Token sets [tokens, top_k], each in order of falling score. `draw` numbers independent draws
  /// (step, replication ...); equal arguments give equal sets. Plain top-k: > 50 M selections/s.
  /// Balanced: totals differ by at most 1 without a group limit (about 2 with). Trace: the recorded
  /// sets of a batch of tokens that is the same for all layers of one draw.
  std::vector<std::int16_t> draw_tokens(std::int64_t tokens, std::uint64_t draw) const;

  /// Token sets that stand for the layer where sets are needed but no step is drawn, as fan-out
  /// [kSampleTokens, top_k]: `draw_tokens` of a draw of their own, kept. Thread-safe.
  static constexpr std::int64_t kSampleTokens = 4096;
  const std::vector<std::int16_t>& sample() const;

  /// Counts per (source, expert) of `tokens_per_source` [sources]. Token by token while that is
  /// cheap; large sources are drawn as one binomial an expert, mended to the exact sum: marginal
  /// means and variances are kept, correlations between experts only through the sum. Balanced:
  /// sources take turns in one fair cycle, so every total and every dyadic run of experts is even
  /// to within one.
  RoutedCounts draw_counts(std::span<const std::int64_t> tokens_per_source,
                           std::uint64_t draw) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// A token set as counts: adds each selection of `sets` [tokens, top_k] to `totals` [experts].
void count_selections(std::span<const std::int16_t> sets, std::span<std::int64_t> totals);

/// max/mean of non-negative loads; 1 when all are zero.
double max_over_mean(std::span<const double> loads);

}  // namespace moesim

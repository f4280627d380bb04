// SPDX-License-Identifier: Apache-2.0
// Tokens that resemble their neighbours: sequences with temporal locality and next-layer affinity.
//
// Each pick of a token comes from a mixture: with `repeat_fraction` one of the experts of the
// token before (same layer), with `affinity_fraction` the successor of one of this token's experts
// at the layer before, else from the layer's popularity, which each sequence tilts by a log-normal
// factor that is renewed about every `segment_tokens` tokens; repeats within a token are drawn
// again. So the overlap with a token j back falls from a fast part (repeat) and a slow one
// (segments) to the independent level. Successors: from recorded pair counts, or the expert of
// equal popularity rank.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/moe/token_routing.h"

namespace moesim {

struct LocalitySpec {
  double repeat_fraction = 0.0;    ///< of picks, in [0, 1)
  double affinity_fraction = 0.0;  ///< of picks from the second layer on; both sum below 1
  double segment_sigma = 0.0;      ///< spread of a segment's tilt of the logits
  double segment_tokens = 16.0;    ///< mean length, >= 1

  /// Prefill of DeepSeek-V2-Lite on law text, on top of gumbel sigma 0.82, 64 experts, top 6:
  /// fitted to the mean over layers of the overlap by lag (data/routing/locality_by_lag.csv: .290
  /// .216 .198 .188 .171 .158 .137 at lags 1 2 3 4 8 16 32, chance .131; reached within .01), to
  /// max/mean 3.5 and to the hit rate .52 of predicting the next layer's experts from pair counts.
  static LocalitySpec prefill();
  /// Decode: the same but for the overlap with the previous token, .43 as published (Qwen3-MoE, 128
  /// experts, top 8, data/routing/reported_figures.csv mt0).
  static LocalitySpec decode();
};

/// "" or what is wrong.
std::string problem_of(const LocalitySpec& locality);

class LocalRouting {
 public:
  /// `spec` of any kind but trace, without a binding group limit; `layers` >= 1.
  LocalRouting(const RoutingSpec& spec, const LocalitySpec& locality, std::int32_t layers);

  /// Successors from recorded counts: `pairs` [experts, experts], how often a token with the row's
  /// expert at `layer` has the column's at `layer` + 1.
  void set_pair_counts(std::int32_t layer, const std::vector<double>& pairs);

  /// Sequences `first` .. of `tokens` tokens each as a trace. Equal numbers give equal sequences,
  /// whatever else is drawn. About 100 ns a selection.
  TokenTrace draw_sequences(std::int64_t first, std::int64_t sequences, std::int64_t tokens) const;

 private:
  void draw_sequence(std::int64_t number, std::int64_t tokens, std::int16_t* sets,
                     std::size_t layer_stride) const;

  RoutingSpec spec_;
  LocalitySpec locality_;
  std::vector<std::vector<double>> weights_;          ///< [layers][experts]
  std::vector<std::vector<std::int16_t>> successor_;  ///< [layers][experts], to the next layer
  std::vector<std::vector<double>> pair_sums_;  ///< [layers][experts, experts] running row sums
};

/// The trace that is shipped as scenarios/traces/generated_64x6.csv: 7 layers, 64 experts, top 6, 8
/// sequences of 136 tokens, gumbel sigma 0.82 with `LocalitySpec::prefill()`, seed 2026. A test
/// holds file and generator together.
TokenTrace generated_sample_trace();

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Parameters and cache bytes of a model card, exact to the last norm weight.
//
// Everything is a sum over layer classes: count * (mixer + feed-forward + norms). Active parameters
// are those that one token uses: top_k of the routed experts, all the rest. Publications disagree
// on whether the input embedding (a table look-up, no multiplication) counts as active, so all
// conventions are given. Multi-token-prediction layers are counted apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/base/units.h"
#include "sim/input/model_card.h"

namespace moesim {

/// Parameters of one layer, or of a sum of layers, by what they are for.
struct ParameterKinds {
  double attention = 0.0;       ///< token mixers of every kind, indexers included
  double router = 0.0;          ///< gates, their biases, gates of shared and residual paths
  double routed_experts = 0.0;  ///< all experts
  double shared_experts = 0.0;  ///< shared experts and dense paths beside experts
  double dense_ffn = 0.0;
  double norms = 0.0;          ///< norms and the mixing weights of hyper-connections
  double active_routed = 0.0;  ///< routed parameters that one token uses; part of routed_experts

  double total() const {
    return attention + router + routed_experts + shared_experts + dense_ffn + norms;
  }
  double active() const { return total() - routed_experts + active_routed; }
  ParameterKinds& add(const ParameterKinds& other, double times);
};

struct ParameterCount {
  struct PerClass {
    std::string name;
    bool encoder = false;
    std::int64_t count = 0;
    ParameterKinds per_layer;
  };
  ParameterKinds kinds;           ///< sum over all layers (final norms in `norms`)
  double input_embedding = 0.0;   ///< vocabulary and learned positions
  double output_embedding = 0.0;  ///< 0 when tied
  double mtp = 0.0;               ///< multi-token-prediction layers; in no total below
  std::vector<PerClass> classes;

  double total = 0.0;
  double active_with_both_embeddings = 0.0;
  /// Without the table look-up of the input embedding; a tied table stays, it is the LM head.
  double active_without_input_embedding = 0.0;
  double active_without_embeddings = 0.0;

  double total_in(CountConvention convention) const;
  double active_in(CountConvention convention) const;
};

ParameterCount count_parameters(const ModelCard& card);
/// Parameters of one layer of the class.
ParameterKinds count_layer(const ModelCard& card, const LayerClass& layer);
double attention_parameters(const ModelCard& card, const AttentionSpec& attention);
/// Parameters of one routed expert; of unequal experts the mean.
double expert_parameters(const ModelCard& card, const FfnSpec& ffn);

/// Elements that decoding keeps for one sequence, on one copy of the model.
struct KvCacheSize {
  struct Windowed {
    std::int64_t window = 0;  ///< tokens kept at most
    Bytes per_token;
  };
  Bytes per_token;                 ///< of the layers that keep the whole context
  std::vector<Windowed> windowed;  ///< one entry per distinct window, ascending
  Bytes per_encoder_token;         ///< cross-attention: per token of the encoder's input
  Bytes state;                     ///< recurrent state of a sequence, whatever its length

  /// Bytes of one sequence of `context` tokens.
  Bytes at(double context, double encoder_tokens = 0.0) const;
};

/// `bytes_per_element` applies to keys, values and latents; recurrent state is kept in
/// `state_bytes_per_element` (32-bit in the published kernels, convolution tails included).
KvCacheSize kv_cache_size(const ModelCard& card, double bytes_per_element,
                          double state_bytes_per_element = 4.0);
/// Bytes per cached token while no window is full: every layer that grows with the context.
Bytes kv_bytes_per_token(const ModelCard& card, double bytes_per_element);

/// A computed count beside the published one.
struct CountCheck {
  std::string what;  ///< "total" or "active"
  double published = 0.0;
  double computed = 0.0;
  double allowed = 0.0;  ///< the larger of 2% and half a unit of the last significant digit printed
  bool agrees() const;
};
/// Compares in the conventions that the card names; one entry per published count.
std::vector<CountCheck> check_published_counts(const ModelCard& card);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What each layer of a configured model is made of, family by family. Internal to the importer.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/input/hf_config_reader.h"
#include "sim/input/model_card.h"

namespace moesim {

enum class QkNorm { none, heads, wide };

/// What the modelling code of a family fixes without a key in the configuration.
struct HfFamily {
  std::string_view model_type;
  std::string_view family;  ///< of the card
  RouterKind router = RouterKind::softmax_top_k;
  bool router_bias = false;
  bool qkv_bias = false;
  QkNorm qk_norm = QkNorm::none;
  bool norm_bias = false;        ///< LayerNorm with bias
  bool tied_by_default = false;  ///< when tie_word_embeddings is absent
  std::int64_t norms = 2;        ///< hidden-wide norms in a layer
};

std::span<const HfFamily> hf_families();

/// The token mixer of one layer, and its word in the layer's name.
struct HfMixer {
  AttentionSpec spec;
  std::string word;
};

/// Mixers of all layers in order [layers].
std::vector<HfMixer> hf_mixers(HfConfigReader& config, const HfFamily& family, std::int64_t hidden,
                               std::int64_t layers);

/// The decoder's layers in order, each with count 1 and a two-word name ("mla moe").
std::vector<LayerClass> hf_layers(HfConfigReader& config, const HfFamily& family,
                                  std::int64_t hidden);

/// Storage formats from dtype, quantization_config and the like.
WeightFormats hf_weight_formats(HfConfigReader& config);

}  // namespace moesim

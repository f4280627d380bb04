// SPDX-License-Identifier: Apache-2.0
// A Hugging Face config.json as it is -> a model card.
//
// Each layer of the model is derived on its own (token mixer and feed-forward part, following the
// family's published modelling code), then layers that are alike become classes with a count and
// the sequence becomes `order`. What the configuration leaves to the code's defaults, and every key
// that was not used, comes back as a note: nothing is dropped silently. Multimodal files are read
// for their language model (`text_config`). Published counts and sources are not in the file and
// stay empty.
#pragma once

#include <string>
#include <vector>

#include "sim/input/model_card.h"

namespace moesim {

struct ImportedModel {
  ModelCard card;
  std::vector<std::string> notes;  ///< for a person: defaults taken, keys not used
};

/// Reads `config`; `file` names it in messages, `id` becomes the card's id and name. Throws
/// InputError with every problem (missing keys, impossible values, unsupported families).
ImportedModel import_hf_config(const Json& config, const std::string& file, const std::string& id);

/// True for objects that carry "model_type" or "architectures": enough to guess the kind of a file.
bool looks_like_hf_config(const Json& json);

/// The values of "model_type" that are read with knowledge of their code, alphabetically.
std::vector<std::string> known_model_types();

}  // namespace moesim

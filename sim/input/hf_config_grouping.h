// SPDX-License-Identifier: Apache-2.0
// Layers one by one -> classes with a count and the order they come in.
#pragma once

#include <vector>

#include "sim/input/model_card.h"

namespace moesim {

/// Fills `card.layers` and `card.order` from `layers`, the decoder's layers in order (count 1; the
/// name holds the words of its parts, "mla dense"). Classes are named by the part that tells them
/// apart. `order` stays empty when the classes come one after another.
void group_layers(const std::vector<LayerClass>& layers, ModelCard& card);

}  // namespace moesim

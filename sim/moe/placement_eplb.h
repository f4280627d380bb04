// SPDX-License-Identifier: Apache-2.0
// The published expert-parallel load balancer (EPLB), reproduced slot for slot.
//
// Hierarchical when groups % nodes == 0, else global (one group, one node):
//   1. pack expert groups onto nodes;
//   2. inside a node give each extra slot to the expert with the largest weight/replicas;
//   3. pack the node's slots onto its GPUs.
// Packing takes items in descending order and puts each into the least-loaded pack with room; where
// each pack takes one item it is the identity. All sums and quotients are 32-bit floats. Ties: the
// sort is stable, the first of equal packs is taken, the first of equal maxima is replicated. It
// may put two replicas of one expert on one GPU. Source: deepseek-ai/EPLB (MIT), README and
// algorithm.
#pragma once

#include "sim/moe/placement.h"

namespace moesim {

/// [layers][slots]; `request` has passed `check`. About 6 us a layer of 256 experts.
SlotTable eplb_slots(const PlacementRequest& request);

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What a layer's routing is by itself, without places for its experts, shared by all expert maps of
// a process: the layouts of a plan place the same experts in many ways, and finding out who chooses
// which expert is the dear part of each.
//
// Everything here follows from routing, layer and number of tokens alone, so sharing it cannot be
// seen in a result. Part of token_routing_profile.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "sim/moe/token_routing.h"

namespace moesim {

/// 1 - (1 - p)^T: the chance that a batch uses what a token uses with chance `share`; with whole
/// tokens a share of 1 is used by the first.
double used_once(double share, double tokens);

/// What a batch does to the experts of a layer, wherever they live.
struct ExpertUse {
  ExpertUse(const LayerRouting& routing, double tokens);
  std::vector<double> used;  ///< [experts] chance of at least one token
  double active = 0;         ///< their sum
  double hottest = 0;        ///< E[max over experts] of tokens
};

class LayerTraffic {
 public:
  LayerTraffic(const RoutingSpec& spec, std::int32_t layer);
  const LayerRouting& routing() const { return routing_; }
  /// Made once for each number of tokens, up to the nodes of a profile.
  std::shared_ptr<const ExpertUse> use(double tokens) const;

  /// The layer's routing, alone or as part of shared traffic that it keeps alive.
  static std::shared_ptr<const LayerRouting> shared(const RoutingSpec& spec, std::int32_t layer);
  /// The shared traffic that holds this very routing, or null.
  static std::shared_ptr<const LayerTraffic> of(const LayerRouting& routing);

 private:
  struct Use;
  LayerRouting routing_;
  mutable std::mutex mutex_;
  mutable std::map<double, std::shared_ptr<Use>> uses_;  // by tokens
};

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// Traffic of several domains whose shares change over time: each domain has a routing of its own,
// tokens come from domains by the shares of the moment.
//
// Loads of different domains hardly correlate (PHYSICS.md section 3), so a placement planned on one
// is as good as none for another; switch times, drifts and bursts make that happen on schedule.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/base/units.h"
#include "sim/moe/token_routing.h"

namespace moesim {

struct RoutingDomain {
  std::string name;
  RoutingSpec spec;  ///< all domains of a mixture have the same gate shape
};

/// Shares of the domains from `start` on; between two phases they drift linearly over the last
/// `drift` before the later one starts.
struct DomainPhase {
  Seconds start{0};
  std::vector<double> shares;  ///< [domains] >= 0, any scale
  Seconds drift{0};
};

/// From `first` on, every `period` for `length`, `domain` gets `share` of all traffic and the
/// others what is left.
struct DomainBurst {
  std::size_t domain = 0;
  double share = 0.0;  ///< in (0, 1]
  Seconds first{0};
  Seconds period{0};  ///< 0: once
  Seconds length{0};
};

class DomainRouting {
 public:
  /// Throws InputError (`file`, `pointer` of the mixture) when phases, shares or gates do not fit.
  DomainRouting(std::vector<RoutingDomain> domains, std::vector<DomainPhase> phases,
                std::vector<DomainBurst> bursts, std::int32_t layers, const std::string& file,
                const std::string& pointer);

  /// Shares of the domains at `time` [domains]; they sum to 1.
  std::vector<double> shares_at(Seconds time) const;
  /// Expected inclusion of a token that arrives at `time` [experts].
  std::vector<double> inclusion_at(std::int32_t layer, Seconds time) const;
  /// The same of a token from a domain with these chances [domains].
  std::vector<double> inclusion_of(std::int32_t layer, std::span<const double> shares) const;
  /// When the shares next begin or cease to move after `time`; a drift counts as kDriftSteps equal
  /// stretches. Infinity when they stay for ever.
  Seconds next_change(Seconds time) const;
  static constexpr int kDriftSteps = 4;
  const GateShape& gate() const { return domains_[0].spec.gate; }
  const std::vector<RoutingDomain>& domains() const { return domains_; }
  std::int32_t layers() const { return layers_; }
  const LayerRouting& routing(std::size_t domain, std::int32_t layer) const {
    return *routings_[domain * static_cast<std::size_t>(layers_) + static_cast<std::size_t>(layer)];
  }

  struct Batch {
    std::vector<std::int16_t> sets;     ///< [tokens, top_k]
    std::vector<std::int32_t> domains;  ///< [tokens]; the same for every layer of one draw
  };
  /// One batch at `time`; `draw` numbers independent draws.
  Batch draw_tokens(std::int32_t layer, std::int64_t tokens, Seconds time,
                    std::uint64_t draw) const;

 private:
  std::vector<RoutingDomain> domains_;
  std::vector<DomainPhase> phases_;
  std::vector<DomainBurst> bursts_;
  std::int32_t layers_ = 1;
  std::vector<std::unique_ptr<const LayerRouting>> routings_;  ///< [domains, layers]
};

}  // namespace moesim

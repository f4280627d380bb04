// SPDX-License-Identifier: Apache-2.0
#include "sim/moe/layer_traffic.h"

#include <algorithm>
#include <atomic>
#include <deque>

#include "sim/base/random.h"
#include "sim/moe/token_routing_law.h"

namespace moesim {
namespace {

/// Traffic of the routings asked for last.
class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }

  std::shared_ptr<const LayerTraffic> get(const RoutingSpec& spec, std::int32_t layer) {
    std::shared_ptr<Cell> cell;
    {
      const std::lock_guard lock(mutex_);
      cell = cell_of(spec, layer);
    }
    std::call_once(cell->once,
                   [&] { cell->traffic.store(std::make_shared<LayerTraffic>(spec, layer)); });
    return cell->traffic.load();
  }

  std::shared_ptr<const LayerTraffic> find(const LayerRouting& routing) {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_) {
      for (const std::shared_ptr<Cell>& cell : entry.cells) {
        const std::shared_ptr<const LayerTraffic> traffic = cell->traffic.load();
        if (traffic != nullptr && &traffic->routing() == &routing) {
          return traffic;
        }
      }
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kKept = 4;  // routings; 4 MB each for 58 layers of top-8
  struct Cell {
    std::once_flag once;
    std::atomic<std::shared_ptr<const LayerTraffic>> traffic;
  };
  struct Entry {
    RoutingSpec spec;
    std::vector<std::shared_ptr<Cell>> cells;  // [layers]
  };

  std::shared_ptr<Cell> cell_of(const RoutingSpec& spec, std::int32_t layer) {
    auto entry = std::find_if(entries_.begin(), entries_.end(),
                              [&](const Entry& known) { return known.spec == spec; });
    if (entry == entries_.end()) {
      entries_.push_front({spec, {}});
      if (entries_.size() > kKept) {
        entries_.pop_back();
      }
      entry = entries_.begin();
    }
    const auto index = static_cast<std::size_t>(spec.source_layer(layer));
    while (entry->cells.size() <= index) {
      entry->cells.push_back(std::make_shared<Cell>());
    }
    return entry->cells[index];
  }

  std::mutex mutex_;
  std::deque<Entry> entries_;  // newest first
};

}  // namespace

double used_once(double share, double tokens) {
  return share >= 1.0 ? std::min(1.0, tokens)
                      : 1.0 - portable_exp(tokens * portable_log(1.0 - share));
}

ExpertUse::ExpertUse(const LayerRouting& routing, double tokens) {
  const std::span<const double> inclusion = routing.inclusion();
  std::vector<double> means(inclusion.size());
  std::vector<double> variances(inclusion.size());
  for (std::size_t e = 0; e < inclusion.size(); ++e) {
    used.push_back(used_once(inclusion[e], tokens));
    active += used.back();
    means[e] = tokens * inclusion[e];
    variances[e] = tokens * inclusion[e] * (1.0 - inclusion[e]);
  }
  hottest = std::min(tokens, expected_max_count(means, variances));
}

struct LayerTraffic::Use {
  std::once_flag once;
  std::shared_ptr<const ExpertUse> made;
};

LayerTraffic::LayerTraffic(const RoutingSpec& spec, std::int32_t layer) : routing_(spec, layer) {}

std::shared_ptr<const ExpertUse> LayerTraffic::use(double tokens) const {
  constexpr std::size_t kKept = 64;
  std::shared_ptr<Use> entry;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = uses_.find(tokens); known != uses_.end()) {
      entry = known->second;
    } else if (uses_.size() < kKept) {
      entry = uses_.emplace(tokens, std::make_shared<Use>()).first->second;
    }
  }
  if (entry == nullptr) {
    return std::make_shared<const ExpertUse>(routing_, tokens);
  }
  std::call_once(entry->once,
                 [&] { entry->made = std::make_shared<const ExpertUse>(routing_, tokens); });
  return entry->made;
}

std::shared_ptr<const LayerRouting> LayerTraffic::shared(const RoutingSpec& spec,
                                                         std::int32_t layer) {
  std::shared_ptr<const LayerTraffic> traffic = Registry::instance().get(spec, layer);
  const LayerRouting* routing = &traffic->routing();
  return {std::move(traffic), routing};
}

std::shared_ptr<const LayerTraffic> LayerTraffic::of(const LayerRouting& routing) {
  return Registry::instance().find(routing);
}

}  // namespace moesim

// SPDX-License-Identifier: Apache-2.0
// What a StepCostModel keeps beside its template: each distinct shape of an op once, with the curve
// that predicts it and the key under which its estimates are remembered. Part of step_cost.cpp.
#pragma once

#include <algorithm>
#include <vector>

#include "sim/cost/cost_memo.h"
#include "sim/cost/step_cost.h"

namespace moesim {

/// The template with each distinct shape once and its curve beside it.
struct StepCostModel::Plan {
  /// A curve and how it is used, with the key under which its estimates are remembered.
  struct Pick {
    CurvePick curve;
    MemoKey key;
  };
  struct Shape {
    TemplateOp item;
    Pick pick;
    OpFamily family;
  };
  struct Use {
    std::size_t shape;
    OpKind kind;
  };
  struct Layer {
    std::vector<Use> before, shared, after;
    Pick experts;
  };
  std::vector<Shape> shapes;
  std::vector<Layer> layers;
  Layer ends;         ///< embedding before, head after
  DevicePeaks peaks;  ///< of the machine, for the keys

  Pick pick(const Op& prototype, const CostModel& cost) const {
    Pick found = {cost.pick(prototype), {}};
    if (found.curve.curve != nullptr) {
      found.key.add(found.curve, peaks);
    }
    return found;
  }

  std::vector<Use> add(const std::vector<TemplateOp>& ops, const CostModel& cost) {
    std::vector<Use> uses;
    for (const TemplateOp& item : ops) {
      const auto same = [&](const Shape& known) {
        return known.item.rows == item.rows && known.item.row_share == item.row_share &&
               known.item.context_share == item.context_share &&
               known.item.prototype == item.prototype;
      };
      auto found = std::find_if(shapes.begin(), shapes.end(), same);
      if (found == shapes.end()) {
        shapes.push_back({item, pick(item.prototype, cost), family_of(item.prototype)});
        found = shapes.end() - 1;
      }
      uses.push_back({static_cast<std::size_t>(found - shapes.begin()), item.kind});
    }
    return uses;
  }
};

}  // namespace moesim

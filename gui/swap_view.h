// SPDX-License-Identifier: GPL-3.0-or-later
// Page: experts in host memory - what a GPU's cache holds step by step, hits and misses, and what
// waiting for copies costs.
#pragma once

#include "gui/heatmap.h"

namespace moesim::gui {

class SwapView : public View {
  Q_OBJECT
 public:
  explicit SwapView(Workbench& workbench, QWidget* parent = nullptr);
  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  Heatmap& map() { return *map_; }

 private:
  Heatmap* map_;
  QLabel* words_;
  std::uint64_t shownNumber_ = 0;
};

}  // namespace moesim::gui

// SPDX-License-Identifier: GPL-3.0-or-later
// Page: expected load of every expert of every MoE layer, or of every GPU after placement; hot
// experts first when asked.
#pragma once

#include "gui/heatmap.h"

class QComboBox;

namespace moesim::gui {

class ExpertsView : public View {
  Q_OBJECT
 public:
  explicit ExpertsView(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  Heatmap& heatmap() { return *heatmap_; }
  QComboBox* mode() const { return mode_; }

 private:
  void mark();
  int columnOf(int id) const;

  Heatmap* heatmap_;
  QComboBox* mode_;
  QComboBox* order_;
  QLabel* hottest_;
  std::uint64_t shownNumber_ = 0;
};

}  // namespace moesim::gui

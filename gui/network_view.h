// SPDX-License-Identifier: GPL-3.0-or-later
// Page: the cluster with the load of its links beside the all-to-all traffic matrix of one layer.
#pragma once

#include <memory>

#include "gui/heatmap.h"
#include "gui/topology_canvas.h"

class QSpinBox;

namespace moesim::gui {

class NetworkView : public View {
  Q_OBJECT
 public:
  explicit NetworkView(Workbench& workbench, QWidget* parent = nullptr);

  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  TopologyCanvas& topology() { return *topology_; }
  Heatmap& matrix() { return *matrix_; }

 private:
  void mark();

  TopologyCanvas* topology_;
  Heatmap* matrix_;
  QSpinBox* layer_;
  QLabel* total_;
  std::uint64_t shownNumber_ = 0;
  const LayerPictures* shown_ = nullptr;  ///< kept alive by the topology
  bool isDark_ = false;
};

}  // namespace moesim::gui

// SPDX-License-Identifier: GPL-3.0-or-later
// GPUs of one layer as columns of expert blocks, as high as their load; blocks are dragged from one
// GPU to another.
//
// Every GPU holds the same number of slots, so a block dropped on another changes places with it,
// and one dropped on a column with that GPU's lightest. Keys do the same: arrows choose a block,
// space takes and places it.
#pragma once

#include <vector>

#include "gui/view.h"

namespace moesim::gui {

class PlacementBoard : public Canvas {
  Q_OBJECT
 public:
  explicit PlacementBoard(QWidget* parent = nullptr);

  /// `slots` [slots] experts, rank by rank; `load` [experts] over the mean.
  void setPlacement(std::vector<int> slotExpert, std::vector<double> load, int ranks);
  const std::vector<int>& slotExpert() const { return slots_; }
  int numRanks() const { return ranks_; }
  void setMarkedExpert(int expert);
  /// Exchanges the experts of two slots.
  void swapSlots(int a, int b);
  QRectF slotRect(int slot) const;
  void draw(QPainter& painter, const QSizeF& size) override;
  QSize sizeHint() const override { return {640, 360}; }
  /// Max over mean of the GPUs' loads.
  double imbalance() const;
  const std::vector<double>& rankLoads() const { return rankLoads_; }

 Q_SIGNALS:
  void moved();
  void picked(int expert, int rank);

 protected:
  bool event(QEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  void measure();
  QRectF area(const QSizeF& size) const;
  double slotLoad(int slot) const;
  QRectF rectOf(int slot, const QSizeF& size) const;
  int slotAt(const QPointF& at) const;
  int rankAt(double x) const;
  int lightestOf(int rank) const;
  bool isAllowed(int a, int b) const;

  std::vector<int> slots_;
  std::vector<double> load_;
  std::vector<double> replicas_;
  std::vector<double> rankLoads_;
  int ranks_ = 0;
  int perRank_ = 0;
  double most_ = 1;
  int marked_ = -1;
  int chosen_ = -1;  ///< slot under the keyboard
  int held_ = -1;    ///< slot that is being moved
  QPointF at_;
};

}  // namespace moesim::gui

// SPDX-License-Identifier: GPL-3.0-or-later
// Page: what a million tokens cost at a price of a GPU hour that the user may change, over the
// batch.
#pragma once

#include "gui/chart.h"
#include "gui/view.h"

class QDoubleSpinBox;

namespace moesim::gui {

class CostView : public View {
  Q_OBJECT
 public:
  explicit CostView(Workbench& workbench, QWidget* parent = nullptr);
  void refresh() override;
  std::uint64_t shownNumber() const override { return shownNumber_; }
  void paintPicture(QPainter& painter, const QSizeF& size) override;
  QDoubleSpinBox* price() const { return price_; }
  QString words() const { return words_->text(); }

 private:
  QDoubleSpinBox* price_;
  QDoubleSpinBox* busy_;
  QLabel* words_;
  Chart* chart_;
  double profilePrice_ = 0;
  bool isOwnPrice_ = false;
  std::uint64_t shownNumber_ = 0;
};

}  // namespace moesim::gui

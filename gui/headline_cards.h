// SPDX-License-Identifier: GPL-3.0-or-later
// The row of headline cards above every page: value, 80% band, change against the pinned baseline,
// a mark when the figure rests on shapes outside what a curve was fitted to.
#pragma once

#include "gui/headline.h"
#include "gui/view.h"

namespace moesim::gui {

class HeadlineCards : public Canvas {
  Q_OBJECT
 public:
  HeadlineCards(Workbench& workbench, HeadlineModel& model, QWidget* parent = nullptr);

  void draw(QPainter& painter, const QSizeF& size) override;
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override { return {560, sizeHint().height()}; }

 protected:
  bool event(QEvent* event) override;

 private:
  QRectF cardRect(int index, const QSizeF& size) const;
  QString tip(int index) const;
  void speak();

  Workbench& workbench_;
  HeadlineModel& model_;
  bool isDimmed_ = false;
  QTimer* dimTimer_;
};

}  // namespace moesim::gui

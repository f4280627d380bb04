// SPDX-License-Identifier: GPL-3.0-or-later
// Horizontal bars with names and values: where a step goes, what memory holds, what an answer hangs
// on. Bars may go both ways from zero, carry the pinned value as a tick, and stop at a limit.
#pragma once

#include <string>
#include <vector>

#include "gui/view.h"

namespace moesim::gui {

struct Bar {
  QString name;
  double value = 0;
  double opposite = 0;  ///< a second bar the other way (tornado); 0: none
  double pinned = 0;
  bool hasPinned = false;
  QString text;  ///< behind the bar
  QString tip;
  QColor color;
  bool isMuted = false;
};

class Bars : public Canvas {
  Q_OBJECT
 public:
  explicit Bars(QWidget* parent = nullptr);

  void setBars(std::vector<Bar> bars, const QString& emptyText = {});
  /// A line at `value` with words; 0: none.
  void setLimit(double value, const QString& words);
  void setMarked(int row);
  const std::vector<Bar>& bars() const { return bars_; }
  void draw(QPainter& painter, const QSizeF& size) override;
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override { return {260, 100}; }

 Q_SIGNALS:
  void picked(int row);

 protected:
  bool event(QEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  double rowHeight(const QSizeF& size) const;
  int rowAt(const QPointF& at) const;

  std::vector<Bar> bars_;
  QString emptyText_;
  double limit_ = 0;
  QString limitWords_;
  int marked_ = -1;
};

}  // namespace moesim::gui

// SPDX-License-Identifier: GPL-3.0-or-later
// A matrix as a heatmap: one pixel a cell in an image, scaled to the widget, with a cursor, marked
// rows and columns, and a colour bar.
//
// The image is made once per matrix, a repaint only scales it: 256 x 256 cells take well below a
// millisecond. Where cells are smaller than pixels the image is reduced by maxima first, so that a
// lone hot cell never vanishes.
#pragma once

#include <QImage>
#include <functional>
#include <vector>

#include "gui/view.h"

namespace moesim::gui {

struct HeatmapData {
  int rows = 0;
  int columns = 0;
  std::vector<float> values;  ///< [rows, columns]
  double low = 0;
  double high = 1;      ///< colours span [low, high]
  double exponent = 1;  ///< 1, or 0.5: differences among small values show
  QString rowTitle, columnTitle, unit;
  QString lowText, highText;  ///< ends of the colour bar
  std::vector<int> rowIds;    ///< shown ids, when sorted; empty: indices
  std::vector<int> columnIds;
  int columnGroup = 0;  ///< lines between groups of so many columns (experts of a GPU); 0: none
};

class Heatmap : public Canvas {
  Q_OBJECT
 public:
  explicit Heatmap(QWidget* parent = nullptr);

  void setData(HeatmapData cells);
  const HeatmapData& cells() const { return data_; }
  /// Marks a row and a column by position; -1: none.
  void setMarked(int row, int column);
  void setTip(std::function<QString(int row, int column)> tip) { tip_ = std::move(tip); }

  void draw(QPainter& painter, const QSizeF& size) override;
  QSize sizeHint() const override { return {640, 400}; }
  QRectF cellArea(const QSizeF& size) const;

 Q_SIGNALS:
  void picked(int row, int column);

 protected:
  bool event(QEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;

 private:
  bool cellAt(const QPointF& at, int& row, int& column) const;
  void drawAxes(QPainter& painter, const QRectF& area) const;
  void drawMarks(QPainter& painter, const QRectF& area) const;
  void drawBar(QPainter& painter, const QRectF& area) const;
  QImage reducedTo(int rows, int columns) const;
  double shareOf(float value) const;

  HeatmapData data_;
  QImage image_;    ///< one pixel a cell
  QImage reduced_;  ///< for the last size, where pixels are fewer than cells
  int markedRow_ = -1;
  int markedColumn_ = -1;
  std::function<QString(int, int)> tip_;
};

}  // namespace moesim::gui

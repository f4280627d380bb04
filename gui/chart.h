// SPDX-License-Identifier: GPL-3.0-or-later
// Lines, points and steps with bands, by QCustomPlot: one description in, one picture out, in the
// colours of the theme, with tooltips and clicks on points.
#pragma once

#include <QColor>
#include <QWidget>
#include <functional>
#include <string>
#include <vector>

class QCustomPlot;

namespace moesim::gui {

struct ChartLine {
  QString name;
  std::vector<double> x, y;
  std::vector<double> low, high;  ///< band around y; empty: none
  QColor color;
  bool hasLine = true;
  bool hasPoints = true;
  bool isDashed = false;
  bool isStep = false;
};

/// A straight line across the chart: a promise, a limit, where the scenario is.
struct ChartMark {
  double at = 0;
  bool isVertical = true;
  QString text;
  QColor color;
};

struct ChartSpec {
  QString xTitle, yTitle;
  std::string xUnit, yUnit;  ///< of tick labels and tooltips
  bool isXLogarithmic = false;
  bool isYLogarithmic = false;
  bool startsAtZero = true;  ///< the y axis
  std::vector<ChartLine> lines;
  std::vector<ChartMark> marks;
};

class Chart : public QWidget {
  Q_OBJECT
 public:
  explicit Chart(QWidget* parent = nullptr);

  void setSpec(ChartSpec spec);
  const ChartSpec& spec() const { return spec_; }
  void paintTo(QPainter& painter, const QSizeF& size);
  void setTip(std::function<QString(int line, int point)> tip) { tip_ = std::move(tip); }
  /// Widget position of a point, for tests and clicks.
  QPointF positionOf(int line, int point) const;

 Q_SIGNALS:
  void pointClicked(int line, int point);

 protected:
  bool event(QEvent* event) override;
  bool eventFilter(QObject* watched, QEvent* event) override;
  void changeEvent(QEvent* event) override;

 private:
  void rebuild();
  bool nearest(const QPointF& at, int& line, int& point) const;

  QCustomPlot* plot_;
  ChartSpec spec_;
  std::function<QString(int, int)> tip_;
  QPointF pressed_;
};

}  // namespace moesim::gui
